"""Chunks: a few under way at a time, settled row by row, counted as they end."""

import pytest
import sqlalchemy as sa

from shared.errors import FeedRefused
from shared.ledger import Progress, Reject, RejectCode
from shared.messages import Message, Priority, TaskName
from shared.run import ChunkId, Lane, RunId, RunState
from shared.spool import SpooledFile
from shared.store import chunks, dispatching, lost, moves, runs
from tests.shared.store.stage import LAPSED_S, LEASE_S, WINDOW_CHUNKS, Held, Stage, sent


def under_way(stage: Stage) -> int:
    with stage.database.transaction() as connection:
        return int(connection.execute(sa.select(sa.func.count()).where(dispatching.is_under_way())).scalar_one())


def put_off(stage: Stage, held: Held, wait_s: float, why: str | None = "429") -> list[Message]:
    with stage.database.transaction() as connection:
        return chunks.put_off(connection, held.chunk, held.token, wait_s, why)


def top_up(stage: Stage) -> list[Message]:
    with stage.database.transaction() as connection:
        return lost.never_sent(connection, window_chunks=WINDOW_CHUNKS)


def test_publishing_sends_a_window_of_chunks_in_order(stage: Stage) -> None:
    stage.declare()
    (slice_id,) = stage.plan(stage.started())
    messages = stage.publish(*stage.claim_slice(slice_id), [1] * (WINDOW_CHUNKS + 3))
    assert sent(messages, TaskName.UPLOAD_CHUNK) == stage.chunk_ids(slice_id)[:WINDOW_CHUNKS]


def test_a_run_never_has_more_than_its_window_under_way(stage: Stage) -> None:
    stage.declare()
    run_id = stage.started()
    first, second = stage.plan(run_id, slice_count=2)
    messages = stage.publish(*stage.claim_slice(first), [1] * (WINDOW_CHUNKS - 1))
    assert len(messages) == WINDOW_CHUNKS - 1
    messages = stage.publish(*stage.claim_slice(second), [1] * 10)
    assert len(messages) == 1
    assert (under_way(stage), top_up(stage)) == (WINDOW_CHUNKS, [])
    held = stage.held(ChunkId(messages[0].id))
    assert (under_way(stage), top_up(stage)) == (WINDOW_CHUNKS, [])
    assert len(put_off(stage, held, 0)) == 1
    assert (under_way(stage), top_up(stage)) == (WINDOW_CHUNKS, [])
    held = stage.held(ChunkId(messages[0].id))
    assert put_off(stage, held, 60) == []
    assert under_way(stage) == WINDOW_CHUNKS - 1
    assert len(top_up(stage)) == 1
    assert under_way(stage) == WINDOW_CHUNKS


def test_finishing_a_chunk_sends_the_next(stage: Stage) -> None:
    stage.declare()
    (slice_id,) = stage.plan(stage.started())
    stage.extract(slice_id, [1] * (WINDOW_CHUNKS + 2))
    ids = stage.chunk_ids(slice_id)
    assert sent(stage.upload(ids[1]), TaskName.UPLOAD_CHUNK) == [ids[WINDOW_CHUNKS]]
    assert sent(stage.upload(ids[0]), TaskName.UPLOAD_CHUNK) == [ids[WINDOW_CHUNKS + 1]]
    assert stage.upload(ids[2]) == []


def test_each_run_has_a_window_of_its_own(stage: Stage) -> None:
    stage.declare("one")
    stage.declare("two")
    for pipeline_id in ("one", "two"):
        (slice_id,) = stage.plan(stage.started(pipeline_id))
        assert len(stage.publish(*stage.claim_slice(slice_id), [1] * 9)) == WINDOW_CHUNKS
    assert under_way(stage) == 2 * WINDOW_CHUNKS


def test_reopening_counts_what_is_still_being_uploaded(stage: Stage) -> None:
    stage.declare()
    run_id, chunk_ids = stage.uploading([1] * 9)
    held = [stage.held(chunk_id) for chunk_id in chunk_ids[:2]]
    with stage.database.transaction() as connection:
        moves.fail(connection, run_id, FeedRefused("no"))
        asked = moves.retry(connection, run_id, window_chunks=WINDOW_CHUNKS)
    assert len(asked.messages) == WINDOW_CHUNKS - len(held)
    assert under_way(stage) == WINDOW_CHUNKS


def test_a_message_goes_to_its_runs_lane(stage: Stage) -> None:
    stage.declare()
    run_id = stage.started()
    stage.write("UPDATE runs SET lane = 'backfill'")
    (slice_id,) = stage.plan(run_id)
    (message,) = stage.publish(*stage.claim_slice(slice_id), [1])
    assert message.lane is Lane.BACKFILL
    assert stage.held(ChunkId(message.id)).chunk.lane is Lane.BACKFILL


def test_a_recorded_position_survives_and_is_where_the_next_attempt_begins(stage: Stage) -> None:
    stage.declare()
    run_id, (chunk_id,) = stage.uploading([10])
    held = stage.held(chunk_id)
    assert stage.record(held, 4, rejected=1)
    assert stage.record(held, 6, start=4)
    put_off(stage, held, 0)
    again = stage.held(chunk_id)
    assert (again.chunk.position, again.chunk.attempt, again.chunk.path) == (6, 2, held.chunk.path)
    ledger = stage.run(run_id).ledger
    assert (ledger.accepted, ledger.rejected) == (5, 1)


def test_rejects_and_their_file_are_recorded_in_one_transaction(stage: Stage) -> None:
    stage.declare()
    _, (chunk_id,) = stage.uploading([10])
    held = stage.held(chunk_id)
    rejects = (
        Reject(0, RejectCode.NO_IDENTITY, "no identity"),
        Reject(2, RejectCode.NO_IDENTITY, "no identity"),
        Reject(3, RejectCode.VALUE_TOO_LONG, "column 'name'"),
    )
    with stage.database.transaction() as connection:
        chunks.record(
            connection,
            held.chunk,
            held.token,
            Progress(4, 1, rejects),
            lease_s=LEASE_S,
            rejects=SpooledFile("rejects/1", 3, 30, "sum"),
        )
    (file,) = stage.rows("SELECT * FROM reject_files")
    assert (file.chunk_id, file.path, file.rows, file.bytes) == (chunk_id, "rejects/1", 3, 30)
    assert file.counts == {"no_identity": 2, "value_too_long": 1}


def test_recording_says_when_the_run_was_stopped(stage: Stage) -> None:
    stage.declare()
    run_id, (chunk_id,) = stage.uploading([10])
    held = stage.held(chunk_id)
    assert stage.record(held, 1)
    with stage.database.transaction() as connection:
        moves.cancel(connection, run_id)
    assert not stage.record(held, 2, start=1)


def test_recording_renews_the_lease(stage: Stage) -> None:
    stage.declare()
    _, (chunk_id,) = stage.uploading([10])
    held = stage.held(chunk_id, lease_s=LAPSED_S)
    stage.record(held, 1)
    with stage.database.transaction() as connection:
        assert lost.free_dead(connection) == []


@pytest.mark.parametrize("wait_s", [0.0, -1.0])
def test_a_chunk_that_only_yielded_goes_on_at_once(stage: Stage, wait_s: float) -> None:
    stage.declare()
    _, (chunk_id,) = stage.uploading([10])
    (message,) = put_off(stage, stage.held(chunk_id), wait_s)
    assert (message.task, message.id) == (TaskName.UPLOAD_CHUNK, chunk_id)
    assert stage.claim(chunk_id) is not None


def test_a_long_wait_is_kept_in_the_store_and_not_in_the_queue(stage: Stage) -> None:
    stage.declare()
    _, (chunk_id,) = stage.uploading([10])
    assert put_off(stage, stage.held(chunk_id), 60) == []
    assert top_up(stage) == []
    assert stage.chunk(chunk_id).error == "429"
    stage.write("UPDATE chunks SET not_before = now() - interval '1 s'")
    assert sent(top_up(stage), TaskName.UPLOAD_CHUNK) == [chunk_id]
    assert top_up(stage) == []


def test_a_refused_chunk_fails_with_its_run_and_stays_where_it_stands(stage: Stage) -> None:
    stage.declare()
    run_id, (chunk_id, _) = stage.uploading([10, 10])
    held = stage.held(chunk_id)
    stage.record(held, 3)
    with stage.database.transaction() as connection:
        chunks.give_up(connection, held.chunk, held.token, "401")
        assert moves.fail(connection, run_id, FeedRefused("401"))
    row = stage.chunk(chunk_id)
    assert (row.state, row.position, row.error, row.token) == ("failed", 3, "401", None)
    ledger = stage.run(run_id).ledger
    assert (ledger.accepted, ledger.unsent) == (3, 17)


def test_chunks_are_counted_by_the_process_that_claimed_them_last(stage: Stage) -> None:
    stage.declare()
    run_id, chunk_ids = stage.uploading([1, 1, 1])
    for chunk_id in chunk_ids[:2]:
        stage.upload(chunk_id)
    stage.write("UPDATE chunks SET claimant = 'a:1' WHERE id = :id", id=chunk_ids[0])
    stage.write("UPDATE chunks SET claimant = 'b:2' WHERE id = :id", id=chunk_ids[1])
    with stage.database.transaction() as connection:
        assert chunks.claimants(connection, [run_id]) == {"a:1": 1, "b:2": 1}
        assert chunks.claimants(connection, []) == {}


def test_what_ends_while_the_run_is_stopped_comes_out_of_unsent(stage: Stage) -> None:
    stage.declare()
    run_id, (first, second) = stage.uploading([10, 5])
    held = stage.held(first)
    stage.record(held, 4)
    with stage.database.transaction() as connection:
        moves.cancel(connection, run_id)
    assert stage.run(run_id).ledger.unsent == 11
    stage.record(held, 10, start=4, rejected=2)
    ledger = stage.run(run_id).ledger
    assert (ledger.accepted, ledger.rejected, ledger.unsent, ledger.balances) == (8, 2, 5, True)
    assert stage.finish(held) == []
    run = stage.run(run_id)
    assert (run.state, run.chunks_done) == (RunState.CANCELLED, 1)
    assert stage.claim(second) is None


def test_a_stopped_run_whose_last_chunk_ends_settles_when_it_is_retried(stage: Stage) -> None:
    stage.declare()
    run_id, (chunk_id,) = stage.uploading([10])
    held = stage.held(chunk_id)
    with stage.database.transaction() as connection:
        runs.stop(connection, run_id, RunState.FAILED, FeedRefused("another chunk's"))
    stage.record(held, 10)
    assert stage.finish(held) == []
    with stage.database.transaction() as connection:
        asked = moves.retry(connection, run_id, window_chunks=WINDOW_CHUNKS)
    assert [message.task for message in asked.messages] == [TaskName.SETTLE_RUN]
    assert stage.settle(run_id)


def test_a_chunk_id_never_comes_twice(stage: Stage) -> None:
    stage.declare()
    run_id = stage.started()
    seen: set[ChunkId] = set()
    for slice_id in stage.plan(run_id, slice_count=3):
        seen.update(stage.extract(slice_id, [1, 1]))
    assert len(seen) == 6


def test_messages_rank_by_how_many_of_their_run_are_under_way(stage: Stage) -> None:
    stage.declare()
    run_id = stage.started()
    (slice_id,) = stage.plan(run_id)
    messages = stage.publish(*stage.claim_slice(slice_id), [1] * 12)
    ranks = [message.priority for message in messages]
    assert ranks == [Priority.FIRST] * 2 + [Priority.BEHIND] * 6
    others = stage.upload(ChunkId(messages[0].id))
    assert [message.priority for message in others] == [Priority.BEHIND], "seven others are under way"


def test_a_run_that_is_held_is_claimed_by_nobody_and_then_tried_with_one_chunk_that_was_tried_least(
    stage: Stage,
) -> None:
    _, ids = held_run(stage)
    assert [stage.claim(chunk_id) for chunk_id in ids] == [None, None, None]
    with stage.database.transaction() as connection:
        assert lost.never_sent(connection, window_chunks=8) == []
    stage.write("UPDATE runs SET not_before = now() - interval '1 s'")
    stage.write("UPDATE chunks SET not_before = NULL")
    with stage.database.transaction() as connection:
        (message,) = lost.never_sent(connection, window_chunks=8)
    assert message.id == ids[1], "the first chunk was tried already"
    stage.upload(ids[1])
    assert silences(stage) == 0
    with stage.database.transaction() as connection:
        assert len(lost.never_sent(connection, window_chunks=8)) == 1, "it answers: the whole window again"


def test_a_silent_run_is_held_ever_longer_up_to_the_longest(stage: Stage) -> None:
    run_id, _ = held_run(stage)
    waits = []
    for _ in range(6):
        stage.write("UPDATE runs SET not_before = NULL")
        with stage.database.transaction() as connection:
            dispatching.hold(connection, run_id, 30, most_s=600)
            waits.append(float(connection.scalar(sa.text("SELECT extract(epoch FROM not_before - now()) FROM runs"))))
    assert waits == [60, 120, 240, 480, 600, 600]


def held_run(stage: Stage) -> tuple[RunId, list[ChunkId]]:
    """A run of three chunks, whose first was tried and got no answer."""
    stage.declare()
    run_id, ids = stage.uploading([2, 2, 2])
    held = stage.held(ids[0])
    with stage.database.transaction() as connection:
        chunks.put_off(connection, held.chunk, held.token, 30, "no answer")
        dispatching.hold(connection, run_id, 30, most_s=600)
    return run_id, ids


def silences(stage: Stage) -> int:
    return int(stage.rows("SELECT silences FROM runs")[0].silences)
