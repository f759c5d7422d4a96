"""What every warehouse promises about windows over every kind of iterator."""

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from itertools import pairwise
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from shared.catalog import IteratorType
from shared.iterator import find_iterator, floor_to_unit
from shared.run import Window
from shared.sql import Iterator, columns_query, windowed
from worker.warehouses.base import Warehouse

MODEL = "SELECT id, changed_at FROM changes"
HOUR = timedelta(hours=1)
LOW, HIGH = datetime(2026, 3, 1, tzinfo=UTC), datetime(2026, 3, 2, tzinfo=UTC)
KINDS = {
    "timestamp_tz": (pa.timestamp("us", "UTC"), IteratorType.TIMESTAMP_TZ, "UTC"),
    "timestamp_ntz": (pa.timestamp("us"), IteratorType.TIMESTAMP_NTZ, "America/New_York"),
    "nanoseconds": (pa.timestamp("ns"), IteratorType.TIMESTAMP_NTZ, "UTC"),
    "seconds": (pa.timestamp("s"), IteratorType.TIMESTAMP_NTZ, "UTC"),
    "date": (pa.date32(), IteratorType.DATE, "UTC"),
    "unixtime_s": (pa.int64(), IteratorType.UNIXTIME_S, "UTC"),
    "unixtime_ms": (pa.int64(), IteratorType.UNIXTIME_MS, "UTC"),
    "short_unixtime_s": (pa.int32(), IteratorType.UNIXTIME_S, "UTC"),
    "decimal_unixtime_ms": (pa.decimal128(20, 0), IteratorType.UNIXTIME_MS, "UTC"),
}
kinds = pytest.mark.parametrize("kind", KINDS)


def value_of(instant: datetime, kind: str) -> object:
    """Say an instant as a column of this kind does, without the code under test."""
    since_1970 = instant - datetime(1970, 1, 1, tzinfo=UTC)
    match kind:
        case "timestamp_tz":
            return instant
        case "timestamp_ntz":
            return instant.replace(tzinfo=None) - 5 * HOUR  # New York, in winter
        case "nanoseconds" | "seconds":
            return instant.replace(tzinfo=None)
        case "date":
            return instant.date()
        case "unixtime_s" | "short_unixtime_s":
            return since_1970 // timedelta(seconds=1)
        case "unixtime_ms":
            return since_1970 // timedelta(milliseconds=1)
        case _:
            return Decimal(since_1970 // timedelta(milliseconds=1))


def load(subject: Any, values: list[object], kind: str) -> None:
    at = pa.array(values, KINDS[kind][0])
    subject.load("changes", pa.table({"id": pa.array(range(len(values)), pa.int64()), "changed_at": at}))


def iterator(warehouse: Warehouse, kind: str) -> Iterator:
    _, declared, zone = KINDS[kind]
    column, found = find_iterator(warehouse.describe(columns_query(MODEL, warehouse.dialect)), "changed_at", declared)
    return Iterator(column, found, zone)


def read(warehouse: Warehouse, kind: str, window: Window) -> list[int]:
    query = windowed(MODEL, dialect=warehouse.dialect, iterator=iterator(warehouse, kind), window=window)
    with warehouse.stream(query, batch_rows=1000) as stream:
        return sorted(value for batch in stream for value in batch.column("id").to_pylist())


@kinds
def test_a_window_holds_its_low_and_not_its_high(subject: Any, kind: str) -> None:
    instants = [LOW - 24 * HOUR, LOW, HIGH - 24 * HOUR if kind == "date" else HIGH - timedelta(seconds=1), HIGH]
    load(subject, [*(value_of(instant, kind) for instant in instants), None], kind)
    with subject.opened() as warehouse:
        assert read(warehouse, kind, Window(LOW, HIGH)) == [1, 2]
        assert read(warehouse, kind, Window(LOW, HIGH, includes_null=True)) == [1, 2, 4]
        assert read(warehouse, kind, Window(high=HIGH)) == [0, 1, 2]
        assert read(warehouse, kind, Window(high=HIGH, includes_null=True)) == [0, 1, 2, 4]
        assert read(warehouse, kind, Window(low=LOW)) == [1, 2, 3]
        assert read(warehouse, kind, Window()) == [0, 1, 2, 3, 4]
        assert read(warehouse, kind, Window(HIGH, HIGH)) == []


def test_the_smallest_step_before_the_high_is_inside(subject: Any) -> None:
    high_ns, tick_ns = int(HIGH.timestamp()) * 10**9, subject.sizes.tick_ns
    load(subject, list(pa.array([high_ns - tick_ns, high_ns, high_ns + tick_ns], pa.timestamp("ns"))), "nanoseconds")
    with subject.opened() as warehouse:
        assert read(warehouse, "nanoseconds", Window(LOW, HIGH)) == [0]
        assert read(warehouse, "nanoseconds", Window(low=HIGH)) == [1, 2]


@kinds
def test_rows_that_share_one_value_are_never_parted(subject: Any, kind: str) -> None:
    load(subject, [value_of(LOW, kind)] * 25_000, kind)
    with subject.opened() as warehouse:
        assert len(read(warehouse, kind, Window(LOW - 24 * HOUR, LOW))) == 0
        assert len(read(warehouse, kind, Window(LOW, HIGH))) == 25_000


@kinds
def test_windows_one_after_another_read_every_row_once(subject: Any, kind: str) -> None:
    instants = [LOW + timedelta(minutes=17 * step) for step in range(500)]
    load(subject, [value_of(instant, kind) for instant in instants], kind)
    with subject.opened() as warehouse:
        settled = iterator(warehouse, kind)

        @settings(max_examples=5, deadline=None, suppress_health_check=[HealthCheck.too_slow])
        @given(st.lists(st.sampled_from(instants), min_size=1, max_size=4))
        def reads_all_once(moments: list[datetime]) -> None:
            ends = [floor_to_unit(moment, settled.type, settled.zone) for moment in sorted(moments)]
            bounds = [None, *ends, None]
            windows = [Window(low, high) for low, high in pairwise(bounds)]
            rows = [row for window in windows for row in read(warehouse, kind, window)]
            assert sorted(rows) == list(range(500))

        reads_all_once()


def test_the_iterators_spelling_is_the_results(subject: Any) -> None:
    subject.load("changes", pa.table({"id": [1, 2], 'Updated "At"': [date(2026, 3, 1), date(2026, 3, 2)]}))
    with subject.opened() as warehouse:
        model = "SELECT * FROM changes"
        schema = warehouse.describe(columns_query(model, warehouse.dialect))
        column, kind = find_iterator(schema, 'updated "at"', IteratorType.DATE)
        query = windowed(model, dialect=warehouse.dialect, iterator=Iterator(column, kind), window=Window(low=HIGH))
        with warehouse.stream(query, batch_rows=10) as stream:
            assert [row["id"] for batch in stream for row in batch.to_pylist()] == [2]
