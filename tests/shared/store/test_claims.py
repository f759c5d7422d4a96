"""Who holds what until when; a message may come twice, its work is done once."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from uuid import uuid4

import pytest

from shared.messages import Death, TaskName
from shared.run import ChunkId, RunId, RunState, SliceId, Window
from shared.store import chunks, claims, lost, moves, plans, runs, slices
from shared.store.claims import ClaimLost
from tests.shared.store.stage import LAPSED_S, LEASE_S, WINDOW_CHUNKS, Held, Stage

AT_ONCE = 8


def at_once(work: Callable[[], object]) -> list[object]:
    """Do something from several threads at the same moment; what was refused is left out."""
    ready = threading.Barrier(AT_ONCE)

    def attempt() -> object:
        ready.wait()
        try:
            return work()
        except ClaimLost:
            return None

    with ThreadPoolExecutor(AT_ONCE) as pool:
        attempts = [pool.submit(attempt) for _ in range(AT_ONCE)]
        return [done.result() for done in attempts if done.result() is not None]


def free_dead(stage: Stage) -> list[Death]:
    """Do what upkeep does about the dead: count them, and send their work again."""
    with stage.database.transaction() as connection:
        deaths = lost.free_dead(connection)
        assert len(lost.never_sent(connection, window_chunks=WINDOW_CHUNKS)) == len(deaths)
    return deaths


def test_a_message_delivered_twice_claims_once(stage: Stage) -> None:
    stage.declare()
    _, (chunk_id,) = stage.uploading([5])
    assert stage.claim(chunk_id) is not None
    assert stage.claim(chunk_id) is None


def test_messages_delivered_at_the_same_moment_claim_once(stage: Stage) -> None:
    stage.declare()
    run_id = stage.started()
    assert len(at_once(lambda: stage.claim_plan(run_id))) == 1
    stage.write("UPDATE runs SET token = NULL")
    (slice_id,) = stage.plan(run_id)
    assert len(at_once(lambda: stage.claim_slice(slice_id))) == 1
    stage.write("UPDATE slices SET state = 'pending'")
    for chunk_id in stage.extract(slice_id, [5, 5, 5]):
        assert len(at_once(lambda chunk_id=chunk_id: stage.claim(chunk_id))) == 1  # type: ignore[misc]


def test_a_claim_has_a_fresh_token_a_lease_and_a_name(stage: Stage) -> None:
    stage.declare()
    _, chunk_ids = stage.uploading([5, 5])
    tokens = {stage.held(chunk_id).token for chunk_id in chunk_ids}
    assert len(tokens) == 2
    rows = stage.rows("SELECT token, claimant, lease_until - now() AS lease FROM chunks")
    assert {row.token for row in rows} == tokens
    for row in rows:
        assert row.claimant == claims.this_process()
        assert timedelta(seconds=LEASE_S - 10) < row.lease <= timedelta(seconds=LEASE_S)


def test_what_does_not_exist_cannot_be_claimed(stage: Stage) -> None:
    assert stage.claim(ChunkId(uuid4())) is None
    with pytest.raises(ClaimLost):
        stage.claim_slice(SliceId(uuid4()))
    with pytest.raises(ClaimLost):
        stage.claim_plan(RunId(uuid4()))


@pytest.mark.parametrize("state", [RunState.FAILED, RunState.CANCELLED])
def test_nothing_of_a_stopped_run_can_be_claimed(stage: Stage, state: RunState) -> None:
    stage.declare()
    run_id, (chunk_id,) = stage.uploading([5])
    stage.declare("waiting")
    planned = stage.started("waiting")
    (slice_id,) = stage.plan(planned)
    stage.declare("asked")
    asked = stage.started("asked")
    with stage.database.transaction() as connection:
        for stopped in (run_id, planned, asked):
            runs.stop(connection, stopped, state, None)
    assert stage.claim(chunk_id) is None
    with pytest.raises(ClaimLost):
        stage.claim_slice(slice_id)
    with pytest.raises(ClaimLost):
        stage.claim_plan(asked)


def test_what_is_done_cannot_be_claimed_again(stage: Stage) -> None:
    stage.declare()
    run_id = stage.started()
    (slice_id,) = stage.plan(run_id)
    (chunk_id,) = stage.extract(slice_id, [5])
    stage.upload(chunk_id)
    assert stage.claim(chunk_id) is None
    with pytest.raises(ClaimLost):
        stage.claim_slice(slice_id)
    with pytest.raises(ClaimLost):
        stage.claim_plan(run_id)


def test_what_is_put_off_cannot_be_claimed_before_its_time(stage: Stage) -> None:
    stage.declare()
    run_id = stage.started()
    run, token = stage.claim_plan(run_id)
    with stage.database.transaction() as connection:
        plans.put_off(connection, run_id, token, 3600, "asleep")
    with pytest.raises(ClaimLost):
        stage.claim_plan(run_id)
    stage.write("UPDATE runs SET not_before = now()")
    (slice_id,) = stage.plan(run_id)
    claimed, token = stage.claim_slice(slice_id)
    with stage.database.transaction() as connection:
        slices.put_off(connection, claimed.id, token, 3600, "no room")
    with pytest.raises(ClaimLost):
        stage.claim_slice(slice_id)
    stage.write("UPDATE slices SET not_before = now()")
    (chunk_id,) = stage.extract(slice_id, [5])
    held = stage.held(chunk_id)
    with stage.database.transaction() as connection:
        chunks.put_off(connection, held.chunk, held.token, 3600, "429")
    stage.write("UPDATE chunks SET sent_at = now()")
    assert stage.claim(chunk_id) is None
    stage.write("UPDATE chunks SET not_before = now()")
    assert stage.claim(chunk_id) is not None
    assert run.id == run_id


def test_a_zombie_uploader_changes_nothing(stage: Stage) -> None:
    stage.declare()
    run_id, (chunk_id, _) = stage.uploading([5, 5])
    zombie = stage.held(chunk_id, lease_s=LAPSED_S)
    assert [death.id for death in free_dead(stage)] == [chunk_id]
    owner = stage.held(chunk_id)
    before = stage.chunk(chunk_id), stage.run(run_id)

    def write(move: Callable[..., object], *arguments: object, **named: object) -> None:
        with pytest.raises(ClaimLost), stage.database.transaction() as connection:
            move(connection, *arguments, **named)

    for move in (stage.finish, lambda held: stage.record(held, 5), lambda held: stage.record(held, 5, rejected=2)):
        with pytest.raises(ClaimLost):
            move(zombie)
    write(chunks.renew, chunk_id, zombie.token, LEASE_S)
    write(chunks.put_off, zombie.chunk, zombie.token, 0, None)
    write(chunks.put_off, zombie.chunk, zombie.token, 60, "429")
    write(chunks.give_up, zombie.chunk, zombie.token, "refused")
    assert (stage.chunk(chunk_id), stage.run(run_id)) == before
    assert not stage.rows("SELECT * FROM reject_files")
    stage.record(owner, 5)
    stage.finish(owner)
    with pytest.raises(ClaimLost):
        stage.finish(zombie)
    assert stage.run(run_id).chunks_done == 1


def test_a_zombie_extractor_changes_nothing(stage: Stage) -> None:
    stage.declare()
    (slice_id,) = stage.plan(stage.started())
    zombie = stage.claim_slice(slice_id, lease_s=LAPSED_S)
    assert [death.id for death in free_dead(stage)] == [slice_id]
    owner = stage.claim_slice(slice_id)
    before = stage.rows("SELECT * FROM slices"), stage.rows("SELECT * FROM runs")
    with pytest.raises(ClaimLost):
        stage.publish(*zombie, [5])
    with pytest.raises(ClaimLost), stage.database.transaction() as connection:
        slices.renew(connection, slice_id, zombie[1], LEASE_S, rows_read=1, bytes_spooled=1)
    with pytest.raises(ClaimLost), stage.database.transaction() as connection:
        slices.put_off(connection, slice_id, zombie[1], 60, "busy")
    assert (stage.rows("SELECT * FROM slices"), stage.rows("SELECT * FROM runs")) == before
    assert not stage.rows("SELECT * FROM chunks")
    stage.publish(*owner, [5])
    with pytest.raises(ClaimLost):
        stage.publish(*zombie, [5])
    assert len(stage.rows("SELECT * FROM chunks")) == 1


def test_a_zombie_planner_changes_nothing(stage: Stage) -> None:
    stage.declare()
    run_id = stage.started()
    run, token = stage.claim_plan(run_id, lease_s=LAPSED_S)
    assert [death.id for death in free_dead(stage)] == [run_id]
    _, owner = stage.claim_plan(run_id)
    before = stage.rows("SELECT * FROM runs")
    with pytest.raises(ClaimLost):
        stage.freeze(run, token, Window())
    with pytest.raises(ClaimLost), stage.database.transaction() as connection:
        plans.put_off(connection, run_id, token, 60, "busy")
    assert stage.rows("SELECT * FROM runs") == before
    assert not stage.rows("SELECT * FROM slices")
    assert len(stage.freeze(run, owner, Window())) == 1
    with pytest.raises(ClaimLost):
        stage.freeze(run, token, Window())
    assert len(stage.rows("SELECT * FROM slices")) == 1


def test_a_planner_whose_run_was_stopped_freezes_nothing(stage: Stage) -> None:
    stage.declare()
    run_id = stage.started()
    run, token = stage.claim_plan(run_id)
    with stage.database.transaction() as connection:
        moves.cancel(connection, run_id)
    with pytest.raises(ClaimLost):
        stage.freeze(run, token, Window())
    assert stage.run(run_id).snapshot is None


def test_a_lease_that_lapsed_and_was_given_to_nobody_is_still_a_claim(stage: Stage) -> None:
    stage.declare()
    _, (chunk_id,) = stage.uploading([5])
    held = stage.held(chunk_id, lease_s=LAPSED_S)
    stage.record(held, 5)
    assert [message.task for message in stage.finish(held)] == [TaskName.SETTLE_RUN]


def test_a_chunk_is_claimed_only_by_a_message_that_is_recorded_as_sent(stage: Stage) -> None:
    stage.declare()
    _, chunk_ids = stage.uploading([5] * (WINDOW_CHUNKS + 1))
    assert stage.claim(chunk_ids[-1]) is None
    assert stage.claim(chunk_ids[0]) is not None


def test_only_a_lapsed_lease_is_a_death(stage: Stage) -> None:
    stage.declare()
    _, chunk_ids = stage.uploading([5, 5, 5])
    alive, dead = stage.held(chunk_ids[0]), stage.held(chunk_ids[1], lease_s=LAPSED_S)
    (death,) = free_dead(stage)
    assert (death.id, death.task, death.deaths, death.token) == (
        dead.chunk.id,
        TaskName.UPLOAD_CHUNK,
        1,
        dead.token,
    )
    assert free_dead(stage) == []
    assert stage.chunk(dead.chunk.id).state == "ready"
    assert stage.chunk(alive.chunk.id).token == alive.token
    assert stage.chunk(chunk_ids[2]).deaths == 0


def test_renewing_keeps_a_claim_alive(stage: Stage) -> None:
    stage.declare()
    _, (chunk_id,) = stage.uploading([5])
    held = stage.held(chunk_id, lease_s=LAPSED_S)
    with stage.database.transaction() as connection:
        chunks.renew(connection, chunk_id, held.token, LEASE_S)
    assert free_dead(stage) == []


def test_several_upkeeps_at_once_count_a_death_once(stage: Stage) -> None:
    stage.declare()
    _, chunk_ids = stage.uploading([5] * 4)
    for chunk_id in chunk_ids:
        stage.held(chunk_id, lease_s=LAPSED_S)

    def count_the_dead() -> list[Death]:
        # What the dead held may be sent by any of them, or by the next: each leaves out what another has locked.
        with stage.database.transaction() as connection:
            deaths = lost.free_dead(connection)
            lost.never_sent(connection, window_chunks=WINDOW_CHUNKS)
            return deaths

    freed = [death.id for deaths in at_once(count_the_dead) for death in deaths]  # type: ignore[attr-defined]
    assert sorted(freed) == sorted(chunk_ids)
    assert {row.deaths for row in stage.rows("SELECT deaths FROM chunks")} == {1}


def die(stage: Stage, chunk_id: ChunkId, times: int) -> None:
    for _ in range(times):
        stage.held(chunk_id, lease_s=LAPSED_S)
        free_dead(stage)


def test_progress_forgives_earlier_deaths(stage: Stage) -> None:
    stage.declare()
    _, (chunk_id,) = stage.uploading([5])
    die(stage, chunk_id, 3)
    assert stage.chunk(chunk_id).deaths == 3
    stage.record(stage.held(chunk_id), 1)
    assert stage.chunk(chunk_id).deaths == 0


def test_waiting_for_the_feed_never_counts_as_a_death(stage: Stage) -> None:
    stage.declare()
    _, (chunk_id,) = stage.uploading([5])
    for wait_s in (0.0, 60.0, 0.0):
        held = stage.held(chunk_id)
        with stage.database.transaction() as connection:
            chunks.put_off(connection, held.chunk, held.token, wait_s, "429")
        stage.write("UPDATE chunks SET not_before = NULL, sent_at = now()")
    assert free_dead(stage) == []
    assert stage.chunk(chunk_id).deaths == 0
    assert stage.chunk(chunk_id).attempts == 3


def test_dead_planners_and_extractors_count_for_their_own_work(stage: Stage) -> None:
    stage.declare()
    run_id = stage.started()
    stage.claim_plan(run_id, lease_s=LAPSED_S)
    (death,) = free_dead(stage)
    assert (death.task, death.id, death.run_id, death.deaths) == (TaskName.PLAN_RUN, run_id, run_id, 1)
    (slice_id,) = stage.plan(run_id)
    assert stage.rows("SELECT deaths FROM runs")[0].deaths == 0
    for deaths in (1, 2):
        stage.claim_slice(slice_id, lease_s=LAPSED_S)
        (death,) = free_dead(stage)
        assert (death.task, death.id, death.run_id, death.deaths) == (TaskName.EXTRACT_SLICE, slice_id, run_id, deaths)


def test_a_chunk_continues_where_the_dead_left_it(stage: Stage) -> None:
    stage.declare()
    _, (chunk_id,) = stage.uploading([5])
    held = stage.held(chunk_id)
    stage.record(held, 3)
    stage.write("UPDATE chunks SET lease_until = now() - interval '1 s'")
    free_dead(stage)
    again: Held = stage.held(chunk_id)
    assert (again.chunk.position, again.chunk.attempt) == (3, 2)
