"""A run that reads too much or too little is held, whoever is struck while publishing it; nothing goes on unasked."""

from collections.abc import Mapping
from typing import Any

import duckdb
import pytest

from shared.catalog import Full, Incremental, IteratorType, Pipeline
from shared.errors import StoreUnavailable
from shared.ledger import Ledger
from shared.messages import Message, TaskName
from shared.run import HeldFor, Lane, Run, RunId, RunState
from shared.store import declared, moves
from tests.worker.tasks.desk import QUERY, ROWS, Desk, Killed, Strike, When, assert_settled_whole, fails_with
from tests.worker.tasks.test_tasks_struck import strikes
from worker.tasks.upkeep import upkeep

Bounds = Mapping[str, float]

MODE = Incremental(iterator_field="changed_at", iterator_data_type=IteratorType.TIMESTAMP_NTZ)
BROKEN = StoreUnavailable("the connection broke")
NOBODY = f"{QUERY} WHERE customer_id = 'nobody'"
BEFORE, DIES_BEFORE, DIES_AFTER = (When.BEFORE, BROKEN), (When.BEFORE, Killed()), (When.AFTER, Killed())
MANY, FEW = ({"max_rows": 1}, MODE), ({"min_rows": ROWS + 1}, Full())


def limited(desk: Desk, volume: Bounds, mode: Incremental | Full = MODE, *, query: str = QUERY) -> RunId:
    name = desk.pipeline(mode, query=query)
    limit(desk, name, volume)
    return desk.trigger(name)


def limit(desk: Desk, pipeline_id: str, volume: Bounds) -> None:
    with desk.database.transaction() as store:
        pipeline = declared.get_pipeline(store, pipeline_id).pipeline
        declared.put_pipeline(store, Pipeline.model_validate(pipeline.model_dump() | {"volume": volume}))


def approve(desk: Desk, run_id: RunId) -> None:
    with desk.database.transaction() as store:
        asked = moves.approve(store, run_id, window_chunks=desk.window_chunks)
    desk.send(*asked.messages)


def watermark(desk: Desk, pipeline_id: str) -> Any:
    with desk.database.transaction() as store:
        return declared.get_pipeline(store, pipeline_id).standing.watermark


def assert_held(desk: Desk, run_id: RunId, rows: int = ROWS) -> Run:
    run = desk.finish(run_id)
    assert (run.state, run.held_for) == (RunState.CANCELLED, HeldFor.VOLUME_UNUSUAL), run
    assert (run.ledger.extracted, run.ledger.unsent) == (rows, rows)
    return run


def assert_left_alone(desk: Desk, run_id: RunId) -> None:
    """See that upkeep neither sends anything of a held run nor settles it."""
    desk.lose_messages()
    desk.time_passes()
    upkeep()
    assert desk.take() is None
    assert desk.run(run_id).is_held


@pytest.mark.parametrize(("volume", "mode"), [({"max_rows": ROWS - 1}, MODE), FEW])
def test_a_run_beyond_its_limit_is_held_and_sent_once_it_is_approved(
    desk: Desk, volume: Bounds, mode: Incremental | Full
) -> None:
    run_id = limited(desk, volume, mode)
    assert_held(desk, run_id)
    assert_left_alone(desk, run_id)
    assert desk.taken_ids() == {}
    approve(desk, run_id)
    desk.finish(run_id)
    assert_settled_whole(desk, run_id)


@pytest.mark.parametrize("mode", [MODE, Full()])
def test_as_many_rows_as_are_allowed_and_expected_settle(desk: Desk, mode: Incremental | Full) -> None:
    run_id = limited(desk, {"max_rows": ROWS, "min_rows": ROWS}, mode)
    desk.finish(run_id)
    assert_settled_whole(desk, run_id)


def test_an_initial_sync_without_rows_settles(desk: Desk) -> None:
    run_id = limited(desk, {"min_rows": 1}, query=NOBODY)
    run = desk.finish(run_id)
    assert (run.lane, run.state, run.ledger) == (Lane.BACKFILL, RunState.SETTLED, Ledger())


@pytest.mark.parametrize(
    ("bounds", "strike"), [(MANY, BEFORE), (MANY, DIES_BEFORE), (MANY, DIES_AFTER), (FEW, DIES_AFTER)]
)
def test_an_extraction_struck_at_any_commit_holds_its_run_all_the_same(
    desk: Desk, bounds: tuple[Bounds, Incremental | Full], strike: tuple[When, BaseException]
) -> None:
    volume, mode = bounds
    when, failure = strike

    def strike_at(nth: int) -> bool:
        run_id = limited(desk, volume, mode)
        arguments = desk.take_until(TaskName.EXTRACT_SLICE)
        struck = Strike(nth, when, fails_with(failure))
        before = len(desk.taken_ids())
        with desk.database.struck(struck):
            desk.do(TaskName.EXTRACT_SLICE, arguments)
        assert_held(desk, run_id)
        assert len(desk.taken_ids()) == before, "nothing was sent"
        desk.lose_messages()
        approve(desk, run_id)
        desk.finish(run_id)
        assert_settled_whole(desk, run_id)
        return struck.fell

    assert strikes(strike_at) > 0


@pytest.mark.parametrize(("when", "failure"), [BEFORE, DIES_BEFORE, DIES_AFTER])
def test_a_run_without_rows_is_held_whatever_strikes_it_and_settles_once_it_is_approved(
    desk: Desk, when: When, failure: BaseException
) -> None:
    def strike_at(nth: int) -> bool:
        run_id = limited(desk, {"min_rows": 1}, Full(), query=NOBODY)
        arguments = desk.take_until(TaskName.EXTRACT_SLICE)
        strike = Strike(nth, when, fails_with(failure))
        with desk.database.struck(strike):
            desk.do(TaskName.EXTRACT_SLICE, arguments)
        assert_held(desk, run_id, 0)
        assert_left_alone(desk, run_id)
        approve(desk, run_id)
        desk.lose_messages()
        assert desk.finish(run_id).state is RunState.SETTLED, "upkeep finds that it lacks nothing else"
        return strike.fell

    assert strikes(strike_at) > 0


def test_a_run_without_rows_is_held_once_however_often_its_messages_come(desk: Desk) -> None:
    run_id = limited(desk, {"min_rows": 1}, Full(), query=NOBODY)
    stray = TaskName.SETTLE_RUN, (Message(TaskName.SETTLE_RUN, run_id).payload(),)

    def at_once(task: TaskName, arguments: tuple[Any, ...]) -> None:
        desk.do_at_once(task, arguments, times=3)
        desk.do(*stray)

    desk.finish(run_id, at_once)
    assert_held(desk, run_id, 0)
    desk.do(*stray)
    assert desk.run(run_id).is_held


def test_rows_that_arrive_late_are_read_once_the_run_that_missed_them_is_abandoned(desk: Desk) -> None:
    name = desk.pipeline(MODE)
    desk.finish(desk.trigger(name))
    low = watermark(desk, name)
    limit(desk, name, {"min_rows": 1})
    run = assert_held(desk, desk.trigger(name), 0)
    assert watermark(desk, name) == low == run.window.low
    assert run.window.high is not None
    assert run.window.high > low
    with duckdb.connect(str(desk.warehouse / f"{name}.duckdb")) as warehouse:
        in_its_window = low.replace(tzinfo=None)
        warehouse.execute("INSERT INTO people VALUES ('late', 'Zoë', ?)", [in_its_window])
    with desk.database.transaction() as store:
        moves.abandon(store, run.id)
    again = desk.finish(desk.trigger(name))
    assert (again.state, again.window.low, again.ledger) == (RunState.SETTLED, low, Ledger(extracted=1, accepted=1))
    assert watermark(desk, name) == again.window.high
