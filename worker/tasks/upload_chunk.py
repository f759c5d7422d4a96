"""``warehouse_sync.upload_chunk``: one short attempt at one chunk, continued by a later message if need be."""

import asyncio
import threading
from collections.abc import Sequence
from concurrent.futures import CancelledError, Future, wait
from functools import lru_cache
from typing import Final, assert_never

import pyarrow as pa
from celery import shared_task

from shared.catalog import Feed
from shared.credentials import require_allowed_host, resolve
from shared.errors import DeclarationInvalid, SyncError, Transient
from shared.mapping.plan import MappingPlan
from shared.messages import Message, TaskName, read_payload
from shared.run import ChunkId, Progress, Reject, RunId, Token
from shared.snapshot import Snapshot
from shared.spool import SpooledFile
from shared.store import accepted, chunks, declared, dispatching, moves, runs
from shared.store.chunks import ClaimedChunk
from shared.store.claims import ClaimLost, fresh_token
from shared.telemetry import bound, log
from worker.heartbeat import heartbeat
from worker.mparticle.check import Checks
from worker.mparticle.client import FeedClient
from worker.mparticle.encode import Encoder
from worker.mparticle.quota import Quota
from worker.process import Process, is_shutting_down
from worker.rejects import reject_table
from worker.tasks.boundary import deliver, recorded, this_process
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
        if claimed is None:
            _log.info("message_out_of_date")
            return
        with bound(
            run_id=str(claimed.run_id), pipeline_id=claimed.pipeline_id, chunk_no=claimed.no, attempt=claimed.attempt
        ):
            attempt = _Attempt(process, claimed, token)
            with recorded(put_off=attempt.put_off, stop_run=attempt.stop_run):
                deliver(process, attempt.make())


class _Attempt:
    """One claimant's attempt at one chunk, from where the chunk stands to where the attempt gets."""

    def __init__(self, process: Process, claimed: ClaimedChunk, token: Token) -> None:
        self._process = process
        self._limits = process.settings
        self._claimed = claimed
        self._token = token
        self._table: pa.Table | None = None
        self._position = claimed.position
        self._turn: Turn | None = None
        self._sending: Future[Ending] | None = None
        self._is_lost = threading.Event()
        self._reject_files = 0
        self._is_wanted = True

    def make(self) -> list[Message]:
        """Send what is not settled yet, and record how that ended."""
        claimed = self._claimed
        frozen, encoder = _frozen(self._process, claimed.run_id)
        with self._process.database.transaction() as connection:
            feed = declared.get(connection, Feed, frozen.snapshot.feed.id)
        _require_same_feed(feed, frozen.snapshot)
        require_allowed_host(feed, self._limits)
        secret = resolve(feed.api_secret, self._limits)
        self._table = table = self._process.spool.read_chunk(claimed.path, claimed.checksum)
        with _encoding:
            encoded = encoder.encode(
                table.slice(claimed.position), chunk_id=str(claimed.id), first_row=claimed.position
            )
        with heartbeat(self._renew, lease_s=self._limits.upload_lease_s, on_lost=self._let_go):
            with turn_of(self._process, claimed, self._token, frozen, table, encoded) as turn:
                # Switching it off helps a run that was planned with it: the batches are the same either way.
                is_gzip = frozen.snapshot.feed.gzip and feed.gzip
                ending = self._send(frozen.snapshot, secret, turn, is_gzip=is_gzip)
            return self._end(ending)

    def put_off(self, error: Transient) -> None:
        """Give the chunk back, to be continued later."""
        with self._process.database.transaction() as connection:
            chunks.put_off(connection, self._claimed, self._token, self._limits.retry_after_s, str(error))

    def stop_run(self, error: SyncError) -> None:
        """Give the chunk up and fail its run."""
        with self._process.database.transaction() as connection:
            chunks.give_up(connection, self._claimed, self._token, str(error))
            moves.fail(connection, self._claimed.run_id, error)

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
                with self._process.database.transaction() as connection:
                    return chunks.finish(connection, self._claimed, self._token)
            case Yielded(wait_s=wait_s, reason=reason, is_silent=is_silent):
                _log.info("chunk_yielded", wait_s=wait_s, reason=reason, is_silent=is_silent)
                with self._process.database.transaction() as connection:
                    messages = chunks.put_off(connection, self._claimed, self._token, wait_s, reason)
                    if wait_s > 0:
                        most_s = self._limits.silence_max_s if is_silent else None
                        dispatching.hold(connection, self._claimed.run_id, wait_s, most_s=most_s)
                return messages
            case Stopped(error=error):
                raise error
            case _:
                assert_never(ending)

    async def _record(self, progress: Progress) -> None:
        await asyncio.to_thread(self._save, progress)

    def _save(self, progress: Progress) -> None:
        file = self._keep(progress.rejects) if progress.rejects else None
        with self._process.database.transaction() as connection:
            is_wanted = chunks.record(
                connection,
                self._claimed,
                self._token,
                progress,
                lease_s=self._limits.upload_lease_s,
                rejects=file,
            )
            if self._turn is not None and self._turn.lookback is not None:
                sent = self._turn.accepted_between(self._position, progress)
                accepted.keep(connection, self._claimed.pipeline_id, self._turn.lookback.to_keep(sent))
        self._position = progress.position
        if progress.rejects:
            _log.warning("rows_rejected", rejected=len(progress.rejects))
        self._is_wanted = is_wanted

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
    snapshot = Snapshot.model_validate(run.snapshot)
    plan = MappingPlan.from_json(snapshot.mapping)
    return Frozen(snapshot, plan, run.window), Encoder(plan, checks=Checks.from_json(snapshot.checks))


def _require_same_feed(feed: Feed, snapshot: Snapshot) -> None:
    """Refuse to show the feed's secret to an address, or to send ids under a key, that the run was not planned for."""
    if (feed.base_url, feed.api_key) != (snapshot.feed.base_url, snapshot.feed.api_key):
        raise DeclarationInvalid(
            f"feed {feed.id!r}: its base_url or api_key is not what this run was planned with, and mParticle knows ids "
            "by key; declare it as it was and retry the run, or abandon it: its window is then read for the new one"
        )
