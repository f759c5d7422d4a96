"""History is read in parts, one after the other, beside the live lane; each can fail and begin again alone."""

from collections.abc import Sequence
from datetime import timedelta

import pytest

from shared.errors import AlreadyInProgress, DeclarationInvalid, FeedRefused, MoveNotAllowed
from shared.messages import Message, TaskName
from shared.run import BackfillId, Lane, RunId, RunKind, RunState, Window
from shared.store import backfills, history, moves, plans, stalled
from shared.store.backfills import Backfill
from tests.shared.store.stage import INCREMENTAL, MAX_REOPENINGS, T0, T1, WINDOW_CHUNKS, Stage, sent

DAY = timedelta(days=1)
PARTS = (Window(None, T0 - 2 * DAY, includes_null=True), Window(T0 - 2 * DAY, T0 - DAY), Window(T0 - DAY, T0))


def frozen(stage: Stage, run_id: RunId, parts: Sequence[Window] = PARTS) -> list[Message]:
    run, token = stage.claim_plan(run_id)
    with stage.database.transaction() as connection:
        return plans.freeze(
            connection, run, token, window=parts[0], snapshot={}, slice_count=1, further_parts=parts[1:]
        )


def initial(stage: Stage, parts: Sequence[Window] = PARTS) -> list[RunId]:
    """Begin an initial sync in parts and give them in order."""
    stage.declare(mode=INCREMENTAL)
    frozen(stage, stage.started(), parts)
    return ids(stage)


def ids(stage: Stage) -> list[RunId]:
    return [RunId(row.id) for row in stage.rows("SELECT id FROM runs WHERE lane = 'backfill' ORDER BY part")]


def states(stage: Stage) -> list[str]:
    return [row.state for row in stage.rows("SELECT state FROM runs WHERE lane = 'backfill' ORDER BY part, created_at")]


def finish(stage: Stage, run_id: RunId, rows: int = 3) -> list[Message]:
    """Extract, upload and settle a part whose slice waits."""
    (row,) = stage.rows("SELECT id FROM slices WHERE run_id = :run AND state = 'pending'", run=run_id)
    for chunk_id in stage.extract(row.id, [rows]):
        stage.upload(chunk_id)
    return stage.settled(run_id)


def backfill_of(stage: Stage, run_id: RunId) -> BackfillId:
    found = stage.run(run_id).backfill_id
    assert found is not None
    return found


def begin(stage: Stage, **asked: object) -> tuple[Backfill, RunId]:
    arguments = {"low": None, "high": None, "parts": 1, "newest_first": False, "expected_rows": None} | asked
    with stage.database.transaction() as connection:
        backfill, started = history.begin(connection, "people", **arguments)  # type: ignore[arg-type]
    (run_id,) = started.runs
    return backfill, run_id


def test_parts_are_read_one_after_the_other_and_t0_is_fixed_with_the_first(stage: Stage) -> None:
    first, second, third = initial(stage)
    assert stage.standing().watermark == T0
    assert states(stage) == ["extracting", "waiting", "waiting"]
    messages = finish(stage, first)
    assert states(stage) == ["settled", "extracting", "waiting"]
    assert len(sent(messages, TaskName.EXTRACT_SLICE)) == 1
    finish(stage, second)
    assert stage.standing().history_settled_to == T0 - DAY
    finish(stage, third)
    assert stage.standing().is_history_settled


def test_the_live_lane_runs_beside_history_from_t0(stage: Stage) -> None:
    initial(stage)
    live = stage.started()
    assert stage.run(live).lane is Lane.LIVE
    stage.complete(live, Window(T0, T1))
    assert stage.standing().watermark == T1
    assert states(stage) == ["extracting", "waiting", "waiting"]


def test_newest_first_settles_history_with_the_last_part(stage: Stage) -> None:
    runs = initial(stage, PARTS[::-1])
    for run_id in runs:
        assert not stage.standing().is_history_settled
        finish(stage, run_id)
    assert stage.standing().history_settled_to == T0


def test_history_settles_once_however_many_parts_and_no_second_initial_sync_begins(stage: Stage) -> None:
    for run_id in initial(stage):
        assert stage.run(run_id).kind is RunKind.INITIAL
        finish(stage, run_id)
    assert stage.run(stage.started()).lane is Lane.LIVE


def test_a_part_that_failed_is_reopened_by_the_next_trigger_and_by_retry(stage: Stage) -> None:
    first, *_ = initial(stage)
    with stage.database.transaction() as connection:
        moves.fail(connection, first, FeedRefused("no"))
    assert first in stage.trigger().runs
    with stage.database.transaction() as connection:
        moves.fail(connection, first, FeedRefused("no"))
    stage.write("UPDATE runs SET reopenings = :most WHERE id = :run", most=MAX_REOPENINGS, run=first)
    with stage.database.transaction() as connection:
        assert moves.retry(connection, first, window_chunks=WINDOW_CHUNKS).runs == (first,)
    finish(stage, first)
    assert states(stage) == ["settled", "extracting", "waiting"]


def test_what_an_abandoned_part_left_is_read_again_when_history_is_otherwise_done(stage: Stage) -> None:
    first, second, third = initial(stage)
    with stage.database.transaction() as connection:
        moves.cancel(connection, first)
        moves.abandon(connection, first)
    assert states(stage) == ["abandoned", "extracting", "waiting"], "the next part begins"
    finish(stage, second)
    finish(stage, third)
    assert not stage.standing().is_history_settled
    (again, _) = stage.trigger().runs
    run = stage.run(again)
    assert (run.kind, run.part, run.window, run.state) == (RunKind.INITIAL, 0, PARTS[0], RunState.CREATED)
    frozen(stage, again, PARTS[:1])
    finish(stage, again)
    assert stage.standing().is_history_settled


def test_a_paused_backfill_begins_no_part_and_claims_nothing_until_it_is_resumed(stage: Stage) -> None:
    first, second, _ = initial(stage)
    backfill_id = backfill_of(stage, first)
    (slice_id,) = (row.id for row in stage.rows("SELECT id FROM slices"))
    (chunk_id,) = stage.extract(slice_id, [2])
    held = stage.held(chunk_id)
    with stage.database.transaction() as connection:
        history.pause(connection, backfill_id)
    stage.record(held, 2)
    stage.finish(held)
    assert stage.settled(first) == []
    assert stage.run(second).state is RunState.WAITING
    assert stage.run(stage.started()).lane is Lane.LIVE, "the live lane is not paused"
    with stage.database.transaction() as connection:
        asked = history.resume(connection, backfill_id, window_chunks=WINDOW_CHUNKS)
    assert len(sent(asked.messages, TaskName.EXTRACT_SLICE)) == 1
    assert stage.run(second).state is RunState.EXTRACTING


def test_a_cancelled_backfill_goes_on_where_it_stood_when_it_is_resumed(stage: Stage) -> None:
    first, second, third = initial(stage)
    backfill_id = backfill_of(stage, first)
    with stage.database.transaction() as connection:
        history.cancel(connection, backfill_id)
    assert states(stage) == ["cancelled", "cancelled", "cancelled"]
    assert stage.run(stage.started()).lane is Lane.LIVE, "a cancelled history does not hold the live lane"
    with stage.database.transaction() as connection:
        history.resume(connection, backfill_id, window_chunks=WINDOW_CHUNKS)
    assert states(stage) == ["extracting", "waiting", "waiting"]
    for run_id in (first, second, third):
        finish(stage, run_id)
    assert stage.standing().is_history_settled


def test_a_part_that_never_began_is_retried_alone_and_reads_its_window(stage: Stage) -> None:
    first, second, _ = initial(stage)
    with stage.database.transaction() as connection:
        moves.cancel(connection, second)
    finish(stage, first)
    assert states(stage) == ["settled", "cancelled", "waiting"], "a cancelled part holds back those behind it"
    with stage.database.transaction() as connection:
        asked = moves.retry(connection, second, window_chunks=WINDOW_CHUNKS)
    assert len(sent(asked.messages, TaskName.EXTRACT_SLICE)) == 1
    finish(stage, second)
    assert stage.standing().history_settled_to == T0 - DAY


def test_a_backfill_reads_a_window_once_more_on_its_own_lane(stage: Stage) -> None:
    stage.past_history()
    backfill, run_id = begin(stage, low=T0 - 3 * DAY, high=T0 - DAY, parts=2, expected_rows=7)
    run = stage.run(run_id)
    assert (run.kind, run.lane, run.window) == (RunKind.BACKFILL, Lane.BACKFILL, Window(T0 - 3 * DAY, T0 - DAY))
    assert (backfill.kind, backfill.parts, backfill.expected_rows) == (RunKind.BACKFILL, 2, 7)
    frozen(stage, run_id, (Window(T0 - 3 * DAY, T0 - 2 * DAY), Window(T0 - 2 * DAY, T0 - DAY)))
    finish(stage, run_id)
    with stage.database.transaction() as connection:
        parts = backfills.parts_of(connection, backfill.id)
    assert [part.state for part in parts] == [RunState.SETTLED, RunState.EXTRACTING]
    finish(stage, parts[1].id)
    standing = stage.standing()
    assert (standing.watermark, standing.history_settled_to) == (T0, T0), "a backfill moves no mark"


def test_without_bounds_a_backfill_reads_everything_below_the_watermark(stage: Stage) -> None:
    stage.past_history()
    backfill, run_id = begin(stage)
    assert stage.run(run_id).window == Window(None, T0, includes_null=True)
    assert backfill.high == T0


@pytest.mark.parametrize(
    ("asked", "complaint"),
    [
        ({"high": T0 + DAY}, "until .* lies beyond the watermark"),
        ({"low": T0}, "from .* must lie before until"),
        ({"low": T0 - DAY, "high": T0 - 2 * DAY}, "from .* must lie before until"),
    ],
)
def test_a_backfill_of_nothing_or_of_the_future_is_refused(
    stage: Stage, asked: dict[str, object], complaint: str
) -> None:
    stage.past_history()
    with pytest.raises(DeclarationInvalid, match=complaint):
        begin(stage, **asked)


def test_one_backfill_at_a_time(stage: Stage) -> None:
    stage.past_history()
    begin(stage)
    with pytest.raises(AlreadyInProgress, match="history is being loaded"):
        begin(stage)


def test_a_full_pipeline_and_one_that_read_nothing_have_no_backfill(stage: Stage) -> None:
    stage.declare()
    with pytest.raises(MoveNotAllowed, match="reads all rows in every run"):
        begin(stage)
    stage.clear()
    stage.declare(mode=INCREMENTAL)
    with pytest.raises(MoveNotAllowed, match="its initial sync comes first"):
        begin(stage)


def test_what_is_over_is_neither_paused_nor_cancelled(stage: Stage) -> None:
    (first,) = initial(stage, (Window(None, T0, includes_null=True),))
    backfill_id = backfill_of(stage, first)
    finish(stage, first)
    for move in (history.pause, history.cancel):
        with stage.database.transaction() as connection, pytest.raises(MoveNotAllowed, match="is over"):
            move(connection, backfill_id)


def test_a_paused_or_cancelled_backfill_is_not_set_going_by_an_occurrence(stage: Stage) -> None:
    first, *_ = initial(stage)
    backfill_id = backfill_of(stage, first)
    with stage.database.transaction() as connection:
        history.pause(connection, backfill_id)
        moves.fail(connection, first, FeedRefused("no"))
    assert first not in stage.trigger().runs
    with stage.database.transaction() as connection:
        history.cancel(connection, backfill_id)
    assert states(stage) == ["cancelled", "cancelled", "cancelled"]
    with stage.database.transaction() as connection:
        asked = history.resume(connection, backfill_id, window_chunks=WINDOW_CHUNKS)
    assert first in asked.runs


def test_a_part_that_was_cancelled_while_the_one_before_settled_does_not_begin(stage: Stage) -> None:
    first, second, _ = initial(stage)
    waits = stage.run(second)
    with stage.database.transaction() as connection:
        moves.cancel(connection, second)
        assert plans.begin_part(connection, waits) == []
    assert stage.rows("SELECT count(*) AS n FROM slices WHERE run_id = :run", run=second)[0].n == 0
    finish(stage, first)
    with stage.database.transaction() as connection:
        moves.retry(connection, second, window_chunks=WINDOW_CHUNKS)
    finish(stage, second)


def test_a_part_that_was_abandoned_twice_is_read_again_as_it_was_cut(stage: Stage) -> None:
    stage.declare(mode=INCREMENTAL)
    unplanned = stage.started()
    with stage.database.transaction() as connection:
        moves.cancel(connection, unplanned)
        moves.abandon(connection, unplanned)
    frozen(stage, stage.started())
    (cut,) = [row.id for row in stage.rows("SELECT id FROM runs WHERE part = 0 AND state = 'extracting'")]
    with stage.database.transaction() as connection:
        moves.cancel(connection, cut)
        moves.abandon(connection, cut)
    for row in stage.rows("SELECT id FROM runs WHERE part > 0 ORDER BY part"):
        finish(stage, row.id)
    (again, _) = stage.trigger().runs
    assert stage.run(again).window == PARTS[0]


def test_upkeep_begins_a_part_that_nobody_let_go(stage: Stage) -> None:
    first, second, _ = initial(stage)
    stage.write("UPDATE runs SET state = 'abandoned' WHERE id = :run", run=first)
    with stage.database.transaction() as connection:
        assert len(sent(stalled.begin(connection), TaskName.EXTRACT_SLICE)) == 1
    assert stage.run(second).state is RunState.EXTRACTING
