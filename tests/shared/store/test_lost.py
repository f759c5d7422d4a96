"""What upkeep finds: lost messages, runs that nobody settled, doubt, and what has expired."""

from uuid import UUID

import pytest

from shared.errors import ChunkAbandoned, FeedRefused
from shared.messages import Message, Queue, TaskName
from shared.run import ChunkId, RunId, RunState
from shared.store import chunks, lost, moves, plans, rejects, run_lists, runs, slices
from tests.shared.store.stage import WINDOW_CHUNKS, Stage, sent

DAY_S = 86400.0
AFTER_S, MAX_S = 60.0, 3600.0


def never_sent(stage: Stage) -> list[Message]:
    with stage.database.transaction() as connection:
        return lost.never_sent(connection, window_chunks=WINDOW_CHUNKS)


def outstanding(stage: Stage) -> dict[Queue, int]:
    with stage.database.transaction() as connection:
        return dict(lost.sent_and_unclaimed(connection))


def send_again(stage: Stage, queue: Queue, at_most: int = 100) -> list[UUID]:
    with stage.database.transaction() as connection:
        messages = lost.send_again(connection, queue, at_most=at_most, after_s=AFTER_S, max_s=MAX_S)
    assert all(message.queue is queue for message in messages)
    return [message.id for message in messages]


def age(stage: Stage, table: str, seconds: float) -> None:
    stage.write(f"UPDATE {table} SET sent_at = now() - make_interval(secs => :s)", s=seconds)


def test_what_was_sent_is_not_sent_again_by_finding_it(stage: Stage) -> None:
    stage.declare("a")
    run_id = stage.started("a")
    assert never_sent(stage) == []
    (slice_id,) = stage.plan(run_id)
    assert never_sent(stage) == []
    stage.extract(slice_id, [1])
    assert never_sent(stage) == []


def test_what_has_no_message_under_way_is_sent_once(stage: Stage) -> None:
    for pipeline_id in "abc":
        stage.declare(pipeline_id)
    asked = stage.started("a")
    (slice_id,) = stage.plan(stage.started("b"))
    (of_chunks,) = stage.plan(stage.started("c"))
    chunk_ids = stage.extract(of_chunks, [1] * (WINDOW_CHUNKS + 1))
    for table in ("runs", "slices", "chunks"):
        stage.write(f"UPDATE {table} SET sent_at = NULL")
    messages = never_sent(stage)
    assert sent(messages, TaskName.PLAN_RUN) == [asked]
    assert sent(messages, TaskName.EXTRACT_SLICE) == [slice_id]
    assert sent(messages, TaskName.UPLOAD_CHUNK) == chunk_ids[:WINDOW_CHUNKS]
    assert never_sent(stage) == []


def test_what_waits_for_its_time_is_not_sent_before_it(stage: Stage) -> None:
    stage.declare()
    run_id = stage.started()
    _, token = stage.claim_plan(run_id)
    with stage.database.transaction() as connection:
        plans.put_off(connection, run_id, token, 3600, "asleep")
    assert never_sent(stage) == []
    stage.write("UPDATE runs SET not_before = now()")
    assert sent(never_sent(stage), TaskName.PLAN_RUN) == [run_id]
    (slice_id,) = stage.plan(run_id)
    claimed, token = stage.claim_slice(slice_id)
    with stage.database.transaction() as connection:
        slices.put_off(connection, claimed.id, token, 3600, "no room")
    assert never_sent(stage) == []
    stage.write("UPDATE slices SET not_before = now()")
    assert sent(never_sent(stage), TaskName.EXTRACT_SLICE) == [slice_id]


@pytest.mark.parametrize("state", [RunState.FAILED, RunState.CANCELLED])
def test_nothing_of_a_stopped_run_is_sent(stage: Stage, state: RunState) -> None:
    for pipeline_id in "abc":
        stage.declare(pipeline_id)
    run_ids = [stage.started(pipeline_id) for pipeline_id in "abc"]
    stage.plan(run_ids[1])
    (slice_id,) = stage.plan(run_ids[2])
    stage.extract(slice_id, [1] * 9)
    with stage.database.transaction() as connection:
        for run_id in run_ids:
            runs.stop(connection, run_id, state, None)
    assert outstanding(stage) == {}
    for table in ("slices", "chunks"):
        age(stage, table, DAY_S)
    assert [send_again(stage, queue) for queue in Queue] == [[]] * len(Queue)
    stage.write("UPDATE slices SET sent_at = NULL")
    stage.write("UPDATE chunks SET sent_at = NULL")
    assert never_sent(stage) == []


def test_what_is_sent_and_not_claimed_is_counted_by_queue(stage: Stage) -> None:
    for pipeline_id in "abc":
        stage.declare(pipeline_id)
    stage.started("a")
    stage.plan(stage.started("b"))
    (slice_id,) = stage.plan(stage.started("c"))
    chunk_ids = stage.extract(slice_id, [1] * 3)
    stage.held(chunk_ids[0])
    assert outstanding(stage) == {Queue.EXTRACT: 2, Queue.UPLOAD: 2}
    stage.write("UPDATE runs SET lane = 'backfill'")
    assert outstanding(stage) == {Queue.EXTRACT_BACKFILL: 2, Queue.UPLOAD_BACKFILL: 2}
    stage.claim_plan(RunId(stage.rows("SELECT id FROM runs WHERE state = 'created'")[0].id))
    assert outstanding(stage) == {Queue.EXTRACT_BACKFILL: 1, Queue.UPLOAD_BACKFILL: 2}


def test_a_lost_message_is_sent_again_at_doubling_intervals(stage: Stage) -> None:
    stage.declare()
    _, (chunk_id,) = stage.uploading([1])
    for resends, interval_s in enumerate([60, 120, 240, 480, 960, 1920, 3600, 3600]):
        age(stage, "chunks", interval_s - 1)
        assert send_again(stage, Queue.UPLOAD) == []
        age(stage, "chunks", interval_s + 1)
        assert send_again(stage, Queue.UPLOAD) == [chunk_id]
        assert stage.chunk(chunk_id).resends == resends + 1
        assert send_again(stage, Queue.UPLOAD) == []


def test_an_interval_stays_in_bounds_however_often_it_doubled(stage: Stage) -> None:
    stage.declare()
    _, (chunk_id,) = stage.uploading([1])
    stage.write("UPDATE chunks SET resends = 2000000000")
    age(stage, "chunks", MAX_S + 1)
    assert send_again(stage, Queue.UPLOAD) == [chunk_id]


def test_only_as_many_are_sent_again_as_are_missing_and_the_oldest_first(stage: Stage) -> None:
    stage.declare()
    _, chunk_ids = stage.uploading([1] * 4)
    for no, chunk_id in enumerate(chunk_ids):
        stage.write(
            "UPDATE chunks SET sent_at = now() - make_interval(secs => :s) WHERE id = :id", s=1000 + no, id=chunk_id
        )
    assert send_again(stage, Queue.UPLOAD, at_most=0) == []
    assert set(send_again(stage, Queue.UPLOAD, at_most=2)) == set(chunk_ids[2:])
    assert set(send_again(stage, Queue.UPLOAD, at_most=100)) == set(chunk_ids[:2])


def test_plans_and_slices_share_a_queue_and_its_limit(stage: Stage) -> None:
    stage.declare("a")
    stage.declare("b")
    run_id = stage.started("a")
    (slice_id,) = stage.plan(stage.started("b"))
    age(stage, "runs", 100)
    age(stage, "slices", 100)
    assert send_again(stage, Queue.EXTRACT, at_most=1) == [run_id]
    assert send_again(stage, Queue.EXTRACT, at_most=1) == [slice_id]


def test_what_is_claimed_is_not_sent_again(stage: Stage) -> None:
    stage.declare("a")
    stage.declare("b")
    stage.declare("c")
    stage.claim_plan(stage.started("a"))
    (slice_id,) = stage.plan(stage.started("b"))
    stage.claim_slice(slice_id)
    (of_chunks,) = stage.plan(stage.started("c"))
    (chunk_id,) = stage.extract(of_chunks, [1])
    stage.held(chunk_id)
    for table in ("runs", "slices", "chunks"):
        age(stage, table, DAY_S)
    assert [send_again(stage, queue) for queue in Queue] == [[]] * len(Queue)


def test_a_complete_run_that_nobody_settled_is_found(stage: Stage) -> None:
    stage.declare("complete")
    stage.declare("empty")
    stage.declare("busy")
    (slice_id,) = stage.plan(stage.started("complete"))
    complete = stage.run(RunId(stage.rows("SELECT run_id FROM slices")[0].run_id)).id
    (chunk_id,) = stage.extract(slice_id, [1])
    empty = stage.started("empty")
    stage.plan(empty, slice_count=0)
    (of_busy,) = stage.plan(stage.started("busy"))
    stage.extract(of_busy, [1])

    def found() -> set[UUID]:
        with stage.database.transaction() as connection:
            messages = lost.complete_unsettled(connection)
        assert {message.task for message in messages} <= {TaskName.SETTLE_RUN}
        return {message.id for message in messages}

    assert found() == {empty}
    stage.upload(chunk_id)
    assert found() == {empty, complete}
    stage.settle(empty)
    stage.settle(complete)
    assert found() == set()


def in_doubt(stage: Stage, longer_than_s: float = 25 * DAY_S) -> list[RunId]:
    with stage.database.transaction() as connection:
        return lost.in_doubt(connection, longer_than_s=longer_than_s)


def claimed_long_ago(stage: Stage, chunk_id: ChunkId, days: float) -> None:
    held = stage.held(chunk_id)
    stage.write(
        "UPDATE chunks SET in_doubt_since = now() - make_interval(secs => :s) WHERE id = :id",
        s=days * DAY_S,
        id=chunk_id,
    )
    with stage.database.transaction() as connection:
        chunks.put_off(connection, held.chunk, held.token, 0, "503")


def test_work_is_in_doubt_from_its_first_attempt(stage: Stage) -> None:
    stage.declare()
    run_id, (first, second) = stage.uploading([1, 1])
    stage.write("UPDATE chunks SET published_at = now() - interval '30 d'")
    assert in_doubt(stage) == []
    claimed_long_ago(stage, first, 24.9)
    assert in_doubt(stage) == []
    claimed_long_ago(stage, first, 25.1)
    claimed_long_ago(stage, second, 25.1)
    assert in_doubt(stage) == [run_id]


def test_what_is_done_or_stopped_is_not_in_doubt(stage: Stage) -> None:
    stage.declare()
    run_id, (first, second) = stage.uploading([1, 1])
    stage.upload(first)
    stage.write("UPDATE chunks SET in_doubt_since = now() - interval '26 days' WHERE id = :id", id=first)
    assert in_doubt(stage) == []
    claimed_long_ago(stage, second, 26)
    with stage.database.transaction() as connection:
        moves.fail(connection, run_id, FeedRefused("no"))
    assert in_doubt(stage) == []


def test_a_chunk_in_doubt_for_too_long_is_claimed_by_nobody(stage: Stage) -> None:
    stage.declare()
    _, (chunk_id,) = stage.uploading([1])
    claimed_long_ago(stage, chunk_id, 26)
    assert stage.claim(chunk_id) is None


def test_reopening_by_itself_leaves_the_doubt_and_an_operators_retry_accepts_it(stage: Stage) -> None:
    stage.declare()
    run_id, (chunk_id,) = stage.uploading([1])
    claimed_long_ago(stage, chunk_id, 26)
    with stage.database.transaction() as connection:
        moves.fail(connection, run_id, FeedRefused("no"))
    stage.trigger()
    assert in_doubt(stage) == [run_id]
    with stage.database.transaction() as connection:
        moves.fault(connection, run_id, ChunkAbandoned("26 days"))
        moves.retry(connection, run_id, window_chunks=WINDOW_CHUNKS)
    assert in_doubt(stage) == []
    stage.held(chunk_id)
    assert in_doubt(stage) == []
    assert stage.chunk(chunk_id).in_doubt_since is not None


def in_every_state(stage: Stage) -> dict[str, RunId]:
    run_ids: dict[str, RunId] = {}
    for state in RunState:
        stage.declare(state)
        run_ids[state] = stage.started(state)
        stage.write(
            "UPDATE runs SET state = :state, snapshot = '{}', ended_at = now() - interval '2 d' WHERE id = :id",
            state=state,
            id=run_ids[state],
        )
    return run_ids


def test_only_closed_runs_expire_and_only_after_their_retention(stage: Stage) -> None:
    run_ids = in_every_state(stage)
    closed = {run_ids[RunState.SETTLED], run_ids[RunState.ABANDONED]}
    for query in (lost.expired_spools, rejects.expire):
        with stage.database.transaction() as connection:
            assert set(query(connection, retention_s=DAY_S)) == closed
            assert query(connection, retention_s=3 * DAY_S) == []


def test_what_was_removed_is_not_removed_again(stage: Stage) -> None:
    run_id = in_every_state(stage)[RunState.SETTLED]
    with stage.database.transaction() as connection:
        lost.mark_spool_freed(connection, run_id)
        assert run_id not in lost.expired_spools(connection, retention_s=0)
        assert run_id in rejects.expire(connection, retention_s=0)
        rejects.mark_freed(connection, run_id)
        assert run_id not in rejects.expire(connection, retention_s=0)


def test_removing_rejects_leaves_their_counts_in_the_ledger(stage: Stage) -> None:
    stage.declare()
    run_id, (chunk_id,) = stage.uploading([5])
    stage.upload(chunk_id, rejected=2)
    stage.settle(run_id)
    assert len(stage.rows("SELECT * FROM reject_files")) == 1
    with stage.database.transaction() as connection:
        assert rejects.expire(connection, retention_s=-1) == [run_id]
    assert stage.rows("SELECT * FROM reject_files") == []
    with stage.database.transaction() as connection:
        assert rejects.expire(connection, retention_s=-1) == [run_id], "until its files are gone"
        rejects.mark_freed(connection, run_id)
        assert rejects.expire(connection, retention_s=-1) == []
    assert stage.run(run_id).ledger.rejected == 2


def test_a_run_says_why_it_waits_whatever_it_waits_for(stage: Stage) -> None:
    def why(run_id: RunId) -> str | None:
        with stage.database.transaction() as connection:
            return run_lists.why_they_wait(connection, [run_id]).get(run_id)

    stage.declare()
    run_id = stage.started()
    assert why(run_id) is None
    _, token = stage.claim_plan(run_id)
    with stage.database.transaction() as connection:
        plans.put_off(connection, run_id, token, 0, "the warehouse sleeps")
    assert why(run_id) == "the warehouse sleeps"
    (slice_id,) = stage.plan(run_id)
    assert why(run_id) is None
    claimed, token = stage.claim_slice(slice_id)
    with stage.database.transaction() as connection:
        slices.put_off(connection, claimed.id, token, 0, "no room")
    assert why(run_id) == "no room"
    (chunk_id,) = stage.extract(slice_id, [1])
    assert why(run_id) is None
    held = stage.held(chunk_id)
    with stage.database.transaction() as connection:
        chunks.put_off(connection, held.chunk, held.token, 0, "429")
    assert why(run_id) == "429"
    stage.upload(chunk_id)
    assert why(run_id) is None
