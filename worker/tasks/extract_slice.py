"""``warehouse_sync.extract_slice``: read one slice into the spool, then publish it whole."""

from contextlib import suppress

from celery import shared_task

from shared import sql
from shared.catalog import Connection
from shared.errors import LedgerUnbalanced, SyncError, Transient
from shared.messages import Message, TaskName, read_payload
from shared.run import Run, SliceId, Token
from shared.snapshot import Snapshot
from shared.store import chunks, declared, moves, runs, slices
from shared.store.claims import ClaimLost, fresh_token
from shared.store.slices import ClaimedSlice
from shared.telemetry import bound, log
from worker import room
from worker.extract import extract
from worker.heartbeat import heartbeat
from worker.process import Process, is_shutting_down
from worker.tasks.boundary import deliver, recorded, this_process
from worker.tasks.spooling import Spooling
from worker.warehouses.base import Label, RecordStream
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
    """One claimant's attempt at one slice: visible to others only if it publishes.

    Files that were not published are removed, unless the store broke off while publishing: whether they are visible is
    then unknown, and giving the slice back finds out. If that cannot be done either, upkeep frees the lapsed claim,
    which exists only where nothing was published, and removes them.
    """

    def __init__(self, process: Process, run: Run, claimed: ClaimedSlice, token: Token) -> None:
        self._process = process
        self._limits = process.settings
        self._run = run
        self._claimed = claimed
        self._token = token
        self._spooling = Spooling(process, run, claimed, token)
        self._stream: RecordStream | None = None
        self._may_be_published = False

    def make(self) -> list[Message]:
        """Extract and publish, or put the slice off while the spool has no room."""
        held = self._no_room()
        if held is not None:
            _log.warning("slice_held", reason=held)
            self._give_back(held, self._limits.retry_after_s)
            return []
        try:
            rows = self._read()
            messages = self._publish(rows)
        except ClaimLost:
            with suppress(ClaimLost):  # Still ours where only the run or this worker was stopped: others may start.
                self._give_back("its reading was interrupted", 0)
            raise
        finally:
            if not self._may_be_published:
                self._remove_files()
        _log.info("slice_published", rows=rows, chunks=len(self._spooling.chunks), bytes=self._spooling.bytes)
        return messages

    def put_off(self, error: Transient) -> None:
        """Give the slice back, to be read from its beginning later."""
        self._give_back(str(error), self._limits.retry_after_s)
        self._remove_files()

    def stop_run(self, error: SyncError) -> None:
        """Give the slice back and fail its run."""
        with self._process.database.transaction() as connection:
            slices.put_off(connection, self._claimed.id, self._token, 0, str(error))
            moves.fail(connection, self._run.id, error)
        self._remove_files()

    def _give_back(self, why: str, wait_s: float) -> None:
        with self._process.database.transaction() as connection:
            slices.put_off(connection, self._claimed.id, self._token, wait_s, why)

    def _remove_files(self) -> None:
        self._process.spool.remove_slice(self._run.id, self._claimed.no, self._token)

    def _read(self) -> int:
        snapshot = Snapshot.model_validate(self._run.snapshot)
        with self._process.database.transaction() as connection:
            where = declared.get(connection, Connection, snapshot.connection_id)
        with heartbeat(
            self._spooling.renew,
            lease_s=self._limits.extract_lease_s,
            on_lost=self._interrupt,
            is_ending=is_shutting_down,
        ) as lost:
            try:
                with open_warehouse(
                    where, self._limits, label=Label(f"run {self._run.id}", self._run.pipeline_id)
                ) as warehouse:
                    query = sql.windowed(
                        snapshot.sql_query,
                        dialect=warehouse.dialect,
                        iterator=_iterator(snapshot),
                        window=self._run.window,
                    )
                    with warehouse.stream(query, batch_rows=self._limits.record_batch_rows) as stream:
                        self._stream = stream
                        extraction = extract(
                            stream,
                            max_rows=snapshot.chunk_max_rows,
                            max_bytes=snapshot.chunk_max_bytes,
                            write=self._spooling.write,
                            progress=self._spooling.count,
                        )
            except SyncError:
                if lost.is_set():  # The driver's complaint is only our own cancel.
                    raise ClaimLost from None
                raise
            if lost.is_set():
                raise ClaimLost
        return extraction.rows

    def _interrupt(self) -> None:
        if self._stream is not None:
            self._stream.cancel()

    def _publish(self, rows: int) -> list[Message]:
        written = sum(chunk.rows for chunk in self._spooling.chunks)
        if written != rows:
            raise LedgerUnbalanced(
                f"run {self._run.id}: {rows} rows left the warehouse's driver and {written} were spooled; "
                "nothing was published. Please report this"
            )
        self._may_be_published = True
        try:
            with self._process.database.transaction() as connection:
                is_last = slices.publish(connection, self._claimed, self._token, self._spooling.chunks, extracted=rows)
                messages = chunks.dispatch(
                    connection, self._run.id, self._run.lane, limit=self._limits.run_window_chunks
                )
        except ClaimLost:  # Rolled back for certain; of whatever else happens here, only the store knows.
            self._may_be_published = False
            raise
        if is_last and not messages:
            return [Message(TaskName.SETTLE_RUN, self._run.id)]
        return messages

    def _no_room(self) -> str | None:
        with self._process.database.transaction() as connection:
            taken, waiting = slices.room_taken(connection), slices.waiting_for_room(connection)
        return room.refusal(
            slices.holder(self._run),
            taken=taken,
            waiting=waiting,
            soft_bytes=self._limits.spool_soft_bytes,
            hard_bytes=self._limits.spool_hard_bytes,
        )


def _iterator(snapshot: Snapshot) -> sql.Iterator | None:
    frozen = snapshot.iterator
    return None if frozen is None else sql.Iterator(frozen.column, frozen.type, frozen.zone, frozen.warehouse_type)
