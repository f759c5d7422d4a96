"""Many processes at once: nobody waits in a circle, nothing is counted twice, and somebody always settles."""

import contextlib
import random
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from shared.errors import AlreadyDeclared, ChangedMeanwhile, FeedRefused, Refused, SyncError
from shared.feed import Feed
from shared.messages import Message, Queue, TaskName
from shared.run import STOPPED, ChunkId, Lane, RunId, RunState, SliceId, Window
from shared.store import chunks, declared, lost, moves, records, runs, slices
from shared.store.claims import ClaimLost
from tests.shared.store.promises import Promises
from tests.shared.store.stage import FEED, INCREMENTAL, LAPSED_S, LEASE_S, T0, T1, WINDOW_CHUNKS, Stage, sent

LIMIT_S = 90.0
STORM_THREADS = 6
STORM_MOVES = 60


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    """Threads enough for every test here."""
    with ThreadPoolExecutor(8) as threads:
        yield threads


def together(pool: ThreadPoolExecutor, work: Sequence[Callable[[], Any]]) -> list[Any]:
    """Begin all at the same moment and give what each came to."""
    ready = threading.Barrier(len(work))

    def begin(one: Callable[[], Any]) -> Any:
        ready.wait(LIMIT_S)
        return one()

    return [done.result(LIMIT_S) for done in [pool.submit(begin, one) for one in work]]


def wait_until_blocked(stage: Stage, done: Future[Any]) -> None:
    """Wait until some transaction of this database waits for a lock."""
    until = time.monotonic() + LIMIT_S
    while not stage.rows(
        "SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
    ):
        assert not done.done(), "it did not wait"
        assert time.monotonic() < until


def test_chunks_that_finish_at_the_same_moment_settle_the_run_once(stage: Stage, pool: ThreadPoolExecutor) -> None:
    stage.past_history()
    run_id, chunk_ids = stage.uploading([1] * 8, Window(T0, T1))
    held = [stage.held(chunk_id) for chunk_id in chunk_ids]
    for one in held:
        stage.record(one, 1)
    messages = together(pool, [lambda one=one: stage.finish(one) for one in held])  # type: ignore[misc]
    settling = [run for of_chunk in messages for run in sent(of_chunk, TaskName.SETTLE_RUN)]
    assert settling == [run_id]
    assert sum(together(pool, [lambda: stage.settle(run_id)] * 8)) == 1
    assert stage.standing().watermark == T1


def test_recording_at_the_same_moment_loses_no_count(stage: Stage, pool: ThreadPoolExecutor) -> None:
    stage.declare()
    run_id, chunk_ids = stage.uploading([20] * 6)
    held = [stage.held(chunk_id) for chunk_id in chunk_ids]

    def record(no: int) -> None:
        for position in range(20):
            stage.record(held[no], position + 1, start=position, rejected=position % 2)

    together(pool, [lambda no=no: record(no) for no in range(6)])  # type: ignore[misc]
    ledger = stage.run(run_id).ledger
    assert (ledger.accepted, ledger.rejected) == (60, 60)


@settings(
    max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(order=st.permutations(range(5)), rejected=st.lists(st.integers(0, 3), min_size=5, max_size=5))
def test_any_order_of_chunk_outcomes_settles_alike(stage: Stage, order: list[int], rejected: list[int]) -> None:
    stage.clear()
    stage.declare()
    run_id, chunk_ids = stage.uploading([3] * 5)
    asked = [sent(stage.upload(chunk_ids[no], rejected=rejected[no]), TaskName.SETTLE_RUN) for no in order]
    assert asked == [[], [], [], [], [run_id]]
    assert stage.settle(run_id)
    ledger = stage.run(run_id).ledger
    assert (ledger.accepted, ledger.rejected) == (15 - sum(rejected), sum(rejected))


def test_two_triggers_at_the_same_moment_start_one_run(stage: Stage, pool: ThreadPoolExecutor) -> None:
    stage.declare()

    def trigger() -> bool:
        with contextlib.suppress(SyncError):
            return bool(stage.trigger().runs)
        return False

    assert sum(together(pool, [trigger] * 8)) == 1
    assert len(stage.rows("SELECT * FROM runs")) == 1


def test_two_retries_at_the_same_moment_reopen_once(stage: Stage, pool: ThreadPoolExecutor) -> None:
    stage.declare()
    run_id, _ = stage.uploading([1] * 3)
    with stage.database.transaction() as connection:
        moves.cancel(connection, run_id)

    def retry() -> int:
        with contextlib.suppress(SyncError), stage.database.transaction() as connection:
            return len(moves.retry(connection, run_id, window_chunks=WINDOW_CHUNKS).messages)
        return 0

    assert sorted(together(pool, [retry] * 4)) == [0, 0, 0, 3]


def test_upkeeps_at_the_same_moment_send_a_message_once(stage: Stage, pool: ThreadPoolExecutor) -> None:
    for no in range(5):
        stage.declare(f"p{no}")
        stage.started(f"p{no}")
    stage.write("UPDATE runs SET sent_at = NULL")

    def unsent() -> list[Message]:
        with stage.database.transaction() as connection:
            return lost.never_sent(connection, window_chunks=WINDOW_CHUNKS)

    found = [message.id for messages in together(pool, [unsent] * 6) for message in messages]
    assert len(found) == len(set(found)) == 5
    stage.write("UPDATE runs SET sent_at = now() - interval '1 h'")

    def again() -> list[Message]:
        with stage.database.transaction() as connection:
            return lost.send_again(connection, Queue.EXTRACT, at_most=9, after_s=60, max_s=3600)

    found = [message.id for messages in together(pool, [again] * 6) for message in messages]
    assert len(found) == len(set(found)) == 5


def test_upkeeps_at_the_same_moment_stay_within_the_window(stage: Stage, pool: ThreadPoolExecutor) -> None:
    stage.declare()
    stage.uploading([1] * 20)
    for _ in range(5):
        stage.write("UPDATE chunks SET sent_at = NULL")

        def top_up() -> int:
            with stage.database.transaction() as connection:
                return len(lost.never_sent(connection, window_chunks=WINDOW_CHUNKS))

        assert sum(together(pool, [top_up] * 6)) == WINDOW_CHUNKS


def test_planning_the_initial_sync_and_triggering_do_not_wait_for_each_other(
    stage: Stage, pool: ThreadPoolExecutor
) -> None:
    stage.declare(mode=INCREMENTAL)
    run, token = stage.claim_plan(stage.started())
    with stage.database.transaction() as connection:
        declared.get_pipeline(connection, "people", lock=True)
        freezing = pool.submit(stage.freeze, run, token, Window(None, T0, includes_null=True))
        wait_until_blocked(stage, freezing)
        assert [held.id for held in runs.open_of(connection, "people")] == [run.id]
    assert len(freezing.result(LIMIT_S)) == 1
    assert stage.standing().watermark == T0


def test_a_chunk_given_up_beside_a_retry_does_not_stay_behind(stage: Stage, pool: ThreadPoolExecutor) -> None:
    stage.declare()
    run_id, (chunk_id, _) = stage.uploading([1, 1])
    held = stage.held(chunk_id)
    with stage.database.transaction() as connection:
        moves.fail(connection, run_id, FeedRefused("the other chunk's"))

    def retry() -> list[Message]:
        with stage.database.transaction() as connection:
            return list(moves.retry(connection, run_id, window_chunks=WINDOW_CHUNKS).messages)

    with stage.database.transaction() as connection:
        chunks.give_up(connection, held.chunk, held.token, "401")
        assert not moves.fail(connection, run_id, FeedRefused("401"))
        retrying = pool.submit(retry)
        wait_until_blocked(stage, retrying)
    assert chunk_id in sent(retrying.result(LIMIT_S), TaskName.UPLOAD_CHUNK)
    Promises(stage).check()


def test_whoever_holds_a_run_does_not_wait_for_what_is_claimed(stage: Stage) -> None:
    stage.declare()
    run_id, (chunk_id, _) = stage.uploading([1, 1])
    held = stage.held(chunk_id)
    with stage.database.transaction() as connection:
        moves.cancel(connection, run_id)
    with stage.database.transaction() as connection:
        chunks.renew(connection, chunk_id, held.token, LEASE_S)  # As every write of a claimant begins.
        with stage.database.transaction() as operator:
            assert len(moves.retry(operator, run_id, window_chunks=WINDOW_CHUNKS).messages) == 1


class Storm:
    """One of several threads that do whatever comes to their mind."""

    def __init__(self, stage: Stage, seed: int) -> None:
        self._stage = stage
        self._random = random.Random(seed)

    def rage(self) -> int:
        moves_made = 0
        for _ in range(STORM_MOVES):
            move = self._random.choice(
                [self._trigger, self._plan, self._extract, self._upload, self._upload, self._upload, self._operate,
                 self._keep_up, self._settle]
            )  # fmt: skip
            with contextlib.suppress(Refused):
                move()
                moves_made += 1
        return moves_made

    def _some(self, query: str) -> Any:
        rows = self._stage.rows(query)
        return self._random.choice(rows).id if rows else None

    def _lease_s(self) -> float:
        return LAPSED_S if self._random.random() < 0.2 else LEASE_S

    def _trigger(self) -> None:
        self._stage.trigger(self._random.choice(["a", "b"]))

    def _plan(self) -> None:
        run_id = self._some("SELECT id FROM runs WHERE state = 'created'")
        if run_id is None:
            return
        with contextlib.suppress(ClaimLost):
            run, token = self._stage.claim_plan(RunId(run_id), lease_s=self._lease_s())
            standing = self._stage.standing(run.pipeline_id)
            if run.lane is Lane.BACKFILL:
                window = Window(None, standing.history_to or T0, includes_null=True)
            else:
                assert standing.watermark is not None
                window = Window(standing.watermark, standing.watermark + timedelta(hours=1))
            self._stage.freeze(run, token, window, slice_count=2)

    def _extract(self) -> None:
        slice_id = self._some("SELECT id FROM slices WHERE state = 'pending'")
        if slice_id is not None:
            with contextlib.suppress(ClaimLost):
                self._stage.publish(*self._stage.claim_slice(SliceId(slice_id), lease_s=self._lease_s()), [2] * 6)

    def _upload(self) -> None:
        chunk_id = self._some("SELECT id FROM chunks WHERE state = 'ready'")
        held = None if chunk_id is None else self._stage.claim(ChunkId(chunk_id), lease_s=self._lease_s())
        if held is None:
            return
        with contextlib.suppress(ClaimLost):
            if held.chunk.position == 0:
                self._stage.record(held, 1)
            if self._random.random() < 0.1:
                with self._stage.database.transaction() as connection:
                    chunks.give_up(connection, held.chunk, held.token, "401")
                    moves.fail(connection, held.chunk.run_id, FeedRefused("401"))
            elif self._random.random() < 0.2:
                with self._stage.database.transaction() as connection:
                    chunks.put_off(connection, held.chunk, held.token, 0, "503")
            else:
                self._stage.record(held, 2, start=1, rejected=self._random.randrange(2))
                self._stage.finish(held)

    def _operate(self) -> None:
        run_id = self._some("SELECT id FROM runs WHERE state <> 'settled'")
        with self._stage.database.transaction() as connection:
            match self._random.choice(["cancel", "retry", "retry", "abandon", "correct"]):
                case _ if run_id is None:
                    return
                case "cancel":
                    moves.cancel(connection, run_id)
                case "retry":
                    moves.retry(connection, run_id, window_chunks=WINDOW_CHUNKS)
                case "abandon":
                    moves.abandon(connection, run_id)
                case _:
                    moves.reopen_corrected(connection, ["b", "a"], ["FeedRefused"], window_chunks=WINDOW_CHUNKS)

    def _keep_up(self) -> None:
        with self._stage.database.transaction() as connection:
            for death in sorted(lost.free_dead(connection), key=lambda death: death.run_id):
                moves.fail(connection, death.run_id, FeedRefused("dead"))
        with self._stage.database.transaction() as connection:
            lost.never_sent(connection, window_chunks=WINDOW_CHUNKS)
            slices.room_taken(connection)

    def _settle(self) -> None:
        run_id = self._some("SELECT id FROM runs WHERE state = 'uploading'")
        if run_id is not None:
            self._stage.settle(RunId(run_id))


def test_a_storm_of_every_move_deadlocks_nobody_and_breaks_no_promise(stage: Stage, pool: ThreadPoolExecutor) -> None:
    for pipeline_id in ("a", "b"):
        stage.declare(pipeline_id, mode=INCREMENTAL)
        stage.trigger(pipeline_id)
    made = together(pool, [Storm(stage, seed).rage for seed in range(STORM_THREADS)])
    assert min(made) > STORM_MOVES // 3
    Promises(stage).check()
    assert stage.rows("SELECT 1 FROM chunks WHERE state = 'done'")
    for run in stage.rows("SELECT id, state FROM runs"):
        if RunState(run.state) in STOPPED:
            with stage.database.transaction() as connection:
                moves.retry(connection, run.id, window_chunks=WINDOW_CHUNKS)
    Promises(stage).check()


def test_of_two_that_take_a_name_at_once_the_second_is_refused_by_name(stage: Stage, pool: ThreadPoolExecutor) -> None:
    first, second = (FEED.model_copy(update={"id": one, "name": "One name"}) for one in ("one", "two"))

    def put() -> None:
        with stage.database.transaction() as connection:
            declared.put(connection, second)

    with stage.database.transaction() as connection:
        declared.put(connection, first)
        later = pool.submit(put)
        wait_until_blocked(stage, later)
    with pytest.raises(ChangedMeanwhile, match=r"feed 'two'.*try again"):
        later.result(LIMIT_S)


def test_of_two_that_create_one_id_at_once_the_second_replaces_nothing(stage: Stage, pool: ThreadPoolExecutor) -> None:
    first, second = (FEED.model_copy(update={"id": "one", "name": name}) for name in ("First", "Second"))

    def create() -> None:
        with stage.database.transaction() as connection:
            records.require_new(connection, second, second.id)
            declared.put(connection, second)

    with stage.database.transaction() as connection:
        records.require_new(connection, first, first.id)
        declared.put(connection, first)
        later = pool.submit(create)
        wait_until_blocked(stage, later)
    with pytest.raises(AlreadyDeclared):
        later.result(LIMIT_S)
    with stage.database.transaction() as connection:
        assert declared.get(connection, Feed, "one") == first


def test_what_is_named_at_once_by_a_new_pipeline_is_not_removed(stage: Stage, pool: ThreadPoolExecutor) -> None:
    stage.declare("people")
    other = FEED.model_copy(update={"id": "other", "name": "Other"})
    with stage.database.transaction() as connection:
        declared.put(connection, other)
        named = declared.get_pipeline(connection, "people").pipeline

    def remove() -> None:
        with stage.database.transaction() as connection:
            declared.delete(connection, Feed, "other")

    with stage.database.transaction() as connection:
        declared.put_pipeline(connection, named.model_copy(update={"feed_id": "other"}))
        later = pool.submit(remove)
        wait_until_blocked(stage, later)
    with pytest.raises(ChangedMeanwhile, match="feed 'other'"):
        later.result(LIMIT_S)
