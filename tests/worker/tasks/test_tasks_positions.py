"""A result that can be continued: slices end at its positions, and whoever comes after a crash goes on with it."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import sqlalchemy as sa

from shared.catalog import Connection
from shared.errors import StoreUnavailable
from shared.ledger import Ledger
from shared.messages import TaskName
from shared.run import RunId, RunState
from shared.settings import Settings
from shared.store.tables import slices
from tests.standins.continuable import Continuable, History
from tests.worker.tasks.conftest import LIMITS
from tests.worker.tasks.desk import ROWS, Desk, Killed, Strike, When, assert_settled_whole, fails_with
from tests.worker.tasks.test_tasks_struck import others_finish, strikes
from worker.warehouses.base import Label, Warehouse
from worker.warehouses.registry import open_warehouse

QUERY = "SELECT customer_id, firstname, changed_at FROM people ORDER BY customer_id"


@pytest.fixture
def limits() -> dict[str, str]:
    return {**LIMITS, "CHUNK_MAX_ROWS": "2", "RECORD_BATCH_ROWS": "2", "SLICE_CHUNKS": "1"}


@pytest.fixture
def history(monkeypatch: pytest.MonkeyPatch) -> History:
    """Of every result that is extracted."""
    history = History()

    @contextmanager
    def opened(connection: Connection, settings: Settings, *, label: Label) -> Iterator[Warehouse]:
        with open_warehouse(connection, settings, label=label) as warehouse:
            yield Continuable(warehouse, history)

    monkeypatch.setattr("worker.tasks.sources.open_warehouse", opened)
    return history


def extracting(desk: Desk) -> tuple[RunId, tuple[Any, ...]]:
    run_id = desk.trigger(desk.pipeline(query=QUERY))
    return run_id, desk.take_until(TaskName.EXTRACT_SLICE)


def killed_after_a_slice(desk: Desk, history: History) -> RunId:
    """A run whose extraction died when at least one slice was published and sent, and not all."""
    run_id, arguments = extracting(desk)
    strike = Strike(9, When.AFTER, fails_with(Killed()))
    with desk.database.struck(strike):
        desk.do(TaskName.EXTRACT_SLICE, arguments)
    states = [one["state"] for one in desk.slices(run_id)]
    assert states[0] == "published"
    assert states[-1] == "extracting"
    assert history.opened == [None]
    return run_id


def test_slices_end_at_positions_and_uploading_begins_before_reading_ends(desk: Desk, history: History) -> None:
    run_id, arguments = extracting(desk)
    desk.do(TaskName.EXTRACT_SLICE, arguments)
    found = desk.slices(run_id)
    assert len(found) > 2
    assert [one["state"] for one in found] == ["published"] * len(found)
    assert [one["position"]["row"] for one in found] == sorted(one["position"]["row"] for one in found)
    assert len({one["position"]["result"] for one in found}) == 1
    assert history.opened == [None]
    assert_settled_whole(desk, desk.finish(run_id).id)
    assert set(desk.taken_ids().values()) == {1}


def test_a_killed_extraction_is_continued_in_the_same_result(desk: Desk, history: History) -> None:
    run_id = killed_after_a_slice(desk, history)
    assert_settled_whole(desk, desk.finish(run_id).id)
    (_, continued) = history.opened
    assert continued is not None
    assert int(continued["row"]) > 0
    assert set(desk.taken_ids().values()) == {1}


@pytest.mark.parametrize("when", When)
@pytest.mark.parametrize("failure", [StoreUnavailable("the connection broke"), Killed()], ids=["broken", "killed"])
def test_an_extraction_struck_at_any_commit_is_made_good(
    desk: Desk, history: History, when: When, failure: BaseException
) -> None:
    def strike_at(nth: int) -> bool:
        run_id, arguments = extracting(desk)
        strike = Strike(nth, when, fails_with(failure))
        with desk.database.struck(strike):
            desk.do(TaskName.EXTRACT_SLICE, arguments)
        desk.finish(run_id)
        assert_settled_whole(desk, run_id)
        return strike.fell

    assert strikes(strike_at) > 10
    assert any(history.opened)


def test_an_extraction_that_sleeps_after_any_commit_while_others_finish_changes_nothing(
    desk: Desk, history: History
) -> None:
    def sleep_after(nth: int) -> bool:
        run_id, arguments = extracting(desk)
        strike = Strike(nth, When.AFTER, lambda: others_finish(desk, run_id))
        with desk.database.struck(strike):
            desk.do(TaskName.EXTRACT_SLICE, arguments)
        assert_settled_whole(desk, desk.finish(run_id).id)
        assert not any(one["token"] for one in desk.slices(run_id))
        return strike.fell

    assert strikes(sleep_after) > 10
    assert any(history.opened)


def test_every_message_delivered_three_times_at_once_does_everything_once(desk: Desk, history: History) -> None:
    run_id = desk.trigger(desk.pipeline(query=QUERY))

    def at_once(task: TaskName, arguments: tuple[Any, ...]) -> None:
        desk.do_at_once(task, arguments, times=3)

    assert_settled_whole(desk, desk.finish(run_id, at_once).id)
    assert history.opened == [None]
    assert set(desk.taken_ids().values()) == {1}


def test_a_result_that_expired_before_anything_was_published_is_asked_for_again(desk: Desk, history: History) -> None:
    run_id, arguments = extracting(desk)
    strike = Strike(7, When.AFTER, fails_with(Killed()))
    with desk.database.struck(strike):
        desk.do(TaskName.EXTRACT_SLICE, arguments)
    (begun,) = desk.slices(run_id)
    assert begun["state"] == "extracting"
    assert begun["position"]["row"] == 0
    history.expired.add(begun["position"]["result"])
    assert_settled_whole(desk, desk.finish(run_id).id)
    assert history.opened == [None, begun["position"], None]


def test_a_result_that_expired_half_read_stops_the_run_and_is_never_read_anew(desk: Desk, history: History) -> None:
    run_id = killed_after_a_slice(desk, history)
    history.expired.update(one["position"]["result"] for one in desk.slices(run_id))
    run = desk.finish(run_id)
    assert run.state is RunState.FAILED
    assert run.error_kind == "ResultExpired"
    assert run.ledger.balances
    assert 0 < run.ledger.extracted < ROWS
    assert None not in history.opened[1:]


def test_a_full_spool_stops_reading_between_slices_and_goes_on_when_there_is_room(desk: Desk, history: History) -> None:
    run_id, arguments = extracting(desk)
    tight = desk.process.settings.model_copy(update={"spool_soft_bytes": 1})
    roomy = desk.process.settings
    desk.process.settings = tight
    desk.do(TaskName.EXTRACT_SLICE, arguments)
    first, following = desk.slices(run_id)
    assert (first["state"], following["state"]) == ("published", "pending")
    assert "spool holds" in following["held_reason"]
    desk.process.settings = roomy
    run = desk.finish(run_id)
    assert_settled_whole(desk, run.id)
    assert run.ledger == Ledger(extracted=ROWS, accepted=ROWS)
    assert history.opened[1] == following["position"]


def test_a_retried_run_goes_on_where_its_slices_stand(desk: Desk, history: History) -> None:
    run_id = killed_after_a_slice(desk, history)
    with desk.database.transaction() as store:
        store.execute(sa.update(slices).where(slices.c.run_id == run_id).values(deaths=10**6))
    desk.lose_messages()
    desk.time_passes()
    desk.do(TaskName.UPKEEP, ())
    assert desk.run(run_id).error_kind == "ChunkAbandoned"
    desk.retry(run_id)
    assert_settled_whole(desk, desk.finish(run_id).id)
    assert history.opened[1] is not None
