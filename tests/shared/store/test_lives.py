"""A pipeline is drafted, activated, paused, resumed and deleted, and beat claims it when it is due."""

from datetime import UTC, datetime, timedelta

import pytest

from shared.catalog import Full, Incremental
from shared.errors import AlreadyInProgress, DeclarationInvalid, FeedRefused, MoveNotAllowed, NotFound
from shared.messages import TaskName
from shared.run import Lane, PipelineState, RunId, RunKind, RunState, Window
from shared.schedule import Cron, Frequency, Interval, Once, OnDemand, Schedule
from shared.store import chunks, declared, edits, lives, lost, moves, stalled, waiting
from shared.store.asked import Asked
from shared.store.declared import PipelineRow
from tests.shared.store.stage import (
    FULL,
    INCREMENTAL,
    LEASE_S,
    MAX_REOPENINGS,
    T0,
    T1,
    WINDOW_CHUNKS,
    Stage,
    sent,
)

SEVEN = datetime(2023, 11, 15, 19, tzinfo=UTC)
HOUR = timedelta(hours=1)
HOURLY = Interval(frequency=Frequency.HOURLY, start=SEVEN)


def activate(stage: Stage, now: datetime = SEVEN - HOUR) -> PipelineRow:
    with stage.database.transaction() as connection:
        return lives.activate(connection, "people", now=now)


def look(stage: Stage, now: datetime, *, at_most: int = 100) -> lives.Due:
    with stage.database.transaction() as connection:
        return lives.claim_due(
            connection, at_most=at_most, window_chunks=WINDOW_CHUNKS, max_reopenings=MAX_REOPENINGS, now=now
        )


def due_at(stage: Stage, now: datetime) -> RunId:
    (run_id,) = look(stage, now).asked.runs
    return run_id


def pause(stage: Stage) -> PipelineRow:
    with stage.database.transaction() as connection:
        return lives.pause(connection, "people")


def resume(stage: Stage, now: datetime) -> Asked:
    with stage.database.transaction() as connection:
        return lives.resume(connection, "people", window_chunks=WINDOW_CHUNKS, now=now)


def row_of(stage: Stage) -> PipelineRow:
    with stage.database.transaction() as connection:
        return declared.get_pipeline(connection, "people")


def waiting_run(stage: Stage) -> RunId | None:
    with stage.database.transaction() as connection:
        found = waiting.find(connection, "people")
        return None if found is None else found.id


def test_a_pipeline_is_declared_as_a_draft_that_nothing_starts(stage: Stage) -> None:
    stage.declare(schedule=HOURLY, is_active=False)
    row = row_of(stage)
    assert (row.state, row.next_due_at) == (PipelineState.DRAFT, None)
    assert look(stage, SEVEN + 100 * HOUR).pipelines == 0
    with pytest.raises(MoveNotAllowed, match="is a draft; `warehouse-sync activate people` comes first"):
        stage.trigger()


def test_hourly_from_seven_is_next_due_at_eight_as_the_guide_says(stage: Stage) -> None:
    stage.declare(schedule=HOURLY, is_active=False)
    assert activate(stage).next_due_at == SEVEN
    assert look(stage, SEVEN - timedelta(seconds=1)).pipelines == 0
    run = stage.run(due_at(stage, SEVEN))
    assert (run.kind, run.scheduled_for, run.logical_at, run.missed) == (RunKind.SCHEDULED, SEVEN, SEVEN, 0)
    assert row_of(stage).next_due_at == SEVEN + HOUR
    assert look(stage, SEVEN + timedelta(minutes=59)).pipelines == 0


@pytest.mark.parametrize("mode", [FULL, INCREMENTAL], ids=["full", "incremental"])
@pytest.mark.parametrize(
    "schedule",
    [HOURLY, Cron(expression="0 * * * *"), Once(start=SEVEN), OnDemand()],
    ids=["interval", "cron", "once", "on_demand"],
)
def test_both_modes_run_by_every_type_of_schedule(stage: Stage, mode: Incremental | Full, schedule: Schedule) -> None:
    stage.declare(mode=mode, schedule=schedule, is_active=False)
    row = activate(stage, SEVEN - timedelta(minutes=1))
    if isinstance(schedule, OnDemand):
        assert row.next_due_at is None
        assert look(stage, SEVEN + 1000 * HOUR).pipelines == 0
        first = stage.started()
    else:
        assert row.next_due_at == SEVEN
        first = due_at(stage, SEVEN)
    assert stage.run(first).kind is (
        RunKind.INITIAL
        if mode is INCREMENTAL
        else RunKind.MANUAL
        if isinstance(schedule, OnDemand)
        else RunKind.SCHEDULED
    )
    stage.complete(first, Window(None, T0, includes_null=True) if mode is INCREMENTAL else Window())
    if isinstance(schedule, Once | OnDemand):
        assert look(stage, SEVEN + 1000 * HOUR).pipelines == 0
        second = stage.started()
    else:
        second = due_at(stage, SEVEN + HOUR)
    assert stage.run(second).lane is Lane.LIVE
    stage.complete(second, Window(T0, T1) if mode is INCREMENTAL else Window())


def test_only_a_draft_is_activated(stage: Stage) -> None:
    stage.declare()
    with pytest.raises(MoveNotAllowed, match="is active; only a draft can be activated"):
        activate(stage)


def test_a_pipeline_without_an_environment_is_not_activated(stage: Stage) -> None:
    stage.declare(environment=None, is_active=False)
    with pytest.raises(DeclarationInvalid, match="declares no environment"):
        activate(stage)


def test_the_first_occurrence_of_an_incremental_pipeline_is_its_initial_sync(stage: Stage) -> None:
    stage.declare(mode=INCREMENTAL, schedule=HOURLY, is_active=False)
    activate(stage)
    run = stage.run(due_at(stage, SEVEN))
    assert (run.kind, run.lane, run.scheduled_for, run.logical_at) == (RunKind.INITIAL, Lane.BACKFILL, SEVEN, SEVEN)
    assert stage.rows("SELECT count(*) AS n FROM runs")[0].n == 1


def test_what_is_due_before_t0_is_fixed_waits_and_starts_when_it_is(stage: Stage) -> None:
    stage.declare(mode=INCREMENTAL, schedule=HOURLY, is_active=False)
    activate(stage)
    initial = due_at(stage, SEVEN)
    assert look(stage, SEVEN + HOUR).asked == Asked((), ())
    live = waiting_run(stage)
    assert live is not None
    run, token = stage.claim_plan(initial)
    messages = stage.freeze(run, token, Window(None, SEVEN, includes_null=True))
    assert sent(messages, TaskName.PLAN_RUN) == [live]
    assert stage.run(live).state is RunState.CREATED
    assert stage.standing().watermark == SEVEN


def test_missed_occurrences_become_one_run_that_says_how_many(stage: Stage) -> None:
    stage.declare(schedule=HOURLY, is_active=False)
    activate(stage)
    run = stage.run(due_at(stage, SEVEN + 5 * HOUR + timedelta(minutes=20)))
    assert (run.scheduled_for, run.missed) == (SEVEN + 5 * HOUR, 5)
    assert row_of(stage).next_due_at == SEVEN + 6 * HOUR


def test_a_clock_that_jumps_back_starts_nothing_twice(stage: Stage) -> None:
    stage.declare(schedule=HOURLY, is_active=False)
    activate(stage)
    stage.complete(due_at(stage, SEVEN + 3 * HOUR))
    for back in (SEVEN, SEVEN + HOUR, SEVEN + 3 * HOUR):
        assert look(stage, back).pipelines == 0
    assert stage.run(due_at(stage, SEVEN + 4 * HOUR)).missed == 0


def test_a_run_due_while_another_is_open_waits_and_is_promoted_by_what_settles_that(stage: Stage) -> None:
    stage.declare(schedule=HOURLY, is_active=False)
    activate(stage)
    first = due_at(stage, SEVEN)
    (slice_id,) = stage.plan(first)
    assert look(stage, SEVEN + HOUR).asked == Asked((), ())
    second = waiting_run(stage)
    assert second is not None
    for chunk_id in stage.extract(slice_id, [2]):
        stage.upload(chunk_id)
    assert sent(stage.settled(first), TaskName.PLAN_RUN) == [second]
    promoted = stage.run(second)
    assert (promoted.state, promoted.scheduled_for) == (RunState.CREATED, SEVEN + HOUR)


def test_what_waits_stands_for_every_occurrence_since(stage: Stage) -> None:
    stage.declare(schedule=HOURLY, is_active=False)
    activate(stage)
    due_at(stage, SEVEN)
    for hours in (1, 2, 5):
        look(stage, SEVEN + hours * HOUR)
    found = waiting_run(stage)
    assert found is not None
    waits = stage.run(found)
    assert (waits.scheduled_for, waits.missed) == (SEVEN + 5 * HOUR, 4)


def test_the_next_occurrence_reopens_a_failed_run_and_waits_behind_it(stage: Stage) -> None:
    stage.declare(schedule=HOURLY, is_active=False)
    activate(stage)
    first = due_at(stage, SEVEN)
    with stage.database.transaction() as connection:
        moves.fail(connection, first, FeedRefused("mParticle refuses every batch"))
    assert look(stage, SEVEN + HOUR).asked.runs == (first,)
    assert stage.run(first).state is RunState.CREATED
    second = waiting_run(stage)
    assert second is not None
    stage.complete(first)
    assert stage.run(second).state is RunState.CREATED


def test_a_cancelled_run_holds_its_pipeline_and_what_is_due_waits_until_it_is_abandoned(stage: Stage) -> None:
    stage.declare(schedule=HOURLY, is_active=False)
    activate(stage)
    first = due_at(stage, SEVEN)
    with stage.database.transaction() as connection:
        moves.cancel(connection, first)
    assert look(stage, SEVEN + HOUR).asked == Asked((), ())
    second = waiting_run(stage)
    with stage.database.transaction() as connection:
        asked = moves.abandon(connection, first)
    assert sent(asked.messages, TaskName.PLAN_RUN) == [second]


def test_a_run_that_waits_is_dropped_by_cancel_and_the_next_occurrence_covers_it(stage: Stage) -> None:
    stage.declare(schedule=HOURLY, is_active=False)
    activate(stage)
    due_at(stage, SEVEN)
    look(stage, SEVEN + HOUR)
    waits = waiting_run(stage)
    assert waits is not None
    with stage.database.transaction() as connection:
        moves.cancel(connection, waits)
    assert stage.run(waits).state is RunState.ABANDONED
    look(stage, SEVEN + 2 * HOUR)
    assert waiting_run(stage) not in {waits, None}


def test_what_is_due_on_a_faulted_pipeline_waits_and_starts_after_the_retry(stage: Stage) -> None:
    stage.declare(schedule=HOURLY, is_active=False)
    activate(stage)
    first = due_at(stage, SEVEN)
    with stage.database.transaction() as connection:
        moves.fault(connection, first, FeedRefused("mParticle refuses every batch"))
    assert look(stage, SEVEN + HOUR).asked == Asked((), ())
    with stage.database.transaction() as connection:
        moves.retry(connection, first, window_chunks=WINDOW_CHUNKS)
    second = waiting_run(stage)
    assert second is not None
    stage.complete(first)
    assert stage.run(second).state is RunState.CREATED


def test_a_trigger_is_refused_while_busy_and_makes_nothing_wait(stage: Stage) -> None:
    stage.declare(schedule=HOURLY, is_active=False)
    activate(stage)
    due_at(stage, SEVEN)
    with pytest.raises(AlreadyInProgress, match=r"Pipeline people is already in progress\."):
        stage.trigger()
    assert waiting_run(stage) is None


def test_a_paused_pipeline_is_not_due_and_its_open_run_claims_nothing(stage: Stage) -> None:
    stage.declare(schedule=HOURLY, is_active=False)
    activate(stage)
    run_id = due_at(stage, SEVEN)
    (slice_id,) = stage.plan(run_id)
    (claimed, other) = stage.extract(slice_id, [3, 3])
    held = stage.held(claimed)
    assert pause(stage).next_due_at is None
    assert look(stage, SEVEN + 50 * HOUR).pipelines == 0
    with stage.database.transaction() as connection:
        assert chunks.claim(connection, other, held.token, LEASE_S, doubt_max_s=1e6) is None, (
            "a paused run's chunk was claimed"
        )
        assert lost.never_sent(connection, window_chunks=WINDOW_CHUNKS) == []
    stage.record(held, 3)
    assert stage.finish(held) == [], "what is claimed finishes, and sends nothing more"
    again = resume(stage, SEVEN + 50 * HOUR)
    assert sent(again.messages, TaskName.UPLOAD_CHUNK) == [other]
    stage.upload(other)
    assert stage.settle(run_id)


def test_resuming_waits_for_the_next_configured_occurrence(stage: Stage) -> None:
    stage.declare(schedule=HOURLY, is_active=False)
    activate(stage)
    stage.complete(due_at(stage, SEVEN))
    pause(stage)
    resume(stage, SEVEN + 9 * HOUR + timedelta(minutes=10))
    assert row_of(stage).next_due_at == SEVEN + 10 * HOUR
    assert look(stage, SEVEN + 9 * HOUR + timedelta(minutes=59)).pipelines == 0
    assert stage.run(due_at(stage, SEVEN + 10 * HOUR)).missed == 0


def test_a_single_occurrence_that_passed_during_a_pause_is_due_when_the_pipeline_is_resumed(stage: Stage) -> None:
    stage.declare(schedule=Once(start=SEVEN), is_active=False)
    activate(stage)
    pause(stage)
    resume(stage, SEVEN + 9 * HOUR)
    assert row_of(stage).next_due_at == SEVEN + 9 * HOUR
    stage.complete(due_at(stage, SEVEN + 9 * HOUR))
    assert row_of(stage).next_due_at is None
    pause(stage)
    resume(stage, SEVEN + 10 * HOUR)
    assert row_of(stage).next_due_at is None, "it had its run"


def waits_through_a_pause(stage: Stage) -> RunId | None:
    """Have a run settle, and another wait for it, on a pipeline that was paused in between; give the one that waits."""
    first = due_at(stage, SEVEN)
    (slice_id,) = stage.plan(first)
    (chunk_id,) = stage.extract(slice_id, [1])
    held = stage.held(chunk_id)
    look(stage, SEVEN + HOUR)
    waits = waiting_run(stage)
    pause(stage)
    stage.record(held, 1)
    stage.finish(held)
    assert stage.settled(first) == [], "nothing starts while it is paused"
    return waits


def test_a_run_that_waits_while_its_pipeline_is_paused_starts_with_the_next_occurrence(stage: Stage) -> None:
    stage.declare(schedule=HOURLY, is_active=False)
    activate(stage)
    waits = waits_through_a_pause(stage)
    resume(stage, SEVEN + 2 * HOUR)
    assert waiting_run(stage) == waits
    assert look(stage, SEVEN + 3 * HOUR).asked.runs == (waits,)


def test_a_trigger_works_on_a_paused_pipeline(stage: Stage) -> None:
    stage.declare(schedule=HOURLY, is_active=False)
    activate(stage)
    pause(stage)
    stage.complete(stage.started())


def test_a_trigger_says_that_a_paused_run_is_in_its_way(stage: Stage) -> None:
    stage.declare(schedule=HOURLY, is_active=False)
    activate(stage)
    due_at(stage, SEVEN)
    pause(stage)
    with pytest.raises(AlreadyInProgress, match="`warehouse-sync resume people` lets it go on"):
        stage.trigger()


def test_only_what_is_active_is_paused_and_only_what_is_paused_resumed(stage: Stage) -> None:
    stage.declare()
    with pytest.raises(MoveNotAllowed, match="only a paused one can be resumed"):
        resume(stage, SEVEN)
    pause(stage)
    with pytest.raises(MoveNotAllowed, match="only an active one can be paused"):
        pause(stage)


def test_deleting_cancels_first_and_keeps_runs(stage: Stage) -> None:
    stage.declare(schedule=HOURLY, is_active=False)
    activate(stage)
    run_id = due_at(stage, SEVEN)
    look(stage, SEVEN + HOUR)
    with stage.database.transaction() as connection:
        lives.delete(connection, "people")
        assert declared.list_pipelines(connection) == []
    assert stage.run(run_id).state is RunState.CANCELLED
    assert {row.state for row in stage.rows("SELECT state FROM runs")} == {"cancelled", "abandoned"}
    assert look(stage, SEVEN + 50 * HOUR).pipelines == 0
    with pytest.raises(NotFound, match="'people' was deleted"):
        stage.trigger()
    with pytest.raises(DeclarationInvalid, match="ids are not used again"):
        stage.declare()


def test_a_deleted_pipelines_uploads_end_and_upkeep_closes_its_runs(stage: Stage) -> None:
    stage.declare()
    run_id, (chunk_id,) = stage.uploading([4])
    held = stage.held(chunk_id)
    with stage.database.transaction() as connection:
        lives.delete(connection, "people")
        assert lost.close_deleted(connection) == []
    stage.record(held, 4)
    stage.finish(held)
    with stage.database.transaction() as connection:
        assert lost.close_deleted(connection) == [run_id]
    run = stage.run(run_id)
    assert (run.state, run.ledger.accepted, run.ledger.balances) == (RunState.ABANDONED, 4, True)


def test_a_thousand_due_pipelines_are_claimed_in_batches_and_once(stage: Stage) -> None:
    for number in range(25):
        stage.declare(f"p{number:02}", schedule=HOURLY, is_active=False)
        with stage.database.transaction() as connection:
            lives.activate(connection, f"p{number:02}", now=SEVEN - HOUR)
    found = [look(stage, SEVEN, at_most=10).pipelines for _ in range(4)]
    assert found == [10, 10, 5, 0]
    assert stage.rows("SELECT count(DISTINCT pipeline_id) AS pipelines, count(*) AS runs FROM runs")[0] == (25, 25)


def test_the_watermark_is_where_the_window_of_a_promoted_run_begins(stage: Stage) -> None:
    stage.past_history()
    with stage.database.transaction() as connection:
        pipeline = declared.get_pipeline(connection, "people").pipeline
        declared.put_pipeline(connection, pipeline.model_copy(update={"schedule": HOURLY}))
        lives.reschedule(connection, declared.get_pipeline(connection, "people"))
    stage.write("UPDATE pipelines SET next_due_at = :due", due=SEVEN)
    first = due_at(stage, SEVEN)
    look(stage, SEVEN + HOUR)
    second = waiting_run(stage)
    assert second is not None
    stage.complete(first, Window(T0, T1))
    stage.complete(second, Window(T1, T1 + HOUR))
    assert stage.standing().watermark == T1 + HOUR


def test_a_pipeline_that_cannot_be_read_keeps_no_other_from_its_run(stage: Stage) -> None:
    for name in ("a", "b"):
        stage.declare(name, schedule=HOURLY, is_active=False)
        with stage.database.transaction() as connection:
            lives.activate(connection, name, now=SEVEN - HOUR)
    stage.write("UPDATE pipelines SET document = document || '{\"of_a_later_version\": 1}' WHERE id = 'a'")
    due = look(stage, SEVEN)
    assert (due.pipelines, due.put_off, len(due.asked.runs)) == (2, ("a",), 1)
    assert look(stage, SEVEN + timedelta(minutes=1)).pipelines == 0, "it is looked at again after a while"
    stage.write("UPDATE pipelines SET document = document - 'of_a_later_version' WHERE id = 'a'")
    assert len(look(stage, SEVEN + timedelta(minutes=6)).asked.runs) == 1


def test_an_occurrence_that_had_its_run_is_not_run_again_though_the_clock_was_set_back(stage: Stage) -> None:
    stage.declare(schedule=HOURLY, is_active=False)
    activate(stage)
    stage.complete(due_at(stage, SEVEN))
    stage.write("UPDATE pipelines SET next_due_at = :again", again=SEVEN)
    assert look(stage, SEVEN).asked.runs == ()
    assert stage.rows("SELECT count(*) AS n FROM runs")[0].n == 1
    pause(stage)
    resume(stage, SEVEN - timedelta(minutes=30))
    assert row_of(stage).next_due_at == SEVEN + HOUR


def test_an_edit_leaves_an_occurrence_due_that_nobody_has_claimed(stage: Stage) -> None:
    stage.declare(schedule=HOURLY, is_active=False)
    activate(stage)
    with stage.database.transaction() as connection:
        pipeline = declared.get_pipeline(connection, "people").pipeline
        slower = HOURLY.model_copy(update={"frequency": Frequency.MONTHLY})
        edits.put_pipeline(connection, pipeline.model_copy(update={"schedule": slower}), None)
    assert row_of(stage).next_due_at == SEVEN
    assert len(look(stage, SEVEN + HOUR).asked.runs) == 1


def test_what_waits_starts_on_resume_where_no_occurrence_will_come(stage: Stage) -> None:
    stage.declare(schedule=HOURLY.model_copy(update={"end": SEVEN + HOUR}), is_active=False)
    activate(stage)
    waits = waits_through_a_pause(stage)
    assert sent(resume(stage, SEVEN + 9 * HOUR).messages, TaskName.PLAN_RUN) == [waits]


def test_what_waited_behind_a_fault_of_history_starts_when_that_is_retried(stage: Stage) -> None:
    stage.declare(mode=INCREMENTAL, schedule=HOURLY, is_active=False)
    activate(stage)
    initial = due_at(stage, SEVEN)
    stage.plan(initial, Window(None, T0, includes_null=True))
    with stage.database.transaction() as connection:
        moves.fault(connection, initial, FeedRefused("no"))
    assert look(stage, SEVEN + HOUR).asked == Asked((), ())
    waits = waiting_run(stage)
    with stage.database.transaction() as connection:
        asked = moves.retry(connection, initial, window_chunks=WINDOW_CHUNKS)
    assert sent(asked.messages, TaskName.PLAN_RUN) == [waits]


def test_upkeep_starts_what_an_earlier_release_left_waiting(stage: Stage) -> None:
    stage.declare(schedule=HOURLY.model_copy(update={"end": SEVEN + HOUR}), is_active=False)
    activate(stage)
    first = due_at(stage, SEVEN)
    look(stage, SEVEN + HOUR)
    waits = waiting_run(stage)
    with stage.database.transaction() as connection:
        assert stalled.begin(connection) == []
    stage.write("UPDATE runs SET state = 'abandoned' WHERE id = :run", run=first)
    with stage.database.transaction() as connection:
        assert sent(stalled.begin(connection), TaskName.PLAN_RUN) == [waits]
