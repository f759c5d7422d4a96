"""Only the time in which a run was at work counts as its own; the database notes when that was."""

from datetime import UTC, datetime, timedelta

import pytest

from shared.errors import CredentialsRefused
from shared.run import Run, RunId
from shared.store import lives, moves, work_times
from shared.store.work_times import WorkTime, work_time
from tests.shared.store.stage import WINDOW_CHUNKS, Stage

NOON = datetime(2026, 1, 31, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)

LIVES = {
    "planned at once": ([("created", 0), ("extracting", 1), ("uploading", 2), ("settled", 3)], 0, 3, 1),
    "waited its turn": ([("waiting", 0), ("created", 10), ("extracting", 11), ("settled", 12)], 10, 2, 1),
    "waited for a planner": ([("created", 0), ("extracting", 11), ("settled", 12)], 10, 2, 1),
    "paused before it was planned": ([("created", 0), ("paused", 1), ("resumed", 9), ("settled", 12)], 10, 2, 1),
    "at work": ([("created", 0), ("extracting", 1)], 0, 20, 1),
    "failed": ([("created", 0), ("failed", 1)], 0, 1, 1),
    "failed and reopened": ([("created", 0), ("failed", 1), ("uploading", 11), ("settled", 12)], 0, 2, 2),
    "cancelled and abandoned": ([("created", 0), ("cancelled", 1), ("abandoned", 15)], 0, 1, 1),
    "held and approved": ([("created", 0), ("uploading", 1), ("held", 2), ("uploading", 12), ("settled", 13)], 0, 3, 2),
    "paused": ([("created", 0), ("uploading", 1), ("paused", 2), ("resumed", 12), ("settled", 13)], 0, 3, 2),
    "paused at work": ([("created", 0), ("extracting", 1), ("paused", 2), ("uploading", 4)], 0, 2, 1),
    "stopped while paused": (
        [("created", 0), ("paused", 2), ("cancelled", 5), ("uploading", 7), ("resumed", 7), ("settled", 8)],
        0,
        3,
        2,
    ),
    "reopened into a pause": (
        [("created", 0), ("failed", 1), ("uploading", 5), ("paused", 5), ("resumed", 9), ("settled", 10)],
        0,
        2,
        2,
    ),
}


@pytest.mark.parametrize(("events", "began", "hours", "stretches"), LIVES.values(), ids=LIVES)
def test_what_a_run_waited_for_is_no_part_of_its_time(
    events: list[tuple[str, int]], began: int, hours: int, stretches: int
) -> None:
    told = [(name, NOON + at * HOUR) for name, at in events]
    assert work_time(told, NOON + began * HOUR, NOON + 20 * HOUR) == WorkTime(hours * HOUR, stretches)


def _aged(stage: Stage, run_id: RunId) -> None:
    """Let an hour pass for a run."""
    stage.write("UPDATE run_events SET happened_at = happened_at - interval '1 hour'")
    stage.write("UPDATE runs SET started_at = started_at - interval '1 hour' WHERE id = :id", id=run_id)


def _worked(stage: Stage, *found: Run) -> dict[RunId, WorkTime]:
    with stage.database.transaction() as connection:
        return dict(work_times.of_runs(connection, found))


def test_a_run_that_failed_and_was_reopened_hours_later_counts_neither_hour(stage: Stage) -> None:
    stage.declare()
    run_id = stage.started()
    assert _worked(stage, stage.run(run_id)) == {}, "its planning has not begun"
    _aged(stage, run_id)
    stage.plan(run_id)
    with stage.database.transaction() as connection:
        moves.fail(connection, run_id, CredentialsRefused("the warehouse refused the password"))
    _aged(stage, run_id)
    failed = _worked(stage, stage.run(run_id))[run_id]
    assert timedelta() < failed.lasted < HOUR / 2
    with stage.database.transaction() as connection:
        moves.retry(connection, run_id, window_chunks=WINDOW_CHUNKS)
    (slice_id,) = stage.rows("SELECT id FROM slices WHERE run_id = :id", id=run_id)
    (chunk_id,) = stage.extract(slice_id.id, [3])
    stage.upload(chunk_id)
    stage.settled(run_id)
    whole = _worked(stage, stage.run(run_id))[run_id]
    assert failed.lasted < whole.lasted < HOUR / 2
    assert whole.stretches == 2


def test_the_hour_of_a_pause_does_not_count(stage: Stage) -> None:
    stage.declare()
    run_id, (chunk_id,) = stage.uploading([3])
    with stage.database.transaction() as connection:
        lives.pause(connection, "people")
    _aged(stage, run_id)
    with stage.database.transaction() as connection:
        lives.resume(connection, "people", window_chunks=WINDOW_CHUNKS)
    stage.upload(chunk_id)
    stage.settled(run_id)
    found = _worked(stage, stage.run(run_id))[run_id]
    assert timedelta() < found.lasted < HOUR / 2
    assert found.stretches == 2


def test_many_runs_are_asked_about_at_once(stage: Stage) -> None:
    for pipeline_id in ("first", "second"):
        stage.declare(pipeline_id)
    found = [stage.run(stage.started(pipeline_id)) for pipeline_id in ("first", "second")]
    for run in found:
        stage.plan(run.id)
    assert set(_worked(stage, *(stage.run(run.id) for run in found))) == {run.id for run in found}
