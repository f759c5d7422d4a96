"""Roles contain each other, and no text but the right one is a token."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.access import (
    ELSEWHERE,
    Identity,
    Role,
    counted_as,
    hashed,
    is_client_id,
    is_hash_of,
    is_token,
    require,
    require_name,
    to_client_id,
    to_client_secret,
    to_token,
)
from shared.errors import DeclarationInvalid, RoleTooLow

ANY_TEXT = st.text(st.characters())
"""Half a surrogate pair included, as JSON may carry it."""


def test_each_role_may_what_those_before_it_may() -> None:
    allowed = {role: [other for other in Role if role.may(other)] for role in Role}
    assert allowed == {
        Role.VIEWER: [Role.VIEWER],
        Role.OPERATOR: [Role.VIEWER, Role.OPERATOR],
        Role.ADMIN: [Role.VIEWER, Role.OPERATOR, Role.ADMIN],
    }


def test_who_may_not_is_told_what_it_takes() -> None:
    require(Identity("anna", Role.OPERATOR), Role.VIEWER)
    with pytest.raises(RoleTooLow, match="takes the role admin, and 'anna' has the role operator"):
        require(Identity("anna", Role.OPERATOR), Role.ADMIN)


@given(st.binary(min_size=32, max_size=32), st.binary(min_size=8, max_size=8))
def test_what_is_made_has_the_form_that_is_taken(random: bytes, short: bytes) -> None:
    assert is_token(to_token(random))
    assert is_client_id(to_client_id(short))
    assert not is_token(to_client_secret(random)), "a secret signs a client in and identifies nobody by itself"


@given(st.binary(min_size=32, max_size=32), ANY_TEXT)
def test_no_other_text_has_the_hash(random: bytes, text: str) -> None:
    stored = hashed(to_token(random))
    assert is_hash_of(stored, to_token(random))
    assert not is_hash_of(stored, text)
    assert to_token(random) not in stored


@given(ANY_TEXT)
def test_no_text_breaks_what_judges_it(text: str) -> None:
    assert not is_token(f"{text} ")
    assert not is_client_id(f"{text} ")
    assert len(counted_as(text)) <= 39


@pytest.mark.parametrize("name", ["a", "0", "ci", "anna@example.com", "nightly-job_2.0", "a" * 63, "wsx"])
def test_names_that_may_be(name: str) -> None:
    require_name(name)


@pytest.mark.parametrize(
    "name",
    [
        "",
        "-a",
        "a" * 64,
        "local anna",
        "Zoë",
        "a\n",
        "a\0",
        "٣",
        "broker",
        "Broker",
        "local",
        "System",
        "client_1",
        "ws_secret",
        "WS_x",
        "00000000-0000-4000-8000-000000000000",
        "AAAAAAAA-0000-4000-8000-000000000000",
    ],
)
def test_a_name_that_could_be_taken_for_anothers_is_refused(name: str) -> None:
    with pytest.raises(DeclarationInvalid, match="choose another name"):
        require_name(name)


@pytest.mark.parametrize(
    ("address", "counted"),
    [
        ("203.0.113.7", "203.0.113.7"),
        ("::ffff:203.0.113.7", "203.0.113.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::"),
        ("2001:db8:1:2::", "2001:db8:1:2::"),
        ("fe80::1%eth0", "fe80::"),
        ("testclient", ELSEWHERE),
        ("", ELSEWHERE),
        ("203.0.113.7, 10.0.0.1", ELSEWHERE),
    ],
)
def test_who_has_one_address_of_a_network_has_all_of_it(address: str, counted: str) -> None:
    assert counted_as(address) == counted
