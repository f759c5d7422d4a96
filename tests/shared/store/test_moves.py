"""What operators and schedules may ask for, and what becomes of a run that failed."""

from uuid import uuid4

import pytest

from shared.errors import (
    AlreadyInProgress,
    ChunkAbandoned,
    CredentialsRefused,
    DeclarationInvalid,
    FeedRefused,
    MoveNotAllowed,
    NotFound,
    SecretUnavailable,
    WarehouseUnreachable,
)
from shared.messages import TaskName
from shared.run import STOPPED, Lane, RunId, RunKind, RunState, Window
from shared.store import chunks, moves, runs
from shared.store.asked import Asked
from tests.shared.store.stage import INCREMENTAL, MAX_REOPENINGS, T0, T1, T2, WINDOW_CHUNKS, Stage, sent

HISTORY = Window(None, T0, includes_null=True)


def fail(stage: Stage, run_id: RunId, error: FeedRefused | CredentialsRefused | None = None) -> None:
    with stage.database.transaction() as connection:
        assert moves.fail(connection, run_id, error or FeedRefused("mParticle refuses every batch"))


def cancel(stage: Stage, run_id: RunId) -> None:
    with stage.database.transaction() as connection:
        moves.cancel(connection, run_id)


def retry(stage: Stage, run_id: RunId) -> Asked:
    with stage.database.transaction() as connection:
        return moves.retry(connection, run_id, window_chunks=WINDOW_CHUNKS)


def abandon(stage: Stage, run_id: RunId) -> None:
    with stage.database.transaction() as connection:
        moves.abandon(connection, run_id)


def test_an_unknown_pipeline_or_run_is_named(stage: Stage) -> None:
    with pytest.raises(NotFound, match="'nobody'"):
        stage.trigger("nobody")
    unknown = RunId(uuid4())
    for move in (retry, abandon, cancel):
        with pytest.raises(NotFound, match=str(unknown)):
            move(stage, unknown)


def test_a_pipeline_without_an_environment_is_refused(stage: Stage) -> None:
    stage.declare(environment=None)
    stage.write("UPDATE pipelines SET state = 'active'")
    with pytest.raises(DeclarationInvalid, match="'people' declares no environment"):
        stage.trigger()
    assert stage.rows("SELECT * FROM runs") == []


def test_a_full_pipeline_has_no_initial_sync(stage: Stage) -> None:
    stage.declare()
    asked = stage.trigger()
    run = stage.run(asked.runs[0])
    assert (run.kind, run.lane, run.mode) == (RunKind.MANUAL, Lane.LIVE, "full")
    assert [(message.task, message.id, message.lane) for message in asked.messages] == [
        (TaskName.PLAN_RUN, run.id, Lane.LIVE)
    ]


def test_the_first_run_of_an_incremental_pipeline_is_its_initial_sync_on_the_backfill_lane(stage: Stage) -> None:
    stage.declare(mode=INCREMENTAL)
    asked = stage.trigger()
    (run_id,) = asked.runs
    run = stage.run(run_id)
    assert (run.kind, run.lane, run.mode) == (RunKind.INITIAL, Lane.BACKFILL, "incremental")
    assert [message.lane for message in asked.messages] == [Lane.BACKFILL]


def test_before_t0_is_known_nothing_else_may_run(stage: Stage) -> None:
    stage.declare(mode=INCREMENTAL)
    stage.trigger()
    with pytest.raises(AlreadyInProgress, match=r"^Pipeline people is already in progress\.$"):
        stage.trigger()


def test_the_live_lane_starts_at_t0_beside_the_initial_sync(stage: Stage) -> None:
    stage.declare(mode=INCREMENTAL)
    history = stage.started()
    stage.plan(history, HISTORY)
    assert stage.standing().watermark == stage.standing().history_to == T0
    live = stage.started()
    run = stage.run(live)
    assert (run.kind, run.lane) == (RunKind.MANUAL, Lane.LIVE)
    stage.complete(live, Window(T0, T1))
    assert stage.standing().watermark == T1
    assert stage.standing().history_settled_to is None
    assert stage.run(history).state is RunState.EXTRACTING


def test_a_busy_pipeline_says_so_in_mparticles_words(stage: Stage) -> None:
    stage.past_history()
    stage.trigger()
    with pytest.raises(AlreadyInProgress) as caught:
        stage.trigger()
    assert str(caught.value) == "Pipeline people is already in progress."


def test_pipelines_do_not_wait_for_each_other(stage: Stage) -> None:
    stage.declare("one")
    stage.declare("two")
    assert stage.started("one") != stage.started("two")


def test_a_settled_run_makes_way(stage: Stage) -> None:
    stage.declare()
    stage.complete(stage.started())
    assert stage.run(stage.started()).state is RunState.CREATED


def test_a_failed_run_is_reopened_before_anything_newer_is_read(stage: Stage) -> None:
    stage.past_history()
    run_id, _ = stage.uploading([5, 5], Window(T0, T1))
    fail(stage, run_id)
    assert stage.started() == run_id
    run = stage.run(run_id)
    assert (run.state, run.reopenings, run.error, run.error_kind, run.ended_at) == (
        RunState.UPLOADING,
        1,
        None,
        None,
        None,
    )


def test_a_failed_initial_sync_is_reopened_and_the_live_lane_runs_too(stage: Stage) -> None:
    stage.declare(mode=INCREMENTAL)
    history = stage.started()
    stage.plan(history, HISTORY)
    fail(stage, history)
    asked = stage.trigger()
    assert [stage.run(run_id).kind for run_id in asked.runs] == [RunKind.INITIAL, RunKind.MANUAL]
    assert asked.runs[0] == history
    assert sent(asked.messages, TaskName.PLAN_RUN) == [asked.runs[1]]


def test_a_failed_initial_sync_without_t0_is_reopened_alone(stage: Stage) -> None:
    stage.declare(mode=INCREMENTAL)
    history = stage.started()
    fail(stage, history)
    asked = stage.trigger()
    assert asked.runs == (history,)
    assert sent(asked.messages, TaskName.PLAN_RUN) == [history]


def test_a_reopened_run_has_the_same_window_chunks_ids_and_positions(stage: Stage) -> None:
    stage.past_history()
    run_id, chunk_ids = stage.uploading([5, 5, 5], Window(T0, T1))
    stage.upload(chunk_ids[0])
    stage.record(stage.held(chunk_ids[1]), 3, rejected=1)
    columns = "id, no, path, checksum, rows, position, accepted, rejected"
    before = stage.rows(f"SELECT {columns} FROM chunks ORDER BY id")
    fail(stage, run_id)
    assert stage.run(run_id).ledger.unsent == 7
    stage.trigger()
    run = stage.run(run_id)
    assert (run.window, run.snapshot) == (Window(T0, T1), {})
    assert (run.ledger.accepted, run.ledger.rejected, run.ledger.unsent) == (7, 1, 0)
    assert stage.rows(f"SELECT {columns} FROM chunks ORDER BY id") == before


def test_a_run_that_failed_before_it_was_planned_is_planned_again(stage: Stage) -> None:
    stage.declare()
    run_id = stage.started()
    stage.claim_plan(run_id)
    fail(stage, run_id)
    assert sent(stage.trigger().messages, TaskName.PLAN_RUN) == [run_id]
    assert stage.run(run_id).state is RunState.CREATED
    stage.complete(run_id)


def test_a_run_that_failed_while_extracting_extracts_what_is_missing(stage: Stage) -> None:
    stage.declare()
    run_id = stage.started()
    done, waiting = stage.plan(run_id, slice_count=2)
    stage.extract(done, [5])
    fail(stage, run_id)
    asked = stage.trigger()
    assert sent(asked.messages, TaskName.EXTRACT_SLICE) == [waiting]
    assert sent(asked.messages, TaskName.UPLOAD_CHUNK) == stage.chunk_ids(done)
    assert stage.run(run_id).state is RunState.EXTRACTING


def test_reopening_makes_every_wait_and_every_death_forgotten(stage: Stage) -> None:
    stage.declare()
    run_id, (chunk_id, failed) = stage.uploading([5, 5])
    held = stage.held(failed)
    with stage.database.transaction() as connection:
        chunks.give_up(connection, held.chunk, held.token, "401")
        moves.fail(connection, run_id, CredentialsRefused("401"))
    stage.write(
        "UPDATE chunks SET deaths = 4, resends = 9, not_before = now() + interval '1 h' WHERE id = :id", id=chunk_id
    )
    stage.write("UPDATE runs SET resends = 9, deaths = 4")
    asked = stage.trigger()
    assert set(sent(asked.messages, TaskName.UPLOAD_CHUNK)) == {chunk_id, failed}
    for row in stage.rows("SELECT * FROM chunks"):
        assert (row.state, row.deaths, row.resends, row.not_before) == ("ready", 0, 0, None)
    (row,) = stage.rows("SELECT * FROM runs")
    assert (row.deaths, row.resends, row.not_before) == (0, 0, None)


def test_a_run_that_fails_again_and_again_faults_its_pipeline_and_says_so(stage: Stage) -> None:
    stage.declare()
    run_id, _ = stage.uploading([5])
    for reopenings in range(1, MAX_REOPENINGS + 1):
        fail(stage, run_id)
        assert stage.trigger().runs == (run_id,)
        assert stage.run(run_id).reopenings == reopenings
    fail(stage, run_id)
    assert stage.trigger() == Asked((), ())
    assert stage.run(run_id).state is RunState.FAILED
    reason = stage.fault()
    assert reason is not None
    assert f"run {stage.run(run_id).number} failed again after {MAX_REOPENINGS} reopenings" in reason
    assert "mParticle refuses every batch" in reason
    with pytest.raises(MoveNotAllowed, match=f"'people' is faulted: run {stage.run(run_id).number} failed again"):
        stage.trigger()


def test_a_spent_initial_sync_leaves_the_live_lane_running(stage: Stage) -> None:
    stage.declare(mode=INCREMENTAL)
    history = stage.started()
    stage.plan(history, HISTORY)
    fail(stage, history)
    stage.write("UPDATE runs SET reopenings = :most", most=MAX_REOPENINGS)
    (live,) = stage.trigger().runs
    assert stage.run(live).lane is Lane.LIVE
    assert stage.run(history).state is RunState.FAILED
    assert stage.fault() is None


def test_a_spent_initial_sync_that_never_fixed_t0_faults_the_pipeline(stage: Stage) -> None:
    stage.declare(mode=INCREMENTAL)
    history = stage.started()
    fail(stage, history)
    stage.write("UPDATE runs SET reopenings = :most", most=MAX_REOPENINGS)
    assert stage.trigger() == Asked((), ())
    assert len(stage.rows("SELECT * FROM runs")) == 1
    assert f"run {stage.run(history).number} failed again" in (stage.fault() or "")


def test_retry_clears_the_fault_and_starts_counting_anew(stage: Stage) -> None:
    stage.declare()
    run_id, _ = stage.uploading([5])
    fail(stage, run_id)
    stage.write("UPDATE runs SET reopenings = :most", most=MAX_REOPENINGS)
    stage.trigger()
    assert stage.fault() is not None
    assert retry(stage, run_id).runs == (run_id,)
    assert stage.fault() is None
    assert stage.run(run_id).reopenings == 0
    fail(stage, run_id)
    assert stage.trigger().runs == (run_id,)


def test_a_cancelled_run_is_reopened_by_retry_only(stage: Stage) -> None:
    stage.past_history()
    run_id, (chunk_id,) = stage.uploading([5], Window(T0, T1))
    cancel(stage, run_id)
    with pytest.raises(MoveNotAllowed, match=f"held by cancelled run {stage.run(run_id).number}"):
        stage.trigger()
    with stage.database.transaction() as connection:
        asked = moves.reopen_corrected(connection, ["people"], ["CredentialsRefused"], window_chunks=WINDOW_CHUNKS)
    assert asked == Asked((), ())
    assert sent(retry(stage, run_id).messages, TaskName.UPLOAD_CHUNK) == [chunk_id]
    assert stage.run(run_id).window == Window(T0, T1)


def test_a_cancelled_initial_sync_holds_the_pipeline_until_t0_is_known_and_the_live_lane_never(stage: Stage) -> None:
    stage.declare(mode=INCREMENTAL)
    history = stage.started()
    cancel(stage, history)
    with pytest.raises(MoveNotAllowed, match=f"held by cancelled run {stage.run(history).number}"):
        stage.trigger()
    retry(stage, history)
    stage.plan(history, HISTORY)
    cancel(stage, history)
    (live,) = stage.trigger().runs
    assert stage.run(live).lane is Lane.LIVE


@pytest.mark.parametrize("state", [state for state in RunState if state not in STOPPED])
def test_only_a_stopped_run_is_retried_or_abandoned(stage: Stage, state: RunState) -> None:
    stage.declare()
    run_id = stage.started()
    stage.write("UPDATE runs SET state = :state, snapshot = '{}'", state=state)
    for move in (retry, abandon):
        with pytest.raises(MoveNotAllowed, match=f"run {stage.run(run_id).number} is {state}"):
            move(stage, run_id)


@pytest.mark.parametrize("state", [RunState.FAILED, RunState.CANCELLED, RunState.SETTLED, RunState.ABANDONED])
def test_only_a_run_that_is_worked_on_is_cancelled(stage: Stage, state: RunState) -> None:
    stage.declare()
    run_id = stage.started()
    stage.write("UPDATE runs SET state = :state, snapshot = '{}'", state=state)
    with pytest.raises(MoveNotAllowed, match=f"run {stage.run(run_id).number} is {state}"):
        cancel(stage, run_id)


def test_a_stopped_run_keeps_its_window_and_counts_what_was_not_sent(stage: Stage) -> None:
    stage.past_history()
    run_id, chunk_ids = stage.uploading([5, 5], Window(T0, T1))
    stage.upload(chunk_ids[0], rejected=1)
    fail(stage, run_id, CredentialsRefused("mParticle refused the key"))
    run = stage.run(run_id)
    assert (run.state, run.window, run.error_kind, run.error) == (
        RunState.FAILED,
        Window(T0, T1),
        "CredentialsRefused",
        "mParticle refused the key",
    )
    assert (run.ledger.accepted, run.ledger.rejected, run.ledger.unsent, run.ledger.balances) == (4, 1, 5, True)
    assert stage.standing().watermark == T0
    with stage.database.transaction() as connection:
        assert not moves.fail(connection, run_id, FeedRefused("later"))
    assert stage.run(run_id) == run


def test_abandoning_frees_the_window_so_that_a_new_run_covers_it(stage: Stage) -> None:
    stage.past_history()
    run_id, chunk_ids = stage.uploading([5, 5], Window(T0, T1))
    stage.upload(chunk_ids[0])
    fail(stage, run_id)
    abandon(stage, run_id)
    run = stage.run(run_id)
    assert (run.state, run.ledger.accepted, run.ledger.unsent) == (RunState.ABANDONED, 5, 5)
    assert stage.standing().watermark == T0
    again = stage.started()
    assert again != run_id
    stage.complete(again, Window(T0, T2))
    assert stage.standing().watermark == T2


def test_abandoning_clears_the_fault(stage: Stage) -> None:
    stage.declare()
    run_id = stage.started()
    fail(stage, run_id)
    stage.write("UPDATE pipelines SET faulted_reason = 'spent'")
    abandon(stage, run_id)
    assert stage.fault() is None
    stage.trigger()


def test_an_abandoned_initial_sync_is_followed_by_another_up_to_the_same_t0(stage: Stage) -> None:
    stage.declare(mode=INCREMENTAL)
    history = stage.started()
    stage.plan(history, HISTORY)
    cancel(stage, history)
    abandon(stage, history)
    first, second = stage.trigger().runs
    assert [stage.run(run_id).kind for run_id in (first, second)] == [RunKind.INITIAL, RunKind.MANUAL]
    stage.plan(first, Window(None, T1, includes_null=True))
    assert (stage.standing().history_to, stage.standing().watermark) == (T0, T0)


def test_a_run_with_uploads_under_way_is_not_abandoned(stage: Stage) -> None:
    stage.declare()
    run_id, (chunk_id,) = stage.uploading([5])
    held = stage.held(chunk_id)
    cancel(stage, run_id)
    with pytest.raises(MoveNotAllowed, match="1 chunks under way"):
        abandon(stage, run_id)
    stage.record(held, 5)
    stage.finish(held)
    abandon(stage, run_id)
    assert stage.run(run_id).ledger.accepted == 5


def test_correcting_a_feed_reopens_exactly_the_runs_that_failed_for_it(stage: Stage) -> None:
    kinds = {"a": CredentialsRefused("401"), "b": SecretUnavailable("unset"), "c": FeedRefused("mapping")}
    run_ids = {}
    for pipeline_id, error in (kinds | {"d": None}).items():
        stage.declare(pipeline_id)
        run_ids[pipeline_id] = stage.started(pipeline_id)
        with stage.database.transaction() as connection:
            if error is None:
                moves.cancel(connection, run_ids[pipeline_id])
            else:
                moves.fail(connection, run_ids[pipeline_id], error)
    stage.write("UPDATE pipelines SET faulted_reason = 'spent'")
    with stage.database.transaction() as connection:
        asked = moves.reopen_corrected(
            connection,
            ["d", "c", "b", "a"],
            [CredentialsRefused.__name__, SecretUnavailable.__name__, WarehouseUnreachable.__name__],
            window_chunks=WINDOW_CHUNKS,
        )
    assert asked.runs == (run_ids["a"], run_ids["b"])
    assert sent(asked.messages, TaskName.PLAN_RUN) == [run_ids["a"], run_ids["b"]]
    assert [stage.fault(pipeline_id) for pipeline_id in "abcd"] == [None, None, "spent", "spent"]


def test_what_an_operator_must_decide_faults_the_pipeline_at_once(stage: Stage) -> None:
    stage.declare()
    run_id, _ = stage.uploading([5])
    with stage.database.transaction() as connection:
        assert moves.fault(connection, run_id, ChunkAbandoned("25 days"))
        assert not moves.fault(connection, run_id, ChunkAbandoned("again"))
    assert (stage.run(run_id).state, stage.fault()) == (RunState.FAILED, "25 days")
    with pytest.raises(MoveNotAllowed, match="25 days"):
        stage.trigger()
    retry(stage, run_id)
    assert stage.fault() is None


def test_the_newest_runs_come_first(stage: Stage) -> None:
    for pipeline_id in ("a", "b"):
        stage.declare(pipeline_id)
    run_ids: list[RunId] = []
    for pipeline_id in ("a", "b", "a"):
        run_id = stage.started(pipeline_id)
        run_ids.insert(0, run_id)
        cancel(stage, run_id)
        abandon(stage, run_id)
    with stage.database.transaction() as connection:
        assert [run.id for run in runs.newest(connection)] == run_ids
        assert [run.id for run in runs.newest(connection, "a")] == [run_ids[0], run_ids[2]]
        assert [run.id for run in runs.newest(connection, limit=1)] == run_ids[:1]
        assert runs.open_of(connection, "a") == []
