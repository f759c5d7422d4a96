"""``warehouse_sync.extract_slice``: read one slice into the spool, then publish it whole.

Where the warehouse's result can be continued, a slice ends after a few chunks; what follows becomes the next slice,
which the same attempt goes on to read while the first is uploaded.
"""

import threading
from contextlib import suppress
from dataclasses import replace

import pyarrow as pa
from celery import shared_task

from shared.errors import LedgerUnbalanced, ResultExpired, SyncError, Transient, WarehouseBusy
from shared.messages import Message, TaskName, read_payload
from shared.run import HeldFor, Run, SliceId, Token
from shared.snapshot import read_snapshot
from shared.spool import SpooledFile
from shared.store import dispatching, moves, runs, slices
from shared.store.claims import ClaimLost, fresh_token
from shared.store.slices import ClaimedSlice, Published
from shared.store.tables import slices as slices_table
from shared.telemetry import bound, log
from shared.tracing import Span, ids_of
from worker import room
from worker.extract import Extraction, extract
from worker.heartbeat import heartbeat
from worker.process import Process, is_shutting_down
from worker.tasks.boundary import deliver, queued_s, recorded, this_process, traced
from worker.tasks.sources import rows_of
from worker.tasks.spooling import Spooling
from worker.warehouses.base import RecordStream

_log = log(__name__)


@shared_task(name=TaskName.EXTRACT_SLICE.value, acks_late=False)
def extract_slice(payload: object) -> None:
    """Read the slice that the payload names, once, whoever sends it how often."""
    slice_id = SliceId(read_payload(payload))
    with bound(slice_id=str(slice_id)), recorded():
        process = this_process()
        token = fresh_token()
        with process.database.transaction() as connection:
            claimed = slices.claim(connection, slice_id, token, process.settings.extract_lease_s)
            run = runs.get(connection, claimed.run_id) if claimed else None
            waited_s = queued_s(connection, slices_table, slice_id) if claimed else None
        if claimed is None or run is None:
            _log.info("message_out_of_date")
            return
        with bound(run_id=str(run.id), pipeline_id=run.pipeline_id, slice_no=claimed.no):
            span = traced(TaskName.EXTRACT_SLICE, run.id, **ids_of(run), slice_no=claimed.no, queued_s=waited_s)
            attempt = _Attempt(process, run, claimed, token, span)
            with recorded(put_off=attempt.put_off, stop_run=attempt.stop_run), span:
                attempt.make()


class _Attempt:
    """One claimant's attempt at one slice, and at those that follow it in a result that can be continued.

    A slice becomes visible only if it is published. Files that were not published are removed, unless the store broke
    off while publishing: whether they are visible is then unknown, and giving the slice back finds out. If that cannot
    be done either, upkeep frees the lapsed claim, which exists only where nothing was published, and removes them.
    """

    def __init__(self, process: Process, run: Run, claimed: ClaimedSlice, token: Token, span: Span) -> None:
        self._process = process
        self._limits = process.settings
        self._run = run
        self._claimed = claimed
        self._token = token
        self._span = span
        self._spooling = Spooling(process, run, claimed, token)
        self._stream: RecordStream | None = None
        self._may_be_published = False
        self._is_held = False
        self._is_first = run.slices_published == 0
        # Held while one slice gives way to the next: the heartbeat must not renew the one that is just published.
        self._turn = threading.Lock()

    def make(self) -> None:
        """Extract and publish, as far as the spool has room."""
        if not self._has_room():
            return
        try:
            last = self._read()
            if last is not None:
                self._publish(last)
        except ClaimLost:
            with suppress(ClaimLost):  # Still ours where only the run or this worker was stopped: others may start.
                self._give_back("its reading was interrupted", 0)
            raise
        finally:
            if not self._may_be_published:
                self._remove_files()

    def put_off(self, error: Transient) -> None:
        """Give the slice back, to be read from where it begins later."""
        self._give_back(str(error), self._limits.retry_after_s)
        self._remove_files()

    def stop_run(self, error: SyncError) -> None:
        """Give the slice back and fail its run."""
        with self._process.database.transaction() as connection:
            slices.put_off(connection, self._claimed.id, self._token, 0, str(error))
            moves.fail(connection, self._run.id, error)
        self._remove_files()

    def _read(self) -> Extraction | None:
        """Read and publish part after part; give the last part unpublished, or nothing where no more may be read."""
        with heartbeat(
            self._renew, lease_s=self._limits.extract_lease_s, on_lost=self._interrupt, is_ending=is_shutting_down
        ) as lost:
            try:
                last = self._read_parts(lost)
            except SyncError as error:
                if lost.is_set():  # The driver's complaint is only our own cancel.
                    raise ClaimLost from None
                if isinstance(error, ResultExpired) and self._is_first:
                    raise self._begun_anew(error) from None
                raise
            if lost.is_set():
                raise ClaimLost
        return last

    def _read_parts(self, lost: threading.Event) -> Extraction | None:
        snapshot = read_snapshot(self._run.number, self._run.snapshot)
        with (
            self._span.part("query"),
            rows_of(self._process, self._run, snapshot, self._claimed.position) as stream,
        ):
            self._stream = stream
            if lost.is_set():  # While the stream was opened there was nothing to cancel.
                raise ClaimLost
            parts = extract(
                stream,
                max_rows=snapshot.chunk_max_rows,
                max_bytes=snapshot.chunk_max_bytes,
                part_chunks=self._limits.slice_chunks,
                write=self._write,
                progress=self._count,
            )
            part = next(parts)
            while part.rest is not None:
                self._publish(part)
                if self._is_held or not self._has_room():
                    return None
                part = next(parts)
            return part

    def _write(self, table: pa.Table) -> SpooledFile:
        return self._spooling.write(table)

    def _count(self, rows_read: int) -> None:
        """Take note of what was read and, once it is known, of where: another reader then reads the same result."""
        self._spooling.count(rows_read)
        start = None if self._stream is None else self._stream.start
        if self._claimed.position is None and start is not None:
            with self._process.database.transaction() as connection:
                slices.begin_at(connection, self._claimed.id, self._token, start)
            self._claimed = replace(self._claimed, position=start)

    def _begun_anew(self, error: ResultExpired) -> WarehouseBusy:
        """Forget an expired result of which nothing was published, so that the query is run again."""
        with self._process.database.transaction() as connection:
            slices.begin_at(connection, self._claimed.id, self._token, None)
        return WarehouseBusy(f"{error}; nothing of it was published yet, so the query is run again")

    def _publish(self, part: Extraction) -> None:
        """Make the slice visible; where more of its result follows, that is the next slice, and ours."""
        written = sum(chunk.rows for chunk in self._spooling.chunks)
        if written != part.rows:
            raise LedgerUnbalanced(
                f"run {self._run.number}: {part.rows} rows were read and {written} were spooled; "
                "nothing of the slice was published. Please report this"
            )
        with self._turn:
            spooled = self._spooling
            self._may_be_published = True
            try:
                messages = self._published(part)
            except ClaimLost:  # Rolled back for certain; of whatever else happens here, only the store knows.
                self._may_be_published = False
                raise
        self._span.count(slices=1, rows=part.rows, chunks=len(spooled.chunks), bytes=spooled.bytes)
        _log.info("slice_published", rows=part.rows, chunks=len(spooled.chunks), bytes=spooled.bytes)
        deliver(self._process, messages)

    def _published(self, part: Extraction) -> list[Message]:
        with self._process.database.transaction() as connection:
            following = None
            if part.rest is None:
                published = slices.publish(
                    connection, self._claimed, self._token, self._spooling.chunks, extracted=part.rows
                )
            else:
                following = slices.publish_and_continue(
                    connection,
                    self._claimed,
                    self._token,
                    self._spooling.chunks,
                    extracted=part.rows,
                    position=part.rest,
                    lease_s=self._limits.extract_lease_s,
                )
                published = Published.IS_HELD if following is None else Published.GOES_ON
            messages: list[Message] = []
            if published is not Published.IS_HELD:
                messages = dispatching.dispatch(
                    connection, self._run.id, self._run.lane, limit=self._limits.run_window_chunks
                )
        if published is Published.IS_HELD:
            self._is_held = True
            _log.warning("run_held", held_for=HeldFor.VOLUME_UNUSUAL)
        if following is not None:
            self._claimed = following
            self._spooling = Spooling(self._process, self._run, following, self._token)
            self._is_first = self._may_be_published = False
        if published is Published.IS_READ and not messages:
            return [Message(TaskName.SETTLE_RUN, self._run.id)]
        return messages

    def _renew(self) -> bool:
        with self._turn:
            return self._spooling.renew()

    def _interrupt(self) -> None:
        if self._stream is not None:
            self._stream.cancel()

    def _has_room(self) -> bool:
        """Say whether the slice may be read now; where the spool has no room for it, give it back."""
        with self._process.database.transaction() as connection:
            taken, waiting = slices.room_taken(connection), slices.waiting_for_room(connection)
        held = room.refusal(
            slices.holder(self._run),
            taken=taken,
            waiting=waiting,
            soft_bytes=self._limits.spool_soft_bytes,
            hard_bytes=self._limits.spool_hard_bytes,
        )
        if held is None:
            return True
        _log.warning("slice_held", reason=held)
        self._span.note(is_held=True)
        self._give_back(held, self._limits.retry_after_s)
        return False

    def _give_back(self, why: str, wait_s: float) -> None:
        with self._process.database.transaction() as connection:
            slices.put_off(connection, self._claimed.id, self._token, wait_s, why)

    def _remove_files(self) -> None:
        self._process.spool.remove_slice(self._run.id, self._claimed.no, self._token)
