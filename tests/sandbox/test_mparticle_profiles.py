from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sandbox.profiles import Profiles
from shared.feed import ProtectionLevel

CREATE = ProtectionLevel.CREATE_AND_UPDATE


def profiles_of(*batches: dict[str, Any]) -> Profiles:
    profiles = Profiles()
    for batch in batches:
        assert profiles.update(batch, CREATE)
    return profiles


def named(attributes: dict[str, Any] | None = None, **identities: str) -> dict[str, Any]:
    return {"user_identities": identities, "user_attributes": attributes}


def attributes_of(profiles: Profiles, kind: str, value: str) -> dict[str, Any] | None:
    profile = profiles.find(kind, value)
    return None if profile is None else profile.attributes


def test_what_arrived_last_wins_and_what_it_leaves_out_stays() -> None:
    profiles = profiles_of(named({"a": 1, "b": 1}, customer_id="1"), named({"a": 2, "c": None}, customer_id="1"))
    assert attributes_of(profiles, "customer_id", "1") == {"a": 2, "b": 1, "c": None}


def test_deleted_attributes_are_gone_and_deletion_comes_before_setting() -> None:
    profiles = profiles_of(
        named({"a": 1, "b": 1}, customer_id="1"),
        {**named({"b": 2}, customer_id="1"), "deleted_user_attributes": ["a", "b", "never"]},
    )
    assert attributes_of(profiles, "customer_id", "1") == {"b": 2}


def test_identities_of_every_kind_find_the_one_profile() -> None:
    batch = {
        "mpid": 7,
        "user_identities": {"customer_id": "1", "email": "a@b"},
        "device_info": {"ios_idfv": "ABCDEF01-0000-0000-0000-000000000000"},
    }
    profiles = profiles_of(batch)
    assert len(profiles) == 1
    found = profiles.find("mpid", "7")
    assert found is not None
    assert found is profiles.find("email", "a@b")
    assert found is profiles.find("ios_idfv", "abcdef01-0000-0000-0000-000000000000")
    assert profiles.find("customer_id", "2") is None
    assert profiles.find("nonsense", "1") is None
    assert found.as_json()["identities"]["customer_id"] == "1"


def test_two_profiles_become_one_when_a_batch_names_both_and_the_newer_values_win() -> None:
    profiles = profiles_of(
        named({"a": "old", "b": 1}, customer_id="1"),
        named({"a": "new", "c": 1}, email="a@b"),
        named({"d": 1}, customer_id="1", email="a@b"),
    )
    assert len(profiles) == 1
    assert attributes_of(profiles, "email", "a@b") == {"a": "new", "b": 1, "c": 1, "d": 1}


def test_a_shared_identity_never_makes_one_user_of_two_customers() -> None:
    profiles = profiles_of(
        named({"a": 1}, customer_id="1", email="a@b"),
        named({"a": 2}, customer_id="2", email="a@b"),
        named({"a": 3}, customer_id="1"),
    )
    assert len(profiles) == 2
    assert attributes_of(profiles, "customer_id", "1") == {"a": 3}
    assert attributes_of(profiles, "email", "a@b") == {"a": 2}


def test_an_identity_that_was_replaced_names_nobody() -> None:
    profiles = profiles_of(named({"a": 1}, customer_id="1", email="old@b"), named({}, customer_id="1", email="new@b"))
    assert profiles.find("email", "old@b") is None
    assert attributes_of(profiles, "email", "new@b") == {"a": 1}


@pytest.mark.parametrize("level", [ProtectionLevel.UPDATE_ONLY, ProtectionLevel.READ_ONLY])
def test_a_level_below_create_creates_nothing(level: ProtectionLevel) -> None:
    profiles = Profiles()
    assert not profiles.update(named({"a": 1}, customer_id="1"), level)
    assert len(profiles) == 0


def test_update_only_updates_and_read_only_does_not() -> None:
    profiles = profiles_of(named({"a": 1}, customer_id="1"))
    assert profiles.update(named({"a": 2}, customer_id="1"), ProtectionLevel.UPDATE_ONLY)
    assert not profiles.update(named({"a": 3}, customer_id="1"), ProtectionLevel.READ_ONLY)
    assert attributes_of(profiles, "customer_id", "1") == {"a": 2}


def _identities() -> st.SearchStrategy[dict[str, str]]:
    kinds = st.sampled_from(["customer_id", "email", "other", "google"])
    return st.dictionaries(kinds, st.sampled_from("abc"), min_size=1)


def _index(profiles: Profiles) -> Iterator[tuple[str, str, dict[str, str]]]:
    for kind, owners in profiles._by_identity.items():
        for value, profile in owners.items():
            yield kind, value, profile.identities


@given(sent=st.lists(_identities()))
def test_an_identity_names_exactly_the_profile_that_holds_it(sent: list[dict[str, str]]) -> None:
    profiles = Profiles()
    for at, identities in enumerate(sent):
        profiles.update(named({"at": at}, **identities), CREATE)
        for kind, value in identities.items():
            assert attributes_of(profiles, kind, value) == {"at": at}
    index = list(_index(profiles))
    assert all(identities[kind] == value for kind, value, identities in index)
    distinct = {id(identities): identities for *_, identities in index}
    assert len(index) == sum(map(len, distinct.values()))
    assert len(profiles) == len(distinct)
