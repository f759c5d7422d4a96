"""What every warehouse promises about queries, whatever they ask."""

import threading
import time
import traceback
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pyarrow as pa
import pytest

from shared.errors import ModelInvalid, QueryTimedOut, WarehouseBusy
from shared.run import Window
from shared.sql import Query, columns_query, count_query, windowed
from worker.warehouses.base import Warehouse

VALUE = "alice@example.com"


@pytest.fixture
def warehouse(subject: Any) -> Iterator[Warehouse]:
    with subject.opened() as opened:
        yield opened


def all_of(model: str, warehouse: Warehouse) -> Query:
    return windowed(model, dialect=warehouse.dialect, iterator=None, window=Window())


def ids(warehouse: Warehouse, query: Query, *, batch_rows: int = 1000) -> list[int]:
    with warehouse.stream(query, batch_rows=batch_rows) as stream:
        return [value for batch in stream for value in batch.column("id").to_pylist()]


def test_every_row_is_streamed_once_in_batches_of_one_schema(subject: Any, warehouse: Warehouse) -> None:
    query = all_of(subject.numbers(12_345), warehouse)
    with warehouse.stream(query, batch_rows=1000) as stream:
        batches = list(stream)
    assert sorted(value for batch in batches for value in batch.column("id").to_pylist()) == list(range(12_345))
    assert all(batch.schema.equals(stream.schema) for batch in batches)
    assert max(len(batch) for batch in batches) <= 1000


def test_describing_gives_the_schema_that_streaming_has(subject: Any, warehouse: Warehouse) -> None:
    model = subject.numbers(10)
    described = warehouse.describe(columns_query(model, warehouse.dialect))
    with warehouse.stream(all_of(model, warehouse), batch_rows=10) as stream:
        assert stream.schema.equals(described)
    assert described.names == ["id"]


def test_describing_runs_nothing(subject: Any) -> None:
    with subject.opened(query_timeout_s=10) as warehouse:
        for query in (columns_query(subject.endless, warehouse.dialect), all_of(subject.endless, warehouse)):
            assert warehouse.describe(query).names == ["id"]


def test_an_empty_result_has_a_schema_and_no_rows(subject: Any, warehouse: Warehouse) -> None:
    with warehouse.stream(all_of(subject.numbers(0), warehouse), batch_rows=10) as stream:
        assert stream.schema.names == ["id"]
        assert sum(len(batch) for batch in stream) == 0


def test_counting_counts(subject: Any, warehouse: Warehouse) -> None:
    query = count_query(subject.numbers(4321), dialect=warehouse.dialect, iterator=None, window=Window())
    with warehouse.stream(query, batch_rows=10) as stream:
        assert [row for batch in stream for row in batch.to_pylist()] == [{"row_count": 4321}]


def test_the_clock_is_the_warehouses_in_utc(warehouse: Warehouse) -> None:
    now = warehouse.clock()
    assert now.utcoffset() == timedelta(0)
    assert abs(datetime.now(UTC) - now) < timedelta(minutes=2)


@pytest.mark.parametrize("ending", ["", ";", " -- done", "; /* done */"])
def test_a_model_may_end_as_its_author_likes(subject: Any, warehouse: Warehouse, ending: str) -> None:
    assert ids(warehouse, all_of(subject.numbers(3) + ending, warehouse)) == [0, 1, 2]


@pytest.mark.parametrize(
    ("model", "named"),
    [
        ("SELECT surname FROM (SELECT 1 AS id) AS people", "surname"),
        ("SELECT id FROM no_such_table", "no_such_table"),
        ("SELECT id FROM\n  (SELECT 1 AS AS id) AS people", "line 2"),
        ("SELECT no_such_function(1) AS id", "no_such_function"),
    ],
)
def test_sql_that_the_warehouse_refuses_is_told_in_its_own_words(warehouse: Warehouse, model: str, named: str) -> None:
    for ask in (
        lambda: warehouse.describe(columns_query(model, warehouse.dialect)),
        lambda: ids(warehouse, all_of(model, warehouse)),
    ):
        with pytest.raises(ModelInvalid) as refused:
            ask()
        assert named in str(refused.value)
        assert "run 7" in str(refused.value)


@pytest.mark.parametrize("at", [5, 250_000])
def test_a_failing_row_tells_its_place_and_never_its_value(subject: Any, warehouse: Warehouse, at: int) -> None:
    query = all_of(subject.failing(at=at, count=300_000, secret=VALUE), warehouse)
    with pytest.raises(ModelInvalid) as failed:
        ids(warehouse, query)
    assert "line 2" in str(failed.value) or not subject.locates_failures
    assert VALUE not in "".join(traceback.format_exception(failed.value))


def test_a_failed_query_leaves_the_warehouse_usable(subject: Any, warehouse: Warehouse) -> None:
    with pytest.raises(ModelInvalid):
        ids(warehouse, all_of(subject.failing(at=5, count=10, secret=VALUE), warehouse))
    assert ids(warehouse, all_of(subject.numbers(2), warehouse)) == [0, 1]


def test_a_stream_may_be_left_early(subject: Any, warehouse: Warehouse) -> None:
    with warehouse.stream(all_of(subject.numbers(subject.sizes.unread), warehouse), batch_rows=100) as stream:
        assert len(next(iter(stream))) == 100
    assert ids(warehouse, all_of(subject.numbers(2), warehouse)) == [0, 1]


def test_two_streams_of_one_warehouse_do_not_mix(subject: Any, warehouse: Warehouse) -> None:
    with (
        warehouse.stream(all_of(subject.numbers(5000), warehouse), batch_rows=100) as one,
        warehouse.stream(all_of(subject.numbers(5000), warehouse), batch_rows=100) as other,
    ):
        pairs = list(zip(one, other, strict=True))
    for side in zip(*pairs, strict=True):
        assert sorted(value for batch in side for value in batch.column("id").to_pylist()) == list(range(5000))


def test_a_query_ends_at_its_time_limit(subject: Any) -> None:
    with subject.opened(query_timeout_s=0.2) as warehouse, pytest.raises(QueryTimedOut, match=r"0\.2 s"):
        ids(warehouse, all_of(subject.endless, warehouse))


def test_the_time_limit_counts_what_the_reader_takes(subject: Any) -> None:
    with (
        subject.opened(query_timeout_s=0.3) as warehouse,
        pytest.raises(QueryTimedOut),
        warehouse.stream(all_of(subject.numbers(subject.sizes.lasting), warehouse), batch_rows=100) as stream,
    ):
        for _ in stream:
            pass


@pytest.mark.parametrize("first_rows", [True, False])
def test_another_thread_may_cancel(subject: Any, warehouse: Warehouse, first_rows: bool) -> None:
    model = subject.numbers(subject.sizes.lasting) if first_rows else subject.endless
    began = time.monotonic()
    with warehouse.stream(all_of(model, warehouse), batch_rows=100) as stream:
        canceller = threading.Timer(0.1, stream.cancel)
        canceller.start()
        with pytest.raises(WarehouseBusy, match="cancelled"):
            for _ in stream:
                pass
        canceller.join()
        stream.cancel()
    assert time.monotonic() - began < 30
    assert ids(warehouse, all_of(subject.numbers(2), warehouse)) == [0, 1]


def test_a_stream_cancelled_before_it_starts_gives_nothing(subject: Any, warehouse: Warehouse) -> None:
    with warehouse.stream(all_of(subject.numbers(10), warehouse), batch_rows=10) as stream:
        stream.cancel()
        with pytest.raises(WarehouseBusy):
            next(iter(stream))


def test_opening_a_stream_does_not_wait_for_the_query(subject: Any) -> None:
    # Its reader must be able to say that it is alive while a slow query prepares its first row.
    with (
        subject.opened(query_timeout_s=10) as warehouse,
        warehouse.stream(all_of(subject.endless, warehouse), batch_rows=10) as stream,
    ):
        assert stream.schema == pa.schema([("id", pa.int64())])


def test_closing_twice_is_fine(warehouse: Warehouse) -> None:
    warehouse.close()


def test_a_cancelled_query_ends_in_the_warehouse_too(subject: Any, warehouse: Warehouse) -> None:
    with warehouse.stream(all_of(subject.endless, warehouse), batch_rows=100) as stream:
        canceller = threading.Timer(1, stream.cancel)
        canceller.start()
        with pytest.raises(WarehouseBusy, match="cancelled"):
            list(stream)
        canceller.join()
    deadline = time.monotonic() + 20
    while subject.standin.running_queries():
        assert time.monotonic() < deadline, "the warehouse still works on a query that was cancelled"
        time.sleep(0.1)


def test_the_session_says_who_and_where(warehouse: Warehouse) -> None:
    session = warehouse.session()
    assert session
    assert all(name and value for name, value in session.items())


def test_the_cost_of_a_query_is_told_or_unknown(subject: Any, warehouse: Warehouse) -> None:
    cost = warehouse.scanned_bytes(all_of(subject.numbers(10), warehouse))
    assert cost is None or cost >= 0
