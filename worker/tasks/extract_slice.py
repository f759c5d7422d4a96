"""``warehouse_sync.extract_slice``: read one slice into the spool, then publish it whole."""

from contextlib import suppress
from typing import assert_never
from uuid import uuid4

import pyarrow as pa
from celery import shared_task

from shared import sql
from shared.catalog import Connection
from shared.errors import LedgerUnbalanced, SpoolTooSmall, SpoolUnavailable, SyncError, Transient
from shared.messages import Message, TaskName, read_payload
from shared.run import ChunkId, Run, SliceId, Token
from shared.snapshot import Snapshot
from shared.spool import SpooledFile
from shared.store import chunks, declared, moves, runs, slices
from shared.store.claims import ClaimLost, fresh_token
from shared.store.slices import ClaimedSlice, NewChunk
from shared.telemetry import bound, log
from worker import room
from worker.extract import extract
from worker.heartbeat import heartbeat
from worker.process import Process
from worker.tasks.boundary import deliver, recorded, this_process
from worker.warehouses.registry import open_warehouse

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
        if claimed is None or run is None:
            _log.info("message_out_of_date")
            return
        with bound(run_id=str(run.id), pipeline_id=run.pipeline_id, slice_no=claimed.no):
            attempt = _Attempt(process, run, claimed, token)
            with recorded(put_off=attempt.put_off, stop_run=attempt.stop_run):
                deliver(process, attempt.make())


class _Attempt:
    """One claimant's attempt at one slice: visible to others only if it publishes."""

    def __init__(self, process: Process, run: Run, claimed: ClaimedSlice, token: Token) -> None:
        self._process = process
        self._limits = process.settings
        self._run = run
        self._claimed = claimed
        self._token = token
        self._new: list[NewChunk] = []
        self._rows_read = 0
        self._bytes_spooled = 0

    def make(self) -> list[Message]:
        """Extract and publish, or put the slice off while the spool has no room."""
        held = self._no_room()
        if held is not None:
            _log.warning("slice_held", reason=held)
            self._give_back(held)
            return []
        is_published = False
        try:
            rows = self._read()
            messages = self._publish(rows)
            is_published = True
        except ClaimLost:
            with suppress(ClaimLost):  # Still ours where the run was only stopped: let a retry start at once.
                self._give_back("its run was stopped")
            raise
        finally:
            if not is_published:
                self._process.spool.remove_slice(self._run.id, self._claimed.no, self._token)
        _log.info("slice_published", rows=rows, chunks=len(self._new), bytes=self._bytes_spooled)
        return messages

    def put_off(self, error: Transient) -> None:
        """Give the slice back, to be read from its beginning later."""
        self._give_back(str(error))

    def stop_run(self, error: SyncError) -> None:
        """Give the slice back and fail its run."""
        with self._process.database.transaction() as connection:
            moves.fail(connection, self._run.id, error)
        self._give_back(str(error))

    def _give_back(self, why: str) -> None:
        with self._process.database.transaction() as connection:
            slices.put_off(connection, self._claimed.id, self._token, self._limits.retry_after_s, why)

    def _read(self) -> int:
        snapshot = Snapshot.model_validate(self._run.snapshot)
        with self._process.database.transaction() as connection:
            where = declared.get(connection, Connection, snapshot.connection_id)
        with open_warehouse(where, self._limits, label=f"run {self._run.id}") as warehouse:
            query = sql.windowed(
                snapshot.sql_query,
                dialect=warehouse.dialect,
                iterator=_iterator(snapshot),
                window=self._run.window,
            )
            with (
                warehouse.stream(query, batch_rows=self._limits.record_batch_rows) as stream,
                heartbeat(self._renew, lease_s=self._limits.extract_lease_s, on_lost=stream.cancel) as lost,
            ):
                try:
                    extraction = extract(
                        stream,
                        max_rows=snapshot.chunk_max_rows,
                        max_bytes=snapshot.chunk_max_bytes,
                        write=self._write,
                        progress=self._count,
                    )
                except SyncError:
                    if lost.is_set():  # The driver's complaint is only our own cancel.
                        raise ClaimLost from None
                    raise
                if lost.is_set():
                    raise ClaimLost
        return extraction.rows

    def _write(self, table: pa.Table) -> SpooledFile:
        chunk_id = ChunkId(uuid4())
        file = self._process.spool.write_chunk(
            table, run_id=self._run.id, slice_no=self._claimed.no, token=self._token, chunk_id=chunk_id
        )
        self._new.append(NewChunk(chunk_id, len(self._new), file.path, file.checksum, file.rows, file.bytes))
        self._bytes_spooled += file.bytes
        self._require_room()
        return file

    def _count(self, rows_read: int) -> None:
        self._rows_read = rows_read

    def _renew(self) -> bool:
        with self._process.database.transaction() as connection:
            return slices.renew(
                connection,
                self._claimed.id,
                self._token,
                self._limits.extract_lease_s,
                rows_read=self._rows_read,
                bytes_spooled=self._bytes_spooled,
            )

    def _publish(self, rows: int) -> list[Message]:
        written = sum(chunk.rows for chunk in self._new)
        if written != rows:
            raise LedgerUnbalanced(
                f"run {self._run.id}: {rows} rows left the warehouse's driver and {written} were spooled; "
                "nothing was published. Please report this"
            )
        with self._process.database.transaction() as connection:
            is_last = slices.publish(connection, self._claimed, self._token, self._new, extracted=rows)
            messages = chunks.dispatch(connection, self._run.id, self._run.lane, limit=self._limits.run_window_chunks)
        if is_last and not messages:
            return [Message(TaskName.SETTLE_RUN, self._run.id)]
        return messages

    def _no_room(self) -> str | None:
        with self._process.database.transaction() as connection:
            taken, waiting = slices.room_taken(connection), slices.waiting_for_room(connection)
        return room.refusal(
            self._run.pipeline_id,
            taken=taken,
            waiting=waiting,
            soft_bytes=self._limits.spool_soft_bytes,
            hard_bytes=self._limits.spool_hard_bytes,
        )

    def _require_room(self) -> None:
        with self._process.database.transaction() as connection:
            is_wanted = slices.renew(
                connection,
                self._claimed.id,
                self._token,
                self._limits.extract_lease_s,
                rows_read=self._rows_read,
                bytes_spooled=self._bytes_spooled,
            )
            taken = slices.room_taken(connection, without=self._claimed.id)
        if not is_wanted:
            raise ClaimLost
        fit = room.fit(
            self._run.pipeline_id,
            taken=taken,
            written=self._bytes_spooled,
            soft_bytes=self._limits.spool_soft_bytes,
            hard_bytes=self._limits.spool_hard_bytes,
        )
        match fit:
            case room.Fit.FITS:
                return
            case room.Fit.TOO_LARGE:
                raise SpoolTooSmall(
                    f"run {self._run.id} needs more than {self._bytes_spooled} bytes of spool after {self._rows_read} "
                    f"rows; the hard limit is {self._limits.spool_hard_bytes}: raise WAREHOUSE_SYNC_SPOOL_HARD_BYTES, "
                    "point WAREHOUSE_SYNC_SPOOL_URL at a larger disk or a bucket, or select fewer rows or columns"
                )
            case room.Fit.CROWDED_OUT:
                raise SpoolUnavailable(
                    f"the spool is full ({self._limits.spool_hard_bytes} bytes), mostly with other pipelines' chunks; "
                    "this slice starts over when their feeds have taken some"
                )
            case _:
                assert_never(fit)


def _iterator(snapshot: Snapshot) -> sql.Iterator | None:
    frozen = snapshot.iterator
    return None if frozen is None else sql.Iterator(frozen.column, frozen.type, frozen.zone)
