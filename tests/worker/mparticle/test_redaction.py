"""MParticle's words lose the rows' values and keep the fields' names."""

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.mparticle.redaction import without_values


def _body(**attributes: object) -> bytes:
    batch = {
        "source_request_id": "6f1c:0",
        "environment": "development",
        "user_identities": {"email": "ada@example.com"},
        "user_attributes": attributes,
    }
    return orjson.dumps([batch])


@pytest.mark.parametrize(
    ("words", "kept"),
    [
        ('field "email" holds "ada@example.com"', 'field "email" holds "…"'),
        ("attribute score: 4711 is too large", "attribute score: … is too large"),
        ("list entry shoes of favorites is not allowed", "list entry … of favorites is not allowed"),
        ("environment development is not set up", "environment development is not set up"),
        ("the value is ada@exam", "the value is …"),
        ("the value is ada@exa…", "the value is …"),
    ],
)
def test_values_are_hidden_and_names_are_kept(words: str, kept: str) -> None:
    assert without_values(words, _body(score=4711, favorites=["shoes"])) == kept


def test_neither_case_nor_white_space_nor_digits_hide_a_value() -> None:
    body = b'[{"user_attributes": {"name": "Ada  \\n Lovelace", "debt": 12345678901234567890.123456789}}]'
    assert without_values("name is ADA LOVELACE", body) == "name is …"
    assert without_values("debt is 12345678901234567890.123456789 too much", body) == "debt is … too much"


def test_a_value_inside_a_longer_word_is_none() -> None:
    assert without_values("parameter", _body(letter="a")) == "parameter"


@given(st.text(st.characters(categories=["L", "N"]), min_size=5), st.integers(5, 60))
def test_no_value_of_five_characters_survives_any_cut(value: str, limit: int) -> None:
    words = f"the value {value} is wrong"[:limit]
    assert value not in without_values(words, _body(some=value)).split()
