"""A run that reads too much is held, whatever strikes whoever publishes it, and nothing of it is sent unasked."""

import pytest

from shared.catalog import Incremental, IteratorType, Pipeline
from shared.errors import StoreUnavailable
from shared.messages import TaskName
from shared.run import HeldFor, Run, RunId, RunState
from shared.store import declared, moves
from shared.volume import Volume
from tests.worker.tasks.desk import ROWS, Desk, Killed, Strike, When, assert_settled_whole, fails_with
from tests.worker.tasks.test_tasks_struck import strikes
from worker.tasks.upkeep import upkeep

MODE = Incremental(iterator_field="changed_at", iterator_data_type=IteratorType.TIMESTAMP_NTZ)
BROKEN = StoreUnavailable("the connection broke")


def limited(desk: Desk, max_rows: int) -> RunId:
    name = desk.pipeline(MODE)
    with desk.database.transaction() as store:
        pipeline = declared.get_pipeline(store, name).pipeline
        volume = Volume(max_rows=max_rows).model_dump()
        declared.put_pipeline(store, Pipeline.model_validate(pipeline.model_dump() | {"volume": volume}))
    return desk.trigger(name)


def approve(desk: Desk, run_id: RunId) -> None:
    with desk.database.transaction() as store:
        asked = moves.approve(store, run_id, window_chunks=desk.window_chunks)
    desk.send(*asked.messages)


def assert_held(desk: Desk, run_id: RunId) -> Run:
    run = desk.finish(run_id)
    assert (run.state, run.held_for) == (RunState.CANCELLED, HeldFor.VOLUME_UNUSUAL), run
    assert (run.ledger.extracted, run.ledger.unsent) == (ROWS, ROWS)
    return run


def test_a_run_beyond_its_limit_is_held_and_sent_once_it_is_approved(desk: Desk) -> None:
    run_id = limited(desk, ROWS - 1)
    assert_held(desk, run_id)
    desk.lose_messages()
    desk.time_passes()
    upkeep()
    assert desk.take() is None, "upkeep sends nothing of it"
    assert desk.taken_ids() == {}
    approve(desk, run_id)
    desk.finish(run_id)
    assert_settled_whole(desk, run_id)


def test_as_many_rows_as_are_allowed_settle(desk: Desk) -> None:
    run_id = limited(desk, ROWS)
    desk.finish(run_id)
    assert_settled_whole(desk, run_id)


@pytest.mark.parametrize(("when", "failure"), [(When.BEFORE, BROKEN), (When.BEFORE, Killed()), (When.AFTER, Killed())])
def test_an_extraction_struck_at_any_commit_holds_its_run_all_the_same(
    desk: Desk, when: When, failure: BaseException
) -> None:
    def strike_at(nth: int) -> bool:
        run_id = limited(desk, 1)
        arguments = desk.take_until(TaskName.EXTRACT_SLICE)
        strike = Strike(nth, when, fails_with(failure))
        before = len(desk.taken_ids())
        with desk.database.struck(strike):
            desk.do(TaskName.EXTRACT_SLICE, arguments)
        assert_held(desk, run_id)
        assert len(desk.taken_ids()) == before, "nothing was sent"
        desk.lose_messages()
        approve(desk, run_id)
        desk.finish(run_id)
        assert_settled_whole(desk, run_id)
        return strike.fell

    assert strikes(strike_at) > 0
