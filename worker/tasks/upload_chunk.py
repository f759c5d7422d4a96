"""``warehouse_sync.upload_chunk``: one short attempt at one chunk, continued by a later message if need be."""

import threading
from collections.abc import Collection
from concurrent.futures import CancelledError, Future, wait
from functools import partial
from typing import Final, assert_never

from celery import shared_task

from shared.credentials import require_allowed_host, resolve
from shared.errors import SyncError, Transient
from shared.feed import Feed
from shared.limits import EventName
from shared.messages import Message, TaskName, read_payload
from shared.run import ChunkId, Token
from shared.secret_fields import purpose
from shared.snapshot import Snapshot
from shared.store import chunks, declared, dispatching, event_names, moves
from shared.store.chunks import ClaimedChunk
from shared.store.claims import ClaimLost, fresh_token
from shared.store.tables import chunks as chunks_table
from shared.telemetry import bound, log
from shared.trace_export import Value
from shared.tracing import Span
from worker.heartbeat import heartbeat
from worker.mparticle.client import FeedClient
from worker.mparticle.quota import Quota
from worker.process import Process, is_shutting_down
from worker.stale import instants_in
from worker.tasks.boundary import deliver, queued_s, recorded, this_process, traced
from worker.tasks.frozen import frozen_of, require_same_feed
from worker.tasks.recording import Recording, Steps
from worker.tasks.turns import Turn, turn_of
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
            attempt.recording.hand_in()


class _Attempt:
    """One claimant's attempt at one chunk, from where the chunk stands to where the attempt gets."""

    def __init__(self, process: Process, claimed: ClaimedChunk, token: Token, span: Span) -> None:
        self._process = process
        self._limits = process.settings
        self._claimed = claimed
        self._token = token
        self._span = span
        self._feed: Feed | None = None
        self._sending: Future[Ending] | None = None
        self._is_lost = threading.Event()
        self.recording = Recording(process, claimed, token)

    def make(self) -> list[Message]:
        """Send what is not settled yet, and record how that ended."""
        claimed = self._claimed
        frozen, encoder = frozen_of(self._process, claimed.run_id)
        with self._process.database.transaction() as connection:
            self._feed = feed = declared.get(connection, Feed, frozen.snapshot.feed.id)
        require_same_feed(feed, frozen.snapshot)
        require_allowed_host(feed, self._limits)
        secret = resolve(feed.api_secret, self._limits, purpose=purpose(feed))
        table = self._process.spool.read_chunk(claimed.path, claimed.checksum)
        with heartbeat(self._renew, lease_s=self._limits.upload_lease_s, on_lost=self._let_go):
            # Judging by a data plan may take as long as a lease.
            with _encoding:
                prepared = encoder.prepare(
                    table,
                    chunk_id=str(claimed.id),
                    age=instants_in(table, frozen.snapshot),
                    beyond=partial(self._beyond, frozen.snapshot.feed.workspace),
                )
            with turn_of(self._process, claimed, self._token, frozen, table, prepared) as turn:
                # Switching it off helps a run that was planned with it: the batches are the same either way.
                is_gzip = frozen.snapshot.feed.gzip and feed.gzip
                steps = Steps(self.recording, self._span, frozen=frozen, table=table, prepared=prepared, turn=turn)
                ending = self._send(frozen.snapshot, secret, turn, steps, is_gzip=is_gzip)
            return self._end(ending)

    def _beyond(self, workspace: str, names: Collection[EventName]) -> set[EventName]:
        """Say which names are beyond the workspace's limit; each that is new has its place from now on."""
        with self._process.database.transaction() as connection:
            return event_names.register(connection, workspace, names)

    def put_off(self, error: Transient) -> None:
        """Give the chunk back, to be continued later."""
        with self.recording.transaction() as connection:
            chunks.put_off(connection, self._claimed, self._token, self._limits.retry_after_s, str(error))

    def stop_run(self, error: SyncError) -> None:
        """Give the chunk up and fail its run; only the chunk back where its feed has another secret by now.

        Its run may have been reopened for that secret meanwhile, and what was refused says nothing about it.
        """
        with self.recording.transaction() as connection:
            shown = self._feed
            if shown is not None and declared.get(connection, Feed, shown.id).api_secret != shown.api_secret:
                chunks.put_off(connection, self._claimed, self._token, self._limits.retry_after_s, str(error))
                return
            chunks.give_up(connection, self._claimed, self._token, str(error))
            moves.fail(connection, self._claimed.run_id, error)

    def _send(self, snapshot: Snapshot, secret: str, turn: Turn, steps: Steps, *, is_gzip: bool) -> Ending:
        """Send until everything is settled, or the turn or the attempt is over; no request is under way afterwards."""
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
                note=self.recording.tally.note,
            ),
            governor=Quota(
                self._process.governor,
                snapshot.feed.quota_group,
                snapshot.feed.batches_per_s,
                lane=self._claimed.lane,
            ),
            limits=UploadLimits.of(self._limits),
            record=steps.record,
            stopping=lambda: is_shutting_down() or not steps.is_wanted or turn.is_over,
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
                with self.recording.transaction() as connection:
                    return chunks.finish(connection, self._claimed, self._token)
            case Yielded(wait_s=wait_s, reason=reason, is_silent=is_silent):
                _log.info("chunk_yielded", wait_s=wait_s, reason=reason, is_silent=is_silent)
                self._span.note(is_finished=False, wait_s=wait_s, is_silent=is_silent)
                with self.recording.transaction() as connection:
                    messages = chunks.put_off(connection, self._claimed, self._token, wait_s, reason)
                    if wait_s > 0:
                        most_s = self._limits.silence_max_s if is_silent else None
                        dispatching.hold(connection, self._claimed.run_id, wait_s, most_s=most_s)
                return messages
            case Stopped(error=error):
                raise error
            case _:
                assert_never(ending)

    def _renew(self) -> bool:
        with self._process.database.transaction() as connection:
            chunks.renew(connection, self._claimed.id, self._token, self._limits.upload_lease_s)
        return True


def _of(claimed: ClaimedChunk) -> dict[str, Value | None]:
    return {
        "pipeline_id": claimed.pipeline_id,
        "lane": claimed.lane.value,
        "chunk_id": str(claimed.id),
        "chunk_no": claimed.no,
        "attempt": claimed.attempt,
        "rows": claimed.rows,
    }
