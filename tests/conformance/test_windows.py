"""What every warehouse promises about windows over every kind of iterator."""

from datetime import UTC, date, datetime, timedelta
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
from tests.conformance.kinds import HOUR, KINDS, iterator_of, load_changes, value_of
from worker.warehouses.base import Warehouse

MODEL = "SELECT id, changed_at FROM changes"
LOW, HIGH = datetime(2026, 3, 1, tzinfo=UTC), datetime(2026, 3, 2, tzinfo=UTC)
kinds = pytest.mark.parametrize("kind", KINDS)


def read(warehouse: Warehouse, kind: str, window: Window) -> list[int]:
    query = windowed(MODEL, dialect=warehouse.dialect, iterator=iterator_of(warehouse, MODEL, kind), window=window)
    with warehouse.stream(query, batch_rows=1000) as stream:
        return sorted(value for batch in stream for value in batch.column("id").to_pylist())


@kinds
def test_a_window_holds_its_low_and_not_its_high(subject: Any, kind: str) -> None:
    instants = [LOW - 24 * HOUR, LOW, HIGH - 24 * HOUR if kind == "date" else HIGH - timedelta(seconds=1), HIGH]
    load_changes(subject, kind, [*(value_of(instant, kind) for instant in instants), None])
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
    load_changes(
        subject, "nanoseconds", list(pa.array([high_ns - tick_ns, high_ns, high_ns + tick_ns], pa.timestamp("ns")))
    )
    with subject.opened() as warehouse:
        assert read(warehouse, "nanoseconds", Window(LOW, HIGH)) == [0]
        assert read(warehouse, "nanoseconds", Window(low=HIGH)) == [1, 2]


@kinds
def test_rows_that_share_one_value_are_never_parted(subject: Any, kind: str) -> None:
    load_changes(subject, kind, [value_of(LOW, kind)] * 25_000)
    with subject.opened() as warehouse:
        assert len(read(warehouse, kind, Window(LOW - 24 * HOUR, LOW))) == 0
        assert len(read(warehouse, kind, Window(LOW, HIGH))) == 25_000


@kinds
def test_windows_one_after_another_read_every_row_once(subject: Any, kind: str) -> None:
    instants = [LOW + timedelta(minutes=17 * step) for step in range(500)]
    load_changes(subject, kind, [value_of(instant, kind) for instant in instants])
    with subject.opened() as warehouse:
        settled = iterator_of(warehouse, MODEL, kind)

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
