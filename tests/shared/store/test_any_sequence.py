"""Whatever happens in whatever order: promises hold after every step, and at the end everything settles."""

import contextlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from sqlalchemy import Connection

from shared.errors import ChunkAbandoned, FeedRefused, SyncError
from shared.ledger import RejectCode
from shared.messages import Message, TaskName
from shared.run import STOPPED, ChunkId, Lane, PipelineState, Run, RunId, RunKind, SliceId, Token, Window
from shared.store import (
    backfills,
    chunks,
    declared,
    lives,
    lost,
    moves,
    plans,
    recovering,
    replays,
    requests,
    runs,
    slices,
)
from shared.store.claims import ClaimLost
from shared.store.waiting import Occurrence
from tests.shared.store.promises import Promises
from tests.shared.store.stage import INCREMENTAL, LAPSED_S, LEASE_S, MAX_REOPENINGS, T0, WINDOW_CHUNKS, Held, Stage
from worker.upkeep import too_many_deaths

MAX_DEATHS = 3
PICK = st.integers(0, 1_000)
SIZES = st.lists(st.integers(1, 4), max_size=WINDOW_CHUNKS + 2)


@dataclass
class Planner:
    """Somebody who claimed a run's plan, and may be dead without knowing it."""

    run: Run
    token: Token


@dataclass
class Extractor:
    """The same for a slice."""

    claimed: slices.ClaimedSlice
    token: Token


@dataclass
class Uploader:
    """The same for a chunk, and how far it got."""

    held: Held
    position: int


class Store(RuleBasedStateMachine):
    """A queue that repeats and loses messages, workers that die, an operator, upkeep, and time."""

    stage: Stage

    def __init__(self) -> None:
        super().__init__()
        self.stage.clear()
        self.stage.declare(mode=INCREMENTAL)
        self.promises = Promises(self.stage)
        self.queue: list[Message] = []
        self.at_work: list[Planner | Extractor | Uploader] = []
        self.occurred = 0

    @initialize(is_past_history=st.booleans(), sizes=SIZES)
    def begin(self, sizes: list[int], *, is_past_history: bool) -> None:
        if is_past_history:
            self.stage.past_history()
        self.trigger()
        for message in self.queue[:]:
            self.queue += self.stage.freeze(
                *self.stage.claim_plan(RunId(message.id)), self._window(self.stage.run(RunId(message.id)), 1)
            )
            self.queue.remove(message)
        for message in self.queue[:]:
            self.queue += self.stage.publish(*self.stage.claim_slice(SliceId(message.id)), sizes)
            self.queue.remove(message)

    @rule()
    def trigger(self) -> None:
        with contextlib.suppress(SyncError):
            self.queue += self.stage.trigger().messages

    @rule(missed=st.integers(0, 2))
    def come_round(self, missed: int) -> None:
        """Let an occurrence of the schedule come, having missed some."""
        self.occurred += 1 + missed
        scheduled_for = T0 + timedelta(days=365, minutes=self.occurred)

        def occur(connection: Connection) -> list[Message]:
            row = declared.get_pipeline(connection, "people", lock=True)
            if row.state is not PipelineState.ACTIVE:
                self.occurred -= 1 + missed
                return []
            asked = requests.occur(
                connection,
                row,
                Occurrence(scheduled_for, missed),
                window_chunks=WINDOW_CHUNKS,
                max_reopenings=MAX_REOPENINGS,
            )
            return list(asked.messages)

        self._transact(occur)

    @rule(is_pause=st.booleans())
    def pause_or_resume(self, *, is_pause: bool) -> None:
        def move(connection: Connection) -> list[Message]:
            if is_pause:
                lives.pause(connection, "people")
                return []
            return list(lives.resume(connection, "people", window_chunks=WINDOW_CHUNKS).messages)

        with contextlib.suppress(SyncError):
            self._transact(move)

    @precondition(lambda self: self.queue)
    @rule(pick=PICK)
    def deliver(self, pick: int) -> None:
        self._deliver(self.queue.pop(pick % len(self.queue)), LEASE_S)

    @precondition(lambda self: self.queue)
    @rule(pick=PICK)
    def deliver_to_one_who_dies(self, pick: int) -> None:
        self._deliver(self.queue.pop(pick % len(self.queue)), LAPSED_S)

    @precondition(lambda self: self.queue)
    @rule(pick=PICK)
    def deliver_twice(self, pick: int) -> None:
        for _ in range(2):
            self._deliver(self.queue[pick % len(self.queue)], LEASE_S)

    def _deliver(self, message: Message, lease_s: float) -> None:
        with contextlib.suppress(ClaimLost):
            match message.task:
                case TaskName.PLAN_RUN:
                    self.at_work.append(Planner(*self.stage.claim_plan(RunId(message.id), lease_s=lease_s)))
                case TaskName.EXTRACT_SLICE:
                    self.at_work.append(Extractor(*self.stage.claim_slice(SliceId(message.id), lease_s=lease_s)))
                case TaskName.UPLOAD_CHUNK:
                    held = self.stage.held(ChunkId(message.id), lease_s=lease_s)
                    self.at_work.append(Uploader(held, held.chunk.position))
                case TaskName.SETTLE_RUN:
                    self.stage.settle(RunId(message.id))

    @precondition(lambda self: self.queue)
    @rule()
    def lose_all_messages(self) -> None:
        self.queue.clear()

    @precondition(lambda self: self.at_work)
    @rule(pick=PICK, slice_count=st.integers(0, 2), hours=st.integers(0, 3), sizes=SIZES, rejected=st.integers(0, 2))
    def do_the_work(self, pick: int, slice_count: int, hours: int, sizes: list[int], rejected: int) -> None:
        match self.at_work.pop(pick % len(self.at_work)):
            case Planner(run, token):
                window, *further = self._windows(run, hours)
                self._or_nothing_changes(
                    lambda: self.stage.freeze(
                        run, token, window, slice_count=1 if further else slice_count, further_parts=further
                    )
                )
            case Extractor(claimed, token):
                self._or_nothing_changes(lambda: self.stage.publish(claimed, token, sizes))
            case Uploader(held, position):
                end = held.chunk.rows
                rejected = min(rejected, end - position)
                if position == end or self._or_nothing_changes(
                    lambda: self.stage.record(held, end, start=position, rejected=rejected)
                ):
                    self._or_nothing_changes(lambda: self.stage.finish(held))

    @precondition(lambda self: any(isinstance(worker, Extractor) for worker in self.at_work))
    @rule(pick=PICK, sizes=SIZES, dies=st.booleans())
    def publish_some_and_read_on(self, pick: int, sizes: list[int], *, dies: bool) -> None:
        extractors = [worker for worker in self.at_work if isinstance(worker, Extractor)]
        worker = extractors[pick % len(extractors)]
        self.at_work.remove(worker)
        lease_s = LAPSED_S if dies else LEASE_S
        with contextlib.suppress(ClaimLost):
            following, messages = self.stage.publish_and_continue(worker.claimed, worker.token, sizes, lease_s=lease_s)
            if following is not None:
                self.at_work.append(Extractor(following, worker.token))
            self.queue += messages

    @precondition(lambda self: any(isinstance(worker, Uploader) for worker in self.at_work))
    @rule(pick=PICK, rows=st.integers(0, 3), rejected=st.integers(0, 2))
    def do_some_of_the_work(self, pick: int, rows: int, rejected: int) -> None:
        uploaders = [worker for worker in self.at_work if isinstance(worker, Uploader)]
        worker = uploaders[pick % len(uploaders)]
        end = min(worker.held.chunk.rows, worker.position + rows)
        rejected = min(rejected, end - worker.position)
        if self._or_nothing_changes(
            lambda: self.stage.record(worker.held, end, start=worker.position, rejected=rejected)
        ):
            worker.position = end
        else:
            self.at_work.remove(worker)

    @precondition(lambda self: self.at_work)
    @rule(pick=PICK, wait_s=st.sampled_from([0.0, 3600.0]), is_refused=st.booleans())
    def give_the_work_back(self, pick: int, wait_s: float, *, is_refused: bool) -> None:
        def give_back(connection: Connection) -> list[Message]:
            match worker:
                case Planner(run, token):
                    plans.put_off(connection, run.id, token, wait_s, "busy")
                case Extractor(claimed, token):
                    slices.put_off(connection, claimed.id, token, wait_s, "no room")
                    if is_refused:
                        moves.fail(connection, claimed.run_id, FeedRefused("no column"))
                case Uploader(held, _) if is_refused:
                    chunks.give_up(connection, held.chunk, held.token, "401")
                    moves.fail(connection, held.chunk.run_id, FeedRefused("401"))
                case Uploader(held, _):
                    return chunks.put_off(connection, held.chunk, held.token, wait_s, "429")
            return []

        worker = self.at_work.pop(pick % len(self.at_work))
        self._or_nothing_changes(lambda: self._transact(give_back))

    @rule(pick=PICK, code=st.sampled_from([None, RejectCode.NO_IDENTITY]))
    def replay(self, pick: int, code: RejectCode | None) -> None:
        rejecting = self.stage.rows("SELECT id FROM runs WHERE rejected > 0 ORDER BY created_at, lane, part")
        if rejecting:
            run_id = RunId(rejecting[pick % len(rejecting)].id)
            with contextlib.suppress(SyncError):
                self._transact(lambda connection: list(replays.begin(connection, run_id, code=code).messages))

    @rule(most=st.integers(0, 3))
    def allow_so_many_rejected_rows(self, most: int) -> None:
        self.stage.write(
            "UPDATE runs SET snapshot = snapshot || jsonb_build_object('max_rejected_rows', cast(:most AS int))"
            " WHERE snapshot IS NOT NULL AND kind <> 'replay' AND state IN ('extracting', 'uploading')",
            most=most,
        )

    @rule(most=st.integers(0, 6))
    def allow_so_many_rows(self, most: int) -> None:
        self.stage.write(
            "UPDATE runs SET snapshot = snapshot || jsonb_build_object('max_volume_rows', cast(:most AS int))"
            " WHERE snapshot IS NOT NULL AND kind <> 'replay' AND state = 'extracting' AND extracted = 0",
            most=most,
        )

    @rule(fewest=st.integers(0, 3))
    def expect_so_many_rows(self, fewest: int) -> None:
        self.stage.write(
            "UPDATE runs SET snapshot = snapshot || jsonb_build_object('min_volume_rows', cast(:fewest AS int))"
            " WHERE snapshot IS NOT NULL AND kind <> 'replay' AND state = 'extracting'",
            fewest=fewest,
        )

    @rule(pick=PICK, move=st.sampled_from(["cancel", "abandon", "fail", "retry", "retry", "accept", "approve"]))
    def operate(self, pick: int, move: str) -> None:
        rows = self.stage.rows("SELECT id FROM runs ORDER BY created_at, lane, part")
        if not rows:
            return
        run_id = RunId(rows[pick % len(rows)].id)
        if move != "fail":
            self.promises.decided.add(run_id)

        def operate(connection: Connection) -> list[Message]:
            match move:
                case "cancel":
                    moves.cancel(connection, run_id)
                case "abandon":
                    moves.abandon(connection, run_id)
                case "fail":
                    moves.fail(connection, run_id, FeedRefused("no"))
                case "approve":
                    return list(moves.approve(connection, run_id, window_chunks=WINDOW_CHUNKS).messages)
                case _:
                    accepts = move == "accept"
                    asked = moves.retry(connection, run_id, window_chunks=WINDOW_CHUNKS, accepts_rejects=accepts)
                    return list(asked.messages)
            return []

        with contextlib.suppress(SyncError):
            self._transact(operate)

    @rule(what=st.sampled_from(["dead", "unsent", "complete", "doubt", "corrected"]))
    def keep_up(self, what: str) -> None:
        def keep_up(connection: Connection) -> list[Message]:
            match what:
                case "dead":
                    bury_the_dead(connection)
                case "unsent":
                    return lost.never_sent(connection, window_chunks=WINDOW_CHUNKS)
                case "complete":
                    return lost.complete_unsettled(connection)
                case "doubt":
                    stop_what_is_in_doubt(connection)
                case _:
                    asked = moves.reopen_corrected(connection, ["people"], ["FeedRefused"], window_chunks=WINDOW_CHUNKS)
                    return list(asked.messages)
            return []

        self._transact(keep_up)

    @rule()
    def recover(self) -> None:
        """Hold all that is open, although everybody who works on it still lives."""

        def hold(connection: Connection) -> list[Message]:
            recovering.hold_open(connection, lambda _: "restored")
            return []

        self._transact(hold)
        at_work = "state IN ('created', 'extracting', 'uploading', 'failed')"
        assert self.stage.rows(f"SELECT id FROM runs WHERE {at_work}") == []

    @rule(days=st.sampled_from([1, 26]))
    def let_time_go_by(self, days: int) -> None:
        for table in ("runs", "slices", "chunks"):
            self.stage.write(f"UPDATE {table} SET not_before = NULL")
        self.stage.write("UPDATE chunks SET in_doubt_since = in_doubt_since - make_interval(days => :days)", days=days)

    @invariant()
    def promises_hold(self) -> None:
        self.promises.check()
        (covered,) = self.stage.rows("SELECT sum(1 + missed) AS all FROM runs WHERE scheduled_for IS NOT NULL")
        assert (covered.all or 0) == self.occurred, "an occurrence is covered by exactly one run"
        too_many = "rejected > cast(snapshot ->> 'max_rejected_rows' AS int) AND NOT accepts_rejects"
        assert self.stage.rows(f"SELECT id FROM runs WHERE state = 'settled' AND {too_many}") == []
        too_many = "extracted > cast(snapshot ->> 'max_volume_rows' AS int) AND NOT accepts_volume"
        at_work = "state IN ('extracting', 'uploading', 'settled')"
        assert self.stage.rows(f"SELECT id FROM runs WHERE {at_work} AND {too_many}") == []
        too_few = "extracted < cast(snapshot ->> 'min_volume_rows' AS int) AND NOT accepts_volume"
        is_read = "lane = 'live' AND state IN ('uploading', 'settled')"
        assert self.stage.rows(f"SELECT id FROM runs WHERE {is_read} AND {too_few}") == []

    def teardown(self) -> None:
        """Kill everybody, lose every message, and let an operator and new workers end what is left."""
        for table in ("runs", "slices", "chunks"):
            self.stage.write(f"UPDATE {table} SET lease_until = now() - interval '1 s' WHERE token IS NOT NULL")
            self.stage.write(f"UPDATE {table} SET not_before = NULL")
        self.stage.write("UPDATE runs SET accepts_rejects = true, accepts_volume = true")
        self.pause_or_resume(is_pause=False)
        for _ in range(6):
            self.come_round(0)
            with self.stage.database.transaction() as connection:
                lost.free_dead(connection)
                stop_what_is_in_doubt(connection)
                for run in runs.open_of(connection, "people"):
                    if run.state in STOPPED:
                        self.promises.decided.add(run.id)
                        moves.retry(connection, run.id, window_chunks=WINDOW_CHUNKS, accepts_rejects=True)
            self.promises.check()
            while self._work_off():
                self.promises.check()
        left = [run for run in self.stage.rows("SELECT state FROM runs") if run.state not in {"settled", "abandoned"}]
        assert left == []

    def _work_off(self) -> bool:
        """Do what upkeep alone finds, as if the broker had lost everything; say whether there was anything."""
        with self.stage.database.transaction() as connection:
            lost.never_sent(connection, window_chunks=WINDOW_CHUNKS)
            complete = lost.complete_unsettled(connection)
        found = bool(complete)
        for message in complete:
            assert self.stage.settle(RunId(message.id))
        self.promises.check()
        for run in self.stage.rows("SELECT id FROM runs WHERE state = 'created' AND sent_at IS NOT NULL"):
            planned, token = self.stage.claim_plan(RunId(run.id))
            self.stage.freeze(planned, token, self._window(planned, 1))
            found = True
        for row in self.stage.rows(
            "SELECT slices.id FROM slices JOIN runs ON runs.id = run_id"
            " WHERE slices.state = 'pending' AND slices.sent_at IS NOT NULL AND runs.state = 'extracting'"
        ):
            self.stage.publish(*self.stage.claim_slice(SliceId(row.id)), [2])
            found = True
        for row in self.stage.rows(
            "SELECT chunks.id FROM chunks JOIN runs ON runs.id = run_id WHERE chunks.state = 'ready'"
            " AND chunks.sent_at IS NOT NULL AND runs.state IN ('extracting', 'uploading')"
        ):
            self.stage.upload(ChunkId(row.id))
            found = True
        return found

    def _windows(self, run: Run, hours: int) -> list[Window]:
        """Cut history into as many parts as hours, where a planner would."""
        with self.stage.database.transaction() as connection:
            is_whole = backfills.to_be_cut(connection, run) is not None
        window = self._window(run, hours)
        if not is_whole or run.window.high is not None or window.high is None:
            return [window]
        ends = [window.high - timedelta(days=day) for day in range(hours, -1, -1)]
        bounds = pairwise([None, *ends])
        return [Window(low, high, includes_null=low is None) for low, high in bounds]

    def _window(self, run: Run, hours: int) -> Window:
        standing = self.stage.standing()
        if run.window.high is not None or run.kind is RunKind.REPLAY:
            return run.window
        if run.lane is Lane.BACKFILL:
            return Window(None, standing.history_to or T0, includes_null=True)
        assert standing.watermark is not None
        return Window(standing.watermark, standing.watermark + timedelta(hours=hours))

    def _transact(self, move: Callable[[Connection], list[Message]]) -> None:
        with self.stage.database.transaction() as connection:
            messages = move(connection)
        self.queue += messages

    def _or_nothing_changes(self, write: Callable[[], list[Message] | object]) -> bool:
        """Make a claimant's write; say whether it still was the claimant. Where it was not, nothing changed."""
        before = self._everything()
        try:
            outcome = write()
        except ClaimLost:
            assert self._everything() == before
            return False
        if isinstance(outcome, list):
            self.queue += outcome
        return True

    def _everything(self) -> list[Sequence[Any]]:
        return [self.stage.rows(f"SELECT * FROM {table} ORDER BY id") for table in ("runs", "slices", "chunks")]


def stop_what_is_in_doubt(connection: Connection) -> None:
    for run_id in lost.in_doubt(connection, longer_than_s=25 * 86400):
        moves.fault(connection, run_id, ChunkAbandoned("25 days"))


def bury_the_dead(connection: Connection) -> None:
    deaths = lost.free_dead(connection)
    numbers = runs.numbers_of(connection, {death.run_id for death in deaths})
    for death, error in too_many_deaths(deaths, numbers, max_deaths=MAX_DEATHS):
        moves.fail(connection, death.run_id, error)
        if death.task is TaskName.UPLOAD_CHUNK:
            chunks.mark_failed(connection, death.id, str(error))


@pytest.mark.timeout(900)  # Some minutes of work on a busy machine, and no less of it.
def test_any_sequence_of_moves_keeps_every_promise_and_can_be_brought_to_an_end(stage: Stage) -> None:
    machine = type("OnThisStage", (Store,), {"stage": stage})
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=30,
            stateful_step_count=40,
            deadline=None,
            phases=[Phase.reuse, Phase.generate],  # Shrinking would take minutes; a sequence reads well as it is.
            suppress_health_check=list(HealthCheck),
        ),
    )
