"""What is sealed opens with the right key and for the right purpose only, and nothing else tells what is inside."""

import base64
import json

import nacl.public
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.errors import DeclarationInvalid, SecretUnavailable
from shared.feed import Feed
from shared.fields import LONGEST_REFERENCE
from shared.sealing import (
    MOST_SECRET_BYTES,
    PrivateKey,
    PublicKey,
    generate,
    key_id_of,
    open_sealed,
    seal,
)

KEY = generate()
OTHER = generate()
PURPOSE = "feed a at https://s2s.us1.mparticle.com:443"
SECRETS = st.text(st.characters(codec="utf-8"), min_size=1, max_size=300)


def _refusal(reference: str, *keys: PrivateKey, purpose: str = PURPOSE) -> str:
    with pytest.raises(SecretUnavailable) as refused:
        open_sealed(reference, purpose, keys)
    assert refused.value.__cause__ is None
    said = str(refused.value)
    assert len(said) < 500
    return said


def _boxed(content: object) -> str:
    box = nacl.public.SealedBox(nacl.public.PublicKey(KEY.public.raw)).encrypt(json.dumps(content).encode())
    return f"sealed:{KEY.public.id}:{base64.b64encode(box).decode()}"


@given(secret=SECRETS, purpose=SECRETS)
def test_a_sealed_secret_opens_with_its_key_and_purpose_among_others(secret: str, purpose: str) -> None:
    sealed = seal(secret, purpose, KEY.public)
    assert open_sealed(sealed, purpose, (OTHER, KEY)) == secret
    assert key_id_of(sealed) == KEY.public.id


@given(secret=SECRETS)
def test_a_sealed_secret_is_a_valid_reference_and_holds_no_plain_text(secret: str) -> None:
    sealed = seal(f"hunter2{secret}", PURPOSE, KEY.public)
    feed = Feed(id="a", name="a", base_url="https://s2s.us1.mparticle.com/v2", api_key="k", api_secret=sealed)
    assert feed.api_secret == sealed
    assert "hunter2" not in sealed


def test_the_same_secret_is_sealed_differently_each_time() -> None:
    assert seal("hunter2", PURPOSE, KEY.public) != seal("hunter2", PURPOSE, KEY.public)


def test_secrets_of_all_usual_lengths_are_sealed_to_the_same_length() -> None:
    assert len({len(seal("x" * length, PURPOSE, KEY.public)) for length in (1, 8, 40, 128, 300)}) == 1


def test_the_longest_secret_fits_into_a_reference_and_one_longer_is_refused() -> None:
    sealed = seal("x" * MOST_SECRET_BYTES, PURPOSE, KEY.public)
    assert len(sealed) <= LONGEST_REFERENCE
    assert open_sealed(sealed, PURPOSE, (KEY,)) == "x" * MOST_SECRET_BYTES
    for secret in ("x" * (MOST_SECRET_BYTES + 1), "\0" * MOST_SECRET_BYTES):
        with pytest.raises(DeclarationInvalid, match="16,384 at most"):
            seal(secret, PURPOSE, KEY.public)


@pytest.mark.parametrize(("secret", "said"), [("", "empty"), ("hunter2\ud800", "not Unicode")])
def test_what_is_no_secret_is_refused_without_repeating_it(secret: str, said: str) -> None:
    with pytest.raises(DeclarationInvalid, match=said) as refused:
        seal(secret, PURPOSE, KEY.public)
    assert "hunter2" not in str(refused.value)
    assert refused.value.__cause__ is None
    assert refused.value.__suppress_context__ or refused.value.__context__ is None


def test_a_key_that_is_not_held_is_named_with_those_that_are() -> None:
    said = _refusal(seal("hunter2", PURPOSE, KEY.public), OTHER)
    assert KEY.public.id in said
    assert OTHER.public.id in said
    assert "WAREHOUSE_SYNC_PRIVATE_KEYS" in said
    assert "none" in _refusal(seal("hunter2", PURPOSE, KEY.public))


def test_another_purpose_is_refused() -> None:
    said = _refusal(seal("hunter2", "feed a at https://elsewhere.example:443", KEY.public), KEY)
    assert "another resource" in said
    assert "hunter2" not in said


@given(at=st.integers(0, 300), flipped=st.integers(1, 255))
def test_a_text_changed_in_any_byte_is_damaged(at: int, flipped: int) -> None:
    scheme, key_id, text = seal("hunter2", PURPOSE, KEY.public).split(":")
    box = bytearray(base64.b64decode(text))
    box[at] ^= flipped
    assert "damaged" in _refusal(f"{scheme}:{key_id}:{base64.b64encode(box).decode()}", KEY)


@given(length=st.integers(0, 770))
def test_a_text_that_was_cut_is_damaged(length: int) -> None:
    sealed = seal("hunter2", PURPOSE, KEY.public)
    shorter = sealed[: max(length, len("sealed:") + 17)]
    assert "damaged" in _refusal(shorter, KEY)


@pytest.mark.parametrize("content", [7, [], {}, {"version": 2, "purpose": PURPOSE, "secret": "hunter2"}, "hunter2"])
def test_a_box_of_anything_else_is_refused_without_what_is_inside(content: object) -> None:
    assert "hunter2" not in _refusal(_boxed(content), KEY)


def test_a_box_without_a_secret_is_refused() -> None:
    assert "give the secret again" in _refusal(_boxed({"version": 1, "purpose": PURPOSE, "secret": 7}), KEY)


def test_keys_are_read_back_from_their_words() -> None:
    assert PrivateKey.read(KEY.text) == KEY
    assert PublicKey.read(KEY.public.text) == KEY.public
    assert PublicKey.read(KEY.public.text).id == KEY.public.id != OTHER.public.id


@given(at=st.integers(0, 100), letter=st.sampled_from("abcXYZ019-_ "))
def test_a_mistyped_key_is_none(at: int, letter: str) -> None:
    for word in (KEY.text, KEY.public.text):
        wrong = word[: at % len(word)] + letter + word[at % len(word) + 1 :]
        if wrong == word:
            continue
        assert PrivateKey.read(wrong) is None
        with pytest.raises(DeclarationInvalid):
            PublicKey.read(wrong)


def test_a_private_key_in_place_of_the_public_one_is_not_repeated() -> None:
    with pytest.raises(DeclarationInvalid, match="a private key") as refused:
        PublicKey.read(KEY.text)
    assert KEY.text[15:40] not in str(refused.value)


def test_a_private_key_does_not_show_itself() -> None:
    assert repr(KEY) == "PrivateKey()"


def test_a_declaration_shows_a_sealed_text_briefly_and_never_repeats_what_is_wrong() -> None:
    sealed = seal("hunter2", PURPOSE, KEY.public)
    feed = Feed(id="a", name="a", base_url="https://s2s.us1.mparticle.com/v2", api_key="k", api_secret=sealed)
    assert f"sealed:{KEY.public.id}:..." in repr(feed)
    assert sealed not in repr(feed)
    with pytest.raises(ValueError, match="api_secret") as refused:
        Feed.model_validate(feed.model_dump() | {"api_secret": "hunter2"})
    assert "hunter2" not in str(refused.value)
