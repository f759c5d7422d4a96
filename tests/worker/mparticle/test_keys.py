"""Equal users have equal keys, others do not; and so have rows."""

from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.catalog import NullPolicy
from shared.columns import JSON
from shared.errors import ColumnMissing, MappingRefused
from shared.mapping.destinations import destination_of
from shared.mapping.plan import Leaf, MappingPlan
from worker.mparticle.keys import identities, row_keys, user_keys

TEXTS = st.text(st.characters(codec="utf-8"), max_size=5)


def plan_of(*columns: str) -> MappingPlan:
    where = [destination_of(column) for column in columns]
    leaves = (Leaf(column, to.path, to.value, to.is_identity) for column, to in zip(columns, where, strict=True))
    return MappingPlan(tuple(leaves), (), NullPolicy.OMIT)


def keys_of(one_row_per: tuple[str, ...] = (), /, **columns: Any) -> list[UUID | None]:
    table = pa.table(columns)
    return list(user_keys(plan_of(*table.schema.names), table, one_row_per=one_row_per))


def test_a_row_key_is_of_its_column() -> None:
    rows = pa.table({"a": [5], "b": [5]})
    assert row_keys(rows, "a") != row_keys(rows, "b")


@settings(deadline=None)
@given(st.lists(st.tuples(st.none() | TEXTS, st.none() | TEXTS, st.none() | TEXTS), min_size=1, max_size=20))
def test_users_have_one_key_as_long_as_their_first_identity_is_the_same(
    rows: list[tuple[str | None, str | None, str | None]],
) -> None:
    other, email, customer_id = (pa.array([row[at] for row in rows], pa.string()) for at in range(3))
    keys = keys_of(other=other, email=email, customer_id=customer_id)
    first = [
        next(((kind, value) for kind, value in zip("ceo", reversed(row), strict=True) if value), None) for row in rows
    ]
    for one, of_one in zip(first, keys, strict=True):
        assert (of_one is None) == (one is None)
        for another, of_another in zip(first, keys, strict=True):
            assert (of_one == of_another) == (one == another)


def test_the_customer_id_comes_first_then_the_email_and_devices_last() -> None:
    plan = plan_of("ios_idfv", "mpid", "twitter", "email", "facebook", "Name", "CustomerId", "mp_deviceid")
    assert [leaf.column for leaf in identities(plan)] == [
        "CustomerId", "email", "facebook", "twitter", "mpid", "ios_idfv", "mp_deviceid",
    ]  # fmt: skip


def test_a_number_and_its_digits_are_one_user_whatever_the_layout() -> None:
    texts = pa.array(["17", "18", None, ""])
    layouts: list[Any] = [
        texts,
        texts.cast(pa.large_string()),
        texts.cast(pa.string_view()),
        texts.dictionary_encode(),
        pa.chunked_array([texts.slice(0, 1), texts.slice(1)]),
        pa.array([17, 18, None, None]),
    ]
    keys = [keys_of(customer_id=layout) for layout in layouts]
    assert keys == [keys[0]] * len(layouts)
    assert keys[0][0] != keys[0][1]
    assert keys[0][2:] == [None, None]


def test_a_key_never_changes_between_releases() -> None:
    assert keys_of(customer_id=["ada"]) == [UUID("38471c6c-86f8-87d1-cd52-4f90ae3478c9")]
    assert keys_of(("customer_id",), customer_id=["ada"]) == [UUID("1c05de94-ec18-84b6-494c-f64522153161")]
    assert row_keys(pa.table({"n": [7]}), "n") == [UUID("73e2dddc-3b92-d16d-fd12-099a99692345")]


@settings(deadline=None)
@given(st.lists(st.tuples(st.none() | TEXTS, st.none() | TEXTS), min_size=1, max_size=20))
def test_what_one_row_is_kept_per_says_who_a_user_is(rows: list[tuple[str | None, str | None]]) -> None:
    shop, number = (pa.array([row[at] for row in rows], pa.string()) for at in range(2))
    keys = keys_of(("shop", "number"), shop=shop, number=number, customer_id=pa.array(["x"] * len(rows)))
    for one, of_one in zip(rows, keys, strict=True):
        assert (of_one is None) == (one == (None, None))
        for another, of_another in zip(rows, keys, strict=True):
            assert (of_one == of_another) == (one == another)


def test_a_rows_key_is_its_value_with_its_type() -> None:
    instant = datetime(2024, 5, 1, tzinfo=UTC)
    table = pa.table({
        "number": [7, 7, None],
        "text": ["7", "8", None],
        "at": pa.array([instant, instant, None], pa.timestamp("us", "UTC")),
        "json": pa.array(['{"a":1}', "1", None], pa.string()).cast(JSON),
    })  # fmt: skip
    keys = {name: row_keys(table, name) for name in table.schema.names}
    assert keys["number"][0] == keys["number"][1] != keys["text"][0] != keys["text"][1]
    assert keys["at"][0] == keys["at"][1]
    assert len({one[0] for one in keys.values()}) == len(keys)
    assert {one[2] for one in keys.values()} == {None}


def test_a_key_column_that_is_gone_or_holds_lists_is_refused() -> None:
    table = pa.table({"tags": [["a"], []], "id": ["1", "2"]})
    with pytest.raises(ColumnMissing, match=r"'row_id'.*0 times"):
        row_keys(table, "row_id")
    with pytest.raises(MappingRefused, match="'tags' holds list"):
        row_keys(table, "tags")
    with pytest.raises(MappingRefused, match="'tags' holds list"):
        keys_of(("tags",), tags=[["a"]])
