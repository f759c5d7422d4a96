"""What every warehouse promises about the span of a window's rows, over every kind of iterator."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pyarrow as pa
import pytest

from shared.run import Window
from shared.sql import Span, span_of, span_query
from tests.conformance.kinds import KINDS, iterator_of, load_changes, value_of
from worker.warehouses.base import Warehouse

MODEL = "SELECT changed_at FROM changes"
FIRST, SECOND, THIRD = (datetime(2026, 3, day, tzinfo=UTC) for day in (1, 2, 3))
kinds = pytest.mark.parametrize("kind", KINDS)


def span(warehouse: Warehouse, kind: str, window: Window) -> Span:
    iterator = iterator_of(warehouse, MODEL, kind)
    query = span_query(MODEL, dialect=warehouse.dialect, iterator=iterator, window=window)
    with warehouse.stream(query, batch_rows=10) as stream:
        return span_of(pa.Table.from_batches(stream, stream.schema), iterator)


@kinds
def test_the_span_of_a_window_tells_how_many_rows_and_from_when_to_when(subject: Any, kind: str) -> None:
    inside = FIRST + timedelta(hours=0 if kind == "date" else 7, seconds=0 if kind == "date" else 5)
    times = [value_of(instant, kind) for instant in (SECOND, inside, FIRST - timedelta(days=9), inside, THIRD)]
    load_changes(subject, kind, [*times, None, None])
    with subject.opened() as warehouse:
        assert span(warehouse, kind, Window(FIRST, THIRD)) == Span(3, inside, SECOND, 0)
        assert span(warehouse, kind, Window(FIRST, THIRD, includes_null=True)) == Span(5, inside, SECOND, 2)
        assert span(warehouse, kind, Window()) == Span(7, FIRST - timedelta(days=9), THIRD, 2)


@kinds
def test_a_window_without_a_row_that_has_a_time_spans_nothing(subject: Any, kind: str) -> None:
    load_changes(subject, kind, [value_of(FIRST, kind), None])
    with subject.opened() as warehouse:
        assert span(warehouse, kind, Window(low=SECOND)) == Span(0, None, None, 0)
        assert span(warehouse, kind, Window(low=SECOND, includes_null=True)) == Span(1, None, None, 1)
