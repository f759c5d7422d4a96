"""A run that rejects too much stops, whatever is struck while it does, and settles only for who accepts that."""

import pytest
import sqlalchemy as sa

from shared.catalog import Full, Incremental, IteratorType, Pipeline
from shared.errors import MoveNotAllowed, StoreUnavailable, TooManyRejected
from shared.messages import TaskName
from shared.run import Run, RunId, RunState
from shared.store import declared, moves
from shared.store.tables import runs
from tests.worker.tasks.desk import ROWS, Desk, Killed, Strike, When, fails_with
from tests.worker.tasks.test_tasks_struck import strikes

MODE = Incremental(iterator_field="changed_at", iterator_data_type=IteratorType.TIMESTAMP_NTZ)
QUERY = (
    "SELECT CASE WHEN right(customer_id, 1) IN ('1', '4', '6') THEN NULL ELSE customer_id END AS customer_id, "
    "firstname, changed_at FROM people"
)
"""One of three in each of the first two chunks is nobody's, and the one in the last."""
BROKEN = StoreUnavailable("the connection broke")


def strict(desk: Desk, mode: Full | Incremental = MODE, **limits: float | None) -> RunId:
    name = desk.pipeline(mode, query=QUERY)
    with desk.database.transaction() as store:
        pipeline = declared.get_pipeline(store, name).pipeline
        declared.put_pipeline(store, Pipeline.model_validate(pipeline.model_dump() | limits))
    return desk.trigger(name)


def assert_stopped(desk: Desk, run_id: RunId) -> Run:
    run = desk.finish(run_id)
    assert (run.state, run.error_kind) == (RunState.FAILED, TooManyRejected.__name__), run
    assert run.ledger.balances
    assert run.ledger.rejected >= 2
    with desk.database.transaction() as store:
        assert declared.get_pipeline(store, run.pipeline_id).faulted_reason == run.error
    return run


def test_a_run_that_rejects_too_much_stops_and_goes_on_for_who_accepts_it(desk: Desk) -> None:
    run_id = strict(desk, max_rejected_rows=1)
    stopped = assert_stopped(desk, run_id)
    assert stopped.ledger.unsent == ROWS - stopped.ledger.accepted - stopped.ledger.rejected
    with desk.database.transaction() as store:
        assert declared.get_pipeline(store, stopped.pipeline_id).standing.history_settled_to is None
    desk.lose_messages()
    with pytest.raises(MoveNotAllowed, match="--accept-rejects"):
        desk.retry(run_id)
    with desk.database.transaction() as store:
        asked = moves.retry(store, run_id, window_chunks=desk.window_chunks, accepts_rejects=True)
    desk.send(*asked.messages)
    run = desk.finish(run_id)
    assert run.state is RunState.SETTLED
    assert (run.ledger.accepted, run.ledger.rejected) == (ROWS - 3, 3)
    assert set(desk.taken_ids().values()) == {1}


@pytest.mark.parametrize(("when", "failure"), [(When.BEFORE, BROKEN), (When.AFTER, Killed())])
def test_an_attempt_struck_at_any_commit_around_the_limit_stops_its_run_all_the_same(
    desk: Desk, when: When, failure: BaseException
) -> None:
    def strike_at(nth: int) -> bool:
        run_id = strict(desk, max_rejected_rows=1)
        desk.do(TaskName.UPLOAD_CHUNK, desk.take_until(TaskName.UPLOAD_CHUNK))
        arguments = desk.take_until(TaskName.UPLOAD_CHUNK)
        strike = Strike(nth, when, fails_with(failure))
        with desk.database.struck(strike):
            desk.do(TaskName.UPLOAD_CHUNK, arguments)
        assert_stopped(desk, run_id)
        desk.lose_messages()
        return strike.fell

    assert strikes(strike_at) > 0


@pytest.mark.parametrize("when", When)
def test_settling_judges_once_more_and_a_settlement_that_dies_is_made_good(desk: Desk, when: When) -> None:
    def strike_at(nth: int) -> bool:
        run_id = strict(desk)
        arguments = desk.take_until(TaskName.SETTLE_RUN)
        with desk.database.transaction() as store:  # As if another release had finished its chunks.
            stricter = runs.c.snapshot.concat({"max_rejected_rows": 2})
            store.execute(sa.update(runs).where(runs.c.id == run_id).values(snapshot=stricter))
        strike = Strike(nth, when, fails_with(Killed()))
        with desk.database.struck(strike):
            desk.do(TaskName.SETTLE_RUN, arguments)
        assert_stopped(desk, run_id)
        return strike.fell

    assert strikes(strike_at) > 0


def test_few_rows_are_not_judged_by_their_share(desk: Desk) -> None:
    run = desk.finish(strict(desk, Full(), max_rejected_ratio=0.1))
    assert run.state is RunState.SETTLED
