"""``warehouse_sync.upload_chunk``: one short attempt at one chunk, continued by a later message if need be."""

import asyncio
import threading
from collections.abc import Collection, Iterator, Mapping, Sequence
from concurrent.futures import CancelledError, Future, wait
from contextlib import contextmanager
from datetime import datetime
from functools import cached_property, lru_cache, partial
from typing import Final, assert_never

import numpy as np
import pyarrow as pa
import sqlalchemy as sa
from celery import shared_task

from shared.catalog import Feed
from shared.credentials import require_allowed_host, resolve
from shared.dataplan import DataPlan
from shared.errors import DeclarationInvalid, StoreUnavailable, SyncError, Transient
from shared.findings import ROWS_MERGED
from shared.limits import EventName
from shared.mapping.plan import MappingPlan
from shared.messages import Message, TaskName, read_payload
from shared.run import ChunkId, Reject, RunId, Token
from shared.secret_fields import purpose
from shared.snapshot import Snapshot, read_snapshot
from shared.spool import SpooledFile
from shared.store import accepted, chunks, declared, dispatching, event_names, moves, rejected_users, runs, totals
from shared.store.chunks import ClaimedChunk
from shared.store.claims import ClaimLost, fresh_token
from shared.store.tables import chunks as chunks_table
from shared.telemetry import bound, log
from shared.trace_export import Value
from shared.tracing import Span
from worker.frontier import Step
from worker.heartbeat import heartbeat
from worker.mparticle.check import Checks
from worker.mparticle.client import FeedClient
from worker.mparticle.encode import Encoder, Merging
from worker.mparticle.judge import judge_of
from worker.mparticle.keys import UserKey
from worker.mparticle.prepared import Prepared
from worker.mparticle.quota import Quota
from worker.mparticle.shares import NO_ROWS
from worker.mparticle.tally import Tally
from worker.process import Process, is_shutting_down
from worker.rejects import reject_table
from worker.stale import instants_in
from worker.tasks.boundary import deliver, queued_s, recorded, this_process, traced
from worker.tasks.rejected import note_rejected, whose
from worker.tasks.turns import Frozen, Turn, turn_of
from worker.upload import Ending, Finished, Stopped, UploadLimits, Yielded, upload

_log = log(__name__)
_LOOK_EVERY_S: Final = 0.25
"""How late an attempt may notice that others wait for the end of its turn."""
_encoding = threading.Lock()
"""An encoder serves one thread at a time, whatever pool a worker was started with."""


@shared_task(name=TaskName.UPLOAD_CHUNK.value)
def upload_chunk(payload: object) -> None:
    """Upload the chunk that the payload names, as far as one attempt gets."""
    chunk_id = ChunkId(read_payload(payload))
    with bound(chunk_id=str(chunk_id)), recorded():
        process = this_process()
        token = fresh_token()
        with process.database.transaction() as connection:
            claimed = chunks.claim(
                connection,
                chunk_id,
                token,
                process.settings.upload_lease_s,
                doubt_max_s=process.settings.doubt_max_s,
            )
            waited_s = queued_s(connection, chunks_table, chunk_id) if claimed else None
        if claimed is None:
            _log.info("message_out_of_date")
            return
        with bound(
            run_id=str(claimed.run_id), pipeline_id=claimed.pipeline_id, chunk_no=claimed.no, attempt=claimed.attempt
        ):
            span = traced(TaskName.UPLOAD_CHUNK, claimed.run_id, **_of(claimed), queued_s=waited_s)
            attempt = _Attempt(process, claimed, token, span)
            with recorded(put_off=attempt.put_off, stop_run=attempt.stop_run), span:
                deliver(process, attempt.make())
            attempt.hand_in()


class _Attempt:
    """One claimant's attempt at one chunk, from where the chunk stands to where the attempt gets."""

    def __init__(self, process: Process, claimed: ClaimedChunk, token: Token, span: Span) -> None:
        self._process = process
        self._limits = process.settings
        self._claimed = claimed
        self._token = token
        self._span = span
        self._feed: Feed | None = None
        self._table: pa.Table | None = None
        self._prepared: Prepared | None = None
        self._turn: Turn | None = None
        self._sending: Future[Ending] | None = None
        self._is_lost = threading.Event()
        self._reject_files = 0
        self._is_wanted = True
        self._tally = Tally()

    @contextmanager
    def _recording(self) -> Iterator[sa.Connection]:
        """Open a transaction that also records what was sent since the last one; each request once."""
        with self._tally.handed_over() as counts, self._process.database.transaction() as connection:
            yield connection
            totals.add(connection, self._claimed.pipeline_id, self._claimed.lane, counts)

    def make(self) -> list[Message]:
        """Send what is not settled yet, and record how that ended."""
        claimed = self._claimed
        frozen, encoder = _frozen(self._process, claimed.run_id)
        with self._process.database.transaction() as connection:
            self._feed = feed = declared.get(connection, Feed, frozen.snapshot.feed.id)
        _require_same_feed(feed, frozen.snapshot)
        require_allowed_host(feed, self._limits)
        secret = resolve(feed.api_secret, self._limits, purpose=purpose(feed))
        self._table = table = self._process.spool.read_chunk(claimed.path, claimed.checksum)
        with heartbeat(self._renew, lease_s=self._limits.upload_lease_s, on_lost=self._let_go):
            # Judging by a data plan may take as long as a lease.
            with _encoding:
                self._prepared = prepared = encoder.prepare(
                    table,
                    chunk_id=str(claimed.id),
                    age=instants_in(table, frozen.snapshot),
                    beyond=partial(self._beyond, frozen.snapshot.feed.workspace),
                )
            with turn_of(self._process, claimed, self._token, frozen, table, prepared) as turn:
                # Switching it off helps a run that was planned with it: the batches are the same either way.
                is_gzip = frozen.snapshot.feed.gzip and feed.gzip
                ending = self._send(frozen.snapshot, secret, turn, is_gzip=is_gzip)
            return self._end(ending)

    def _beyond(self, workspace: str, names: Collection[EventName]) -> set[EventName]:
        """Say which names are beyond the workspace's limit; each that is new has its place from now on."""
        with self._process.database.transaction() as connection:
            return event_names.register(connection, workspace, names)

    def put_off(self, error: Transient) -> None:
        """Give the chunk back, to be continued later."""
        with self._recording() as connection:
            chunks.put_off(connection, self._claimed, self._token, self._limits.retry_after_s, str(error))

    def stop_run(self, error: SyncError) -> None:
        """Give the chunk up and fail its run; only the chunk back where its feed has another secret by now.

        Its run may have been reopened for that secret meanwhile, and what was refused says nothing about it.
        """
        with self._recording() as connection:
            shown = self._feed
            if shown is not None and declared.get(connection, Feed, shown.id).api_secret != shown.api_secret:
                chunks.put_off(connection, self._claimed, self._token, self._limits.retry_after_s, str(error))
                return
            chunks.give_up(connection, self._claimed, self._token, str(error))
            moves.fail(connection, self._claimed.run_id, error)

    def hand_in(self) -> None:
        """Record what was sent and is recorded with nothing else, because the claim or the store was lost meanwhile."""
        if self._tally:
            try:
                with self._recording():
                    pass
            except StoreUnavailable as error:
                _log.warning("requests_not_counted", error=str(error))

    def _send(self, snapshot: Snapshot, secret: str, turn: Turn, *, is_gzip: bool) -> Ending:
        """Send until everything is settled, or the turn or the attempt is over; no request is under way afterwards."""
        self._turn = turn
        work = upload(
            turn.encoded,
            rows=self._claimed.rows,
            position=self._claimed.position,
            feed=FeedClient(
                self._process.session,
                base_url=snapshot.feed.base_url,
                api_key=snapshot.feed.api_key,
                api_secret=secret,
                is_gzip=is_gzip,
                name=snapshot.feed.id,
                note=self._tally.note,
            ),
            governor=Quota(
                self._process.governor,
                snapshot.feed.quota_group,
                snapshot.feed.batches_per_s,
                lane=self._claimed.lane,
            ),
            limits=UploadLimits.of(self._limits),
            record=self._record,
            stopping=lambda: is_shutting_down() or not self._is_wanted or turn.is_over,
        )
        self._sending = sending = self._process.start(work)
        if self._is_lost.is_set():
            sending.cancel()
        try:
            while not wait([sending], _LOOK_EVERY_S).done:
                turn.look()
            return sending.result()
        except CancelledError:
            raise ClaimLost from None
        finally:
            sending.cancel()

    def _let_go(self) -> None:
        """Stop at once: the claim is lost."""
        self._is_lost.set()
        if self._sending is not None:
            self._sending.cancel()

    def _end(self, ending: Ending) -> list[Message]:
        match ending:
            case Finished():
                self._span.note(is_finished=True)
                with self._recording() as connection:
                    return chunks.finish(connection, self._claimed, self._token)
            case Yielded(wait_s=wait_s, reason=reason, is_silent=is_silent):
                _log.info("chunk_yielded", wait_s=wait_s, reason=reason, is_silent=is_silent)
                self._span.note(is_finished=False, wait_s=wait_s, is_silent=is_silent)
                with self._recording() as connection:
                    messages = chunks.put_off(connection, self._claimed, self._token, wait_s, reason)
                    if wait_s > 0:
                        most_s = self._limits.silence_max_s if is_silent else None
                        dispatching.hold(connection, self._claimed.run_id, wait_s, most_s=most_s)
                return messages
            case Stopped(error=error):
                raise error
            case _:
                assert_never(ending)

    async def _record(self, step: Step) -> None:
        await asyncio.to_thread(self._save, step)

    def _save(self, step: Step) -> None:
        progress = step.progress
        file = self._keep(progress.rejects) if progress.rejects else None
        frozen, _ = _frozen(self._process, self._claimed.run_id)
        users = whose(progress.rejects, self._table, plan=frozen.plan, snapshot=frozen.snapshot)
        newest = self._newest if users else {}
        replayed = frozen.sendable(np.sort(step.accepted), self._table).newest() if frozen.replays_users else {}
        with self._recording() as connection:
            is_wanted = chunks.record(
                connection,
                self._claimed,
                self._token,
                progress,
                lease_s=self._limits.upload_lease_s,
                rejects=file,
                findings=self._found(step),
            )
            note_rejected(connection, self._claimed, users, newest)
            rejected_users.saw(connection, self._claimed.pipeline_id, replayed)
            if self._turn is not None and self._turn.lookback is not None:
                accepted.keep(connection, self._claimed.pipeline_id, self._turn.lookback.to_keep(step.accepted))
        self._span.count(
            accepted=progress.accepted,
            rejected=len(progress.rejects),
            unchanged=progress.unchanged,
            superseded=progress.superseded,
            batches=progress.batches,
        )
        if progress.rejects:
            _log.warning("rows_rejected", rejected=len(progress.rejects))
        self._is_wanted = is_wanted

    @cached_property
    def _newest(self) -> Mapping[UserKey, datetime]:
        """The newest instant of each user among the good rows of the whole chunk."""
        frozen, _ = _frozen(self._process, self._claimed.run_id)
        rows = NO_ROWS if self._prepared is None else self._prepared.open_rows()
        return frozen.sendable(rows, self._table).newest()

    def _found(self, step: Step) -> dict[str, int]:
        progress = step.progress
        found = {} if self._prepared is None else self._prepared.found(step.accepted, progress.rejects)
        if self._turn is not None and not self._turn.encoded.has_events and progress.accepted > progress.batches:
            found[ROWS_MERGED] = progress.accepted - progress.batches
        return found

    def _keep(self, rejects: Sequence[Reject]) -> SpooledFile:
        self._reject_files += 1
        return self._process.spool.write_rejects(
            reject_table(self._table, rejects),
            run_id=self._claimed.run_id,
            chunk_id=self._claimed.id,
            token=self._token,
            part=self._reject_files,
        )

    def _renew(self) -> bool:
        with self._process.database.transaction() as connection:
            chunks.renew(connection, self._claimed.id, self._token, self._limits.upload_lease_s)
        return True


@lru_cache(maxsize=8)
def _frozen(process: Process, run_id: RunId) -> tuple[Frozen, Encoder]:
    with process.database.transaction() as connection:
        run = runs.get(connection, run_id)
    snapshot = read_snapshot(run.number, run.snapshot)
    plan = MappingPlan.from_json(snapshot.mapping)
    merging = Merging(
        max_events=snapshot.batch_max_events,
        users=snapshot.merges_users,
        historical_before_ms=snapshot.historical_before_ms,
    )
    declared_plan = None if snapshot.data_plan is None else DataPlan.model_validate(snapshot.data_plan)
    judge = judge_of(declared_plan, names=plan.names)
    encoder = Encoder(plan, checks=Checks.from_json(snapshot.checks), merging=merging, judge=judge)
    return Frozen(snapshot, plan, run.window), encoder


def _of(claimed: ClaimedChunk) -> dict[str, Value | None]:
    return {
        "pipeline_id": claimed.pipeline_id,
        "lane": claimed.lane.value,
        "chunk_id": str(claimed.id),
        "chunk_no": claimed.no,
        "attempt": claimed.attempt,
        "rows": claimed.rows,
    }


def _require_same_feed(feed: Feed, snapshot: Snapshot) -> None:
    """Refuse to show the feed's secret to an address, or to send ids under a key, that the run was not planned for."""
    if (feed.base_url, feed.api_key) != (snapshot.feed.base_url, snapshot.feed.api_key):
        raise DeclarationInvalid(
            f"feed {feed.id!r}: its base_url or api_key is not what this run was planned with, and mParticle knows ids "
            "by key; declare it as it was and retry the run, or abandon it: its window is then read for the new one"
        )
