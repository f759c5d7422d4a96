"""Totals count what the rows show, each exactly as often as it happened, however it happened and whoever did it."""

from collections.abc import Sequence
from typing import Any

import pytest
import sqlalchemy as sa

from shared.errors import FeedRefused, StoreUnavailable
from shared.run import ChunkId, Lane, RunId
from shared.store import chunks, dispatching, lives, lost, moves
from shared.store.totals import BOUNDS_S, add, buckets
from tests.shared.store.stage import LAPSED_S, WINDOW_CHUNKS, Stage, at_once

MINUTE_MS = 60_000


def counted(stage: Stage, pipeline_id: str = "people") -> dict[str, int]:
    rows = stage.rows("SELECT name, value FROM totals WHERE pipeline_id = :id", id=pipeline_id)
    return {row.name: row.value for row in rows}


def uploading(stage: Stage, sizes: Sequence[int] = (2,)) -> tuple[RunId, list[ChunkId]]:
    stage.declare()
    return stage.uploading(sizes)


def earlier(stage: Stage, chunk_id: ChunkId, *columns: str, minutes: int = 1) -> None:
    """Have some instants of a chunk be so much earlier, as if that time had passed."""
    moved = ", ".join(f"{name} = {name} - make_interval(mins => :minutes)" for name in columns)
    stage.write(f"UPDATE chunks SET {moved} WHERE id = :id", id=chunk_id, minutes=minutes)


def times(stage: Stage, chunk_id: ChunkId) -> tuple[int, int]:
    """Give how many whole minutes a chunk waited and was worked on."""
    chunk = stage.chunk(chunk_id)
    return round((chunk.queue_ms or 0) / MINUTE_MS), round((chunk.run_ms or 0) / MINUTE_MS)


def test_what_is_rolled_back_is_not_counted(stage: Stage) -> None:
    run_id, (chunk_id,) = uploading(stage)
    before = counted(stage)

    def break_off() -> None:
        with stage.database.transaction() as connection:
            moves.fail(connection, run_id, FeedRefused("401"))
            add(connection, "people", Lane.LIVE, {"requests_accepted": 5})
            raise StoreUnavailable("it broke off")

    with pytest.raises(StoreUnavailable):
        break_off()
    assert counted(stage) == before
    assert stage.claim(chunk_id) is not None


def test_each_end_of_a_run_is_counted(stage: Stage) -> None:
    run_id, _ = uploading(stage)
    with stage.database.transaction() as connection:
        moves.fail(connection, run_id, FeedRefused("401"))
    with stage.database.transaction() as connection:
        moves.retry(connection, run_id, window_chunks=WINDOW_CHUNKS)
    with stage.database.transaction() as connection:
        moves.cancel(connection, run_id)
    with stage.database.transaction() as connection:
        moves.abandon(connection, run_id)
    ends = {name: value for name, value in counted(stage).items() if name.startswith("ended_")}
    assert ends == {"ended_failed": 1, "ended_cancelled": 1, "ended_abandoned": 1}


def test_waiting_and_working_are_told_apart_over_all_attempts(stage: Stage) -> None:
    _, (chunk_id,) = uploading(stage)
    earlier(stage, chunk_id, "ready_at")
    held = stage.held(chunk_id)
    earlier(stage, chunk_id, "claimed_at", minutes=2)
    with stage.database.transaction() as connection:
        chunks.put_off(connection, held.chunk, held.token, 0, "the attempt took its time")
    assert times(stage, chunk_id) == (1, 2)
    earlier(stage, chunk_id, "ready_at", minutes=3)
    stage.upload(chunk_id)
    assert times(stage, chunk_id) == (4, 2)
    found = counted(stage)
    assert (found["queue_le_300"], found["run_le_300"]) == (1, 1)
    assert round(found["queue_ms"] / MINUTE_MS) == 4


def test_a_wait_that_was_asked_for_is_neither(stage: Stage) -> None:
    run_id, (chunk_id,) = uploading(stage)
    held = stage.held(chunk_id)
    with stage.database.transaction() as connection:
        chunks.put_off(connection, held.chunk, held.token, 600, "429")
        dispatching.hold(connection, run_id, 600)
    # Eleven minutes later: of the ten that were asked for none counts, and of those after them all.
    earlier(stage, chunk_id, "ready_at", "not_before", minutes=11)
    stage.write("UPDATE runs SET not_before = not_before - interval '11 min'")
    with stage.database.transaction() as connection:
        lost.never_sent(connection, window_chunks=WINDOW_CHUNKS)
    stage.held(chunk_id)
    assert times(stage, chunk_id) == (1, 0)


def test_while_its_run_stands_still_a_chunk_does_not_wait_for_a_worker(stage: Stage) -> None:
    run_id, (first, second) = uploading(stage, (2, 2))
    held = stage.held(first)
    with stage.database.transaction() as connection:
        chunks.give_up(connection, held.chunk, held.token, "401")
        moves.fail(connection, run_id, FeedRefused("401"))
    for chunk_id in (first, second):
        earlier(stage, chunk_id, "ready_at", minutes=60)
    with stage.database.transaction() as connection:
        moves.retry(connection, run_id, window_chunks=WINDOW_CHUNKS)
    with stage.database.transaction() as connection:
        lives.pause(connection, "people")
    earlier(stage, second, "ready_at", minutes=60)
    with stage.database.transaction() as connection:
        lives.resume(connection, "people", window_chunks=WINDOW_CHUNKS)
    for chunk_id in (first, second):
        stage.held(chunk_id)
        assert times(stage, chunk_id)[0] == 0


def test_the_time_of_a_dead_worker_is_work_until_it_is_freed(stage: Stage) -> None:
    _, (chunk_id,) = uploading(stage)
    stage.held(chunk_id, lease_s=LAPSED_S)
    earlier(stage, chunk_id, "claimed_at")
    with stage.database.transaction() as connection:
        lost.free_dead(connection)
    assert times(stage, chunk_id) == (0, 1)
    assert stage.chunk(chunk_id).claimed_at is None
    assert counted(stage)["expired_upload_chunk"] == 1


def test_every_bound_has_the_bucket_that_the_database_counts_in(stage: Stage) -> None:
    def bucket(ms: int) -> str:
        (row,) = stage.rows("SELECT bucket_of('run', :ms) AS bucket", ms=ms)
        return str(row.bucket)

    for bound in BOUNDS_S:
        assert bucket(round(bound * 1000)) == f"run_le_{bound:g}"
    assert [bucket(ms) for ms in (0, 101, 3_600_001)] == ["run_le_0.1", "run_le_0.5", "run_le_inf"]
    names = {f"run_le_{bound:g}": 1 for bound in BOUNDS_S} | {"run_le_inf": 1, "queue_le_1": 9}
    assert [count for _, count in buckets("run", names)] == list(range(1, len(BOUNDS_S) + 2))


def test_two_who_count_for_several_pipelines_do_not_wait_in_a_circle(stage: Stage) -> None:
    of = [f"p-{number}" for number in range(8)]
    claimed = []
    for pipeline_id in of:
        stage.declare(pipeline_id)
        run_id = stage.started(pipeline_id)
        (slice_id,) = stage.plan(run_id)
        claimed += stage.extract(slice_id, (1, 1))
    for chunk_id in claimed:
        stage.held(chunk_id, lease_s=LAPSED_S)

    def free() -> object:
        with stage.database.transaction() as connection:
            return lost.free_dead(connection)

    freed: list[Any] = at_once(*[free] * 4)
    assert not [one for one in freed if isinstance(one, Exception)]
    assert sum(map(len, freed)) == len(claimed)
    assert all(counted(stage, pipeline_id)["expired_upload_chunk"] == 2 for pipeline_id in of)


def test_adding_at_once_adds_up_and_nothing_is_added_for_nothing(stage: Stage) -> None:
    def add_some() -> None:
        with stage.database.transaction() as connection:
            add(connection, "people", Lane.LIVE, {"sent_bytes": 10, "requests_refused": 0, "requests_accepted": 1})

    at_once(*[add_some] * 8)
    assert counted(stage) == {"sent_bytes": 80, "requests_accepted": 8}


def test_a_total_below_zero_is_refused(stage: Stage) -> None:
    with pytest.raises(sa.exc.IntegrityError, match="totals_value_not_negative"):
        stage.write("INSERT INTO totals VALUES ('people', 'live', 'accepted', -1)")
