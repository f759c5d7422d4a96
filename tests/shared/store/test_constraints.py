"""What the database refuses by itself, whatever a process does."""

from collections.abc import Sequence
from uuid import UUID

import pytest
from sqlalchemy.exc import IntegrityError

from shared.errors import FeedRefused
from shared.run import OPEN, RunId, RunState
from shared.store import runs
from tests.shared.store.stage import INCREMENTAL, T0, Stage

UPLOADED = "state = 'uploading', snapshot = '{}', slices_total = 1, slices_published = 1"


@pytest.fixture
def run(stage: Stage) -> str:
    """A new run of a full pipeline."""
    stage.declare()
    return str(stage.started())


def refused(stage: Stage, constraint: str, statement: str, **parameters: object) -> None:
    with pytest.raises(IntegrityError, match=constraint):
        stage.write(statement, **parameters)


@pytest.mark.parametrize("state", ["settled", "abandoned", "failed", "cancelled"])
def test_a_run_that_does_not_balance_cannot_end(stage: Stage, run: str, state: str) -> None:
    statement = f"UPDATE runs SET {UPLOADED}, extracted = 2, accepted = 1 WHERE id = :id"
    stage.write(statement, id=run)
    refused(stage, "runs_ledger_balances", "UPDATE runs SET state = :state WHERE id = :id", state=state, id=run)


def test_a_run_may_fail_for_not_balancing(stage: Stage, run: str) -> None:
    stage.write(
        "UPDATE runs SET extracted = 2, accepted = 1, state = 'failed', error_kind = 'LedgerUnbalanced' WHERE id = :id",
        id=run,
    )
    refused(stage, "runs_settled_is_complete", "UPDATE runs SET state = 'settled' WHERE id = :id", id=run)


@pytest.mark.parametrize("error", [None, FeedRefused("no")])
def test_a_run_in_which_more_rows_ended_than_were_read_can_still_be_stopped_and_says_so(
    stage: Stage, run: str, error: FeedRefused | None
) -> None:
    stage.write("UPDATE runs SET extracted = 1, accepted = 2 WHERE id = :id", id=run)
    with stage.database.transaction() as connection:
        assert runs.stop(connection, RunId(UUID(run)), RunState.FAILED, error)
    stopped = stage.run(RunId(UUID(run)))
    assert (stopped.state, stopped.error_kind, stopped.ledger.unsent) == (RunState.FAILED, "LedgerUnbalanced", 0)


@pytest.mark.parametrize(
    "what_is_missing",
    [
        "chunks_total = 1",
        "slices_total = 2",
        "snapshot = NULL",
        "extracted = 1, unsent = 1",
        "error_kind = 'Unexpected'",
    ],
)
def test_a_run_that_is_not_complete_cannot_settle(stage: Stage, run: str, what_is_missing: str) -> None:
    stage.write(f"UPDATE runs SET {UPLOADED} WHERE id = :id", id=run)
    stage.write(f"UPDATE runs SET {what_is_missing} WHERE id = :id", id=run)
    refused(stage, "runs_settled_is_complete", "UPDATE runs SET state = 'settled' WHERE id = :id", id=run)


@pytest.mark.parametrize("state", sorted(OPEN))
def test_a_second_open_live_run_of_a_pipeline_is_refused(stage: Stage, run: str, state: str) -> None:
    stage.write("UPDATE runs SET state = :state WHERE id = :id", id=run, state=state)
    another = (
        "INSERT INTO runs (id, pipeline_id, generation, kind, lane, mode, logical_at)"
        " VALUES (gen_random_uuid(), 'people', 1, 'manual', 'live', 'full', now())"
    )
    refused(stage, "runs_one_open_live_run", another)
    stage.write("UPDATE runs SET state = 'abandoned' WHERE id = :id", id=run)
    stage.write(another)


def test_a_second_initial_sync_of_a_generation_is_refused_even_after_the_first_settled(stage: Stage) -> None:
    stage.past_history()
    another = (
        "INSERT INTO runs (id, pipeline_id, generation, kind, lane, mode, logical_at)"
        " VALUES (gen_random_uuid(), 'people', :generation, 'initial', 'backfill', 'incremental', now())"
    )
    refused(stage, "runs_one_initial_sync", another, generation=1)
    stage.write(another, generation=2)
    refused(stage, "runs_one_initial_sync", another, generation=2)


def test_two_runs_of_one_occurrence_are_refused(stage: Stage, run: str) -> None:
    stage.write("UPDATE runs SET scheduled_for = :at, state = 'abandoned' WHERE id = :id", id=run, at=T0)
    refused(
        stage,
        "runs_pipeline_id_scheduled_for_key",
        "UPDATE runs SET scheduled_for = :at WHERE id = :id",
        id=stage.started(),
        at=T0,
    )


@pytest.mark.parametrize("column", ["extracted", "accepted", "rejected", "unchanged", "superseded", "unsent"])
def test_a_run_has_no_negative_count(stage: Stage, run: str, column: str) -> None:
    refused(stage, "runs_counts_not_negative", f"UPDATE runs SET {column} = -1 WHERE id = :id", id=run)


@pytest.mark.parametrize(
    ("constraint", "values"),
    [
        ("runs_chunks_within_total", "chunks_total = 1, chunks_done = 2"),
        ("runs_chunks_within_total", "chunks_done = -1"),
        ("runs_slices_within_total", "slices_published = 1"),
        ("runs_slices_within_total", "slices_published = -1"),
        ("runs_state_known", "state = 'paused'"),
        ("runs_lane_known", "lane = 'fast'"),
        ("runs_kind_known", "kind = 'odd'"),
        ("runs_window_ends_after_it_begins", "low = now(), high = now() - interval '1 s'"),
    ],
)
def test_a_run_makes_sense(stage: Stage, run: str, constraint: str, values: str) -> None:
    refused(stage, constraint, f"UPDATE runs SET {values} WHERE id = :id", id=run)


@pytest.mark.parametrize(
    ("constraint", "values"),
    [
        ("chunks_done_is_complete", "state = 'done'"),
        ("chunks_done_is_complete", "position = 9, accepted = 9, state = 'done'"),
        ("chunks_position_inside", "position = 11, accepted = 11"),
        ("chunks_rows_accounted_for", "position = 5, accepted = 4"),
        ("chunks_rows_accounted_for", "accepted = 1"),
        ("chunks_counts_not_negative", "accepted = 1, rejected = -1"),
        ("chunks_counts_not_negative", "unchanged = 1, superseded = -1"),
        ("chunks_counts_not_negative", "bytes = -1"),
        ("chunks_state_known", "state = 'lost'"),
    ],
)
def test_a_chunk_is_not_done_before_its_position_is_at_its_end(stage: Stage, constraint: str, values: str) -> None:
    stage.declare()
    _, (chunk_id,) = stage.uploading([10])
    refused(stage, constraint, f"UPDATE chunks SET {values} WHERE id = :id", id=chunk_id)


@pytest.mark.parametrize(
    ("constraint", "values"),
    [
        ("slices_state_known", "state = 'lost'"),
        ("slices_counts_not_negative", "rows_read = -1"),
        ("slices_counts_not_negative", "bytes_spooled = -1"),
    ],
)
def test_a_slice_makes_sense(stage: Stage, run: str, constraint: str, values: str) -> None:
    stage.write(
        "INSERT INTO slices (id, run_id, no) VALUES (gen_random_uuid(), :run, 0)",
        run=run,
    )
    refused(stage, constraint, f"UPDATE slices SET {values}")


def test_finishing_a_chunk_too_early_is_refused_whole(stage: Stage) -> None:
    stage.declare()
    run_id, (chunk_id,) = stage.uploading([10])
    held = stage.held(chunk_id)
    stage.record(held, 9)
    with pytest.raises(IntegrityError, match="chunks_done_is_complete"):
        stage.finish(held)
    assert stage.run(run_id).chunks_done == 0


def test_progress_that_does_not_account_for_every_row_is_refused_whole(stage: Stage) -> None:
    stage.declare()
    run_id, (chunk_id,) = stage.uploading([10])
    held = stage.held(chunk_id)
    stage.record(held, 4)
    with pytest.raises(IntegrityError, match="chunks_rows_accounted_for"):
        stage.record(held, 8, start=5)
    with pytest.raises(ValueError, match="progress never goes back"):
        stage.record(held, 3, start=4, rejected=1)
    assert stage.run(run_id).ledger.accepted == 4
    assert not stage.rows("SELECT * FROM reject_files")


def test_a_pipeline_names_what_was_declared(stage: Stage) -> None:
    stage.declare(mode=INCREMENTAL)
    for column in ("feed_id", "connection_id", "data_model_id"):
        refused(stage, f"pipelines_{column}_fkey", f"UPDATE pipelines SET {column} = 'nothing'")


def test_every_promise_has_a_name(stage: Stage) -> None:
    named: Sequence[str] = [
        row.conname
        for row in stage.rows("SELECT conname FROM pg_constraint WHERE contype = 'c' AND conrelid = 'runs'::regclass")
    ]
    assert {"runs_ledger_balances", "runs_settled_is_complete", "runs_counts_not_negative"} <= set(named)
