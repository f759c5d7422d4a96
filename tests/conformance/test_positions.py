"""What every warehouse promises about continuing a result, and that one which cannot says so."""

import json
from typing import Any

from shared.run import Position, Window
from shared.sql import Query, windowed
from worker.warehouses.base import Warehouse

ROWS = 25_000
BATCH_ROWS = 1000


def query_of(subject: Any, warehouse: Warehouse) -> Query:
    return windowed(subject.numbers(ROWS), dialect=warehouse.dialect, iterator=None, window=Window())


def read(warehouse: Warehouse, query: Query, position: Position | None = None) -> list[int]:
    with warehouse.stream(query, batch_rows=BATCH_ROWS, position=position) as stream:
        return [value for batch in stream for value in batch.column("id").to_pylist()]


def test_what_is_read_up_to_a_position_and_from_there_on_is_everything_once(subject: Any) -> None:
    with subject.opened() as warehouse:
        query = query_of(subject, warehouse)
        before: list[int] = []
        positions: list[tuple[int, Position]] = []
        with warehouse.stream(query, batch_rows=BATCH_ROWS) as stream:
            assert stream.start is None
            for batch in stream:
                before += batch.column("id").to_pylist()
                if stream.position is not None:
                    positions.append((len(before), json.loads(json.dumps(stream.position))))
    assert sorted(before) == list(range(ROWS))
    assert bool(positions) is subject.standin.is_continuable
    for count, position in positions[:: max(1, len(positions) // 5)]:
        with subject.opened() as another:  # As after a crash: another session.
            assert before[:count] + read(another, query, position) == before


def test_a_stream_opened_at_anothers_start_gives_the_same_rows(subject: Any) -> None:
    with subject.opened() as warehouse:
        query = query_of(subject, warehouse)
        with warehouse.stream(query, batch_rows=BATCH_ROWS) as stream:
            rows = [value for batch in stream for value in batch.column("id").to_pylist()]
            start = stream.start
    assert (start is not None) is subject.standin.is_continuable
    if start is not None:
        with subject.opened() as another:
            assert read(another, query, start) == rows


def test_a_continued_stream_tells_positions_like_the_first(subject: Any) -> None:
    with subject.opened() as warehouse:
        query = query_of(subject, warehouse)
        with warehouse.stream(query, batch_rows=BATCH_ROWS) as stream:
            position = next((found for _ in stream if (found := stream.position) is not None), None)
        if position is None:
            return
        with warehouse.stream(query, batch_rows=BATCH_ROWS, position=position) as rest:
            list(rest)
            assert rest.start == position


def test_a_position_holds_no_secret(subject: Any) -> None:
    secrets = [value for name, value in subject.standin.variables().items() if "SECRET" in name]
    with subject.opened() as warehouse, warehouse.stream(query_of(subject, warehouse), batch_rows=BATCH_ROWS) as stream:
        list(stream)
        told = json.dumps([stream.start, stream.position])
    assert not any(secret in told for secret in secrets)
