"""What every warehouse promises about reading one row of each user, over every kind of iterator."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pyarrow as pa
import pytest

from shared.iterator import find_user_columns, tie_breakers
from shared.run import Window
from shared.sql import columns_query, windowed
from tests.conformance.kinds import KINDS, iterator_of, load_changes, value_of
from worker.warehouses.base import Warehouse

MODEL = "SELECT * FROM changes"
FIRST, SECOND, THIRD, FOURTH, FIFTH = (datetime(2026, 3, day, tzinfo=UTC) for day in range(1, 6))
CHANGES = [
    ("alice", FIRST),
    ("alice", THIRD),
    ("alice", None),
    ("bob", SECOND),
    ("bob", FIRST - timedelta(days=1)),
    ("bob", FOURTH),
    (None, FIRST),
    (None, FIRST),
    ("carol", None),
]
kinds = pytest.mark.parametrize("kind", KINDS)


def load(subject: Any, kind: str, **columns: pa.Array) -> None:
    users, instants = zip(*CHANGES, strict=True)
    times = [None if instant is None else value_of(instant, kind) for instant in instants]
    load_changes(subject, kind, times, customer_id=pa.array(users), **columns)


def newest(
    warehouse: Warehouse,
    kind: str,
    window: Window,
    *per: str,
    ranked_to: datetime | None = None,
    ties: tuple[str, ...] = (),
) -> pa.Table:
    schema = warehouse.describe(columns_query(MODEL, warehouse.dialect))
    query = windowed(
        MODEL,
        dialect=warehouse.dialect,
        iterator=iterator_of(warehouse, MODEL, kind, ties=ties),
        window=window,
        one_row_per=find_user_columns(schema, per or ("Customer_ID",)),
        columns=schema.names,
        ranked_to=ranked_to,
    )
    with warehouse.stream(query, batch_rows=1000) as stream:
        assert stream.schema.equals(schema)
        return pa.Table.from_batches(stream, schema)


def ids(table: pa.Table) -> list[int]:
    return sorted(int(value) for value in table.column("id").to_pylist())


@kinds
def test_of_each_user_the_newest_row_inside_the_window_is_read(subject: Any, kind: str) -> None:
    load(subject, kind)
    with subject.opened() as warehouse:
        assert ids(newest(warehouse, kind, Window(FIRST, FOURTH))) == [1, 3, 6, 7]
        assert ids(newest(warehouse, kind, Window(FIRST, THIRD))) == [0, 3, 6, 7]
        assert ids(newest(warehouse, kind, Window(high=FIFTH))) == [1, 5, 6, 7]
        assert ids(newest(warehouse, kind, Window(FIFTH, FIFTH))) == []


@kinds
def test_a_row_without_a_time_is_older_than_all_others(subject: Any, kind: str) -> None:
    load(subject, kind)
    with subject.opened() as warehouse:
        assert ids(newest(warehouse, kind, Window(FIRST, FOURTH, includes_null=True))) == [1, 3, 6, 7, 8]
        assert ids(newest(warehouse, kind, Window())) == [1, 5, 6, 7, 8]


@kinds
def test_a_user_with_a_newer_row_behind_the_window_is_left_out(subject: Any, kind: str) -> None:
    load(subject, kind)
    with subject.opened() as warehouse:
        assert ids(newest(warehouse, kind, Window(FIRST, THIRD), ranked_to=FOURTH)) == [3, 6, 7]
        assert ids(newest(warehouse, kind, Window(FIRST, THIRD), ranked_to=FIFTH)) == [6, 7]
        window = Window(high=THIRD, includes_null=True)
        assert ids(newest(warehouse, kind, window, ranked_to=FIFTH)) == [6, 7, 8]


def test_exactly_the_models_columns_are_returned_whatever_they_are_called(subject: Any) -> None:
    column = pa.array(range(len(CHANGES)), pa.int64())
    load(subject, "timestamp_tz", **{"Row_Rank": column, 'Full "Name"': column, "row_rank_2": column})
    with subject.opened() as warehouse:
        table = newest(warehouse, "timestamp_tz", Window(FIRST, FOURTH))
    assert ids(table) == [1, 3, 6, 7]
    assert [int(value) for value in table.column('Full "Name"').to_pylist()] == table.column("id").to_pylist()


def test_a_user_may_be_several_columns_of_which_some_are_null(subject: Any) -> None:
    users = [("a", None), ("a", None), ("a", "x"), (None, "x"), (None, "x"), (None, None), (None, None)]
    days = [value_of(FIRST + timedelta(days=day), "timestamp_tz") for day in range(len(users))]
    ours, theirs = (pa.array(column, pa.string()) for column in zip(*users, strict=True))
    load_changes(subject, "timestamp_tz", days, customer_id=ours, email=theirs)
    with subject.opened() as warehouse:
        table = newest(warehouse, "timestamp_tz", Window(low=FIRST), "customer_id", "email")
    assert ids(table) == [1, 2, 4, 5, 6]


def test_of_rows_equally_new_the_ties_decide_and_one_is_read_without_any(subject: Any) -> None:
    count = 2000
    times = [value_of(FIRST, "timestamp_tz")] * count
    users = pa.array([f"user {number % 20}" for number in range(count)])
    rank = pa.array([count - number for number in range(count)], pa.int64())
    load_changes(subject, "timestamp_tz", times, customer_id=users, rank=rank)
    with subject.opened() as warehouse:
        schema = warehouse.describe(columns_query(MODEL, warehouse.dialect))
        ties = tie_breakers(schema, besides=("id", "changed_at"))
        assert ties == ("customer_id", "rank")
        decided = newest(warehouse, "timestamp_tz", Window(low=FIRST), ties=ties)
        undecided = newest(warehouse, "timestamp_tz", Window(low=FIRST))
    assert ids(decided) == list(range(count - 20, count))
    assert sorted(undecided.column("customer_id").to_pylist()) == sorted(f"user {number}" for number in range(20))


def test_rows_can_be_ordered_by_every_column_that_breaks_ties(subject: Any) -> None:
    load(
        subject,
        "timestamp_tz",
        price=pa.array([None] * len(CHANGES), pa.decimal128(18, 4)),
        score=pa.array([0.5] * len(CHANGES), pa.float64()),
        day=pa.array([FIRST.date()] * len(CHANGES), pa.date32()),
        is_new=pa.array([True] * len(CHANGES), pa.bool_()),
        local=pa.array([FIRST.replace(tzinfo=None)] * len(CHANGES), pa.timestamp("us")),
    )
    with subject.opened() as warehouse:
        schema = warehouse.describe(columns_query(MODEL, warehouse.dialect))
        ties = tie_breakers(schema, besides=("changed_at",))
        assert ties == ("id", "customer_id", "price", "score", "day", "is_new", "local")
        assert ids(newest(warehouse, "timestamp_tz", Window(FIRST, FOURTH), ties=ties)) == [1, 3, 6, 7]
