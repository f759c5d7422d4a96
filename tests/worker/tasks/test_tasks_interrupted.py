"""An extraction is interrupted whenever that is asked for, also while its query is only being opened."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import pyarrow as pa
import pytest

from shared.catalog import Connection
from shared.messages import TaskName
from shared.run import Position, RunState
from shared.settings import Settings
from shared.sql import Query
from shared.store import moves
from tests.standins.continuable import Continuable, ContinuableStream
from tests.worker.tasks.conftest import LIMITS
from tests.worker.tasks.desk import Desk, assert_settled_whole
from worker.warehouses.base import Label, RecordStream, Warehouse
from worker.warehouses.registry import open_warehouse

LIMIT_S = 60.0


@dataclass
class Story:
    """What happens while a query is opened, and whether it was started all the same."""

    interrupt: Callable[[], object]
    was_started: bool = False


class _Slow(Continuable):
    """Opening a query lasts until whoever keeps the claim has interrupted the work, and stopped looking."""

    def __init__(self, warehouse: Warehouse, story: Story) -> None:
        super().__init__(warehouse)
        self._story = story

    @contextmanager
    def stream(self, query: Query, *, batch_rows: int, position: Position | None = None) -> Iterator[ContinuableStream]:
        with super().stream(query, batch_rows=batch_rows, position=position) as stream:
            (heartbeat,) = (thread for thread in threading.enumerate() if thread.name == "heartbeat")
            self._story.interrupt()
            heartbeat.join(LIMIT_S)
            assert not heartbeat.is_alive()
            yield _Started(stream, self._story)


class _Started(ContinuableStream):
    def __init__(self, rows: RecordStream, story: Story) -> None:
        super().__init__(rows, {"result": "", "row": 0})
        self._story = story

    def __iter__(self) -> Iterator[pa.RecordBatch]:
        self._story.was_started = True
        return super().__iter__()


@pytest.fixture
def limits() -> dict[str, str]:
    return {**LIMITS, "EXTRACT_LEASE_S": "1"}


def extract(desk: Desk, arguments: tuple[object, ...], story: Story) -> None:
    @contextmanager
    def opened(connection: Connection, settings: Settings, *, label: Label) -> Iterator[Warehouse]:
        with open_warehouse(connection, settings, label=label) as warehouse:
            yield _Slow(warehouse, story)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("worker.tasks.sources.open_warehouse", opened)
        desk.do(TaskName.EXTRACT_SLICE, arguments)


def test_a_shutdown_while_the_query_is_opened_gives_the_slice_back_unread(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    is_ending = threading.Event()
    monkeypatch.setattr("worker.tasks.extract_slice.is_shutting_down", is_ending.is_set)
    run_id = desk.trigger(desk.pipeline())
    story = Story(interrupt=is_ending.set)
    extract(desk, desk.take_until(TaskName.EXTRACT_SLICE), story)
    assert not story.was_started
    (slice_,) = desk.slices(run_id)
    assert (slice_["state"], slice_["held_reason"]) == ("pending", "its reading was interrupted")
    is_ending.clear()
    assert_settled_whole(desk, desk.finish(run_id).id)


def test_a_run_that_is_cancelled_while_its_query_is_opened_is_not_read(desk: Desk) -> None:
    run_id = desk.trigger(desk.pipeline())

    def cancel() -> None:
        with desk.database.transaction() as store:
            moves.cancel(store, run_id)

    story = Story(interrupt=cancel)
    extract(desk, desk.take_until(TaskName.EXTRACT_SLICE), story)
    assert not story.was_started
    assert desk.run(run_id).state is RunState.CANCELLED
