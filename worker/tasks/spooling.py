"""What an extraction writes while nobody sees it: chunks at rest, the lease that protects them, and their room."""

from typing import assert_never
from uuid import uuid4

import pyarrow as pa

from shared.errors import SpoolTooSmall, SpoolUnavailable, StoreUnavailable
from shared.run import ChunkId, Run, Token
from shared.spool import SpooledFile
from shared.store import slices
from shared.store.claims import ClaimLost
from shared.store.slices import ClaimedSlice, NewChunk
from shared.telemetry import log
from worker import room
from worker.process import Process

_log = log(__name__)


class Spooling:
    """The files of one claimed slice, as far as they are written."""

    def __init__(self, process: Process, run: Run, claimed: ClaimedSlice, token: Token) -> None:
        self.chunks: list[NewChunk] = []
        self.bytes = 0
        self._process = process
        self._limits = process.settings
        self._run = run
        self._claimed = claimed
        self._token = token
        self._rows_read = 0

    def count(self, rows_read: int) -> None:
        """Take note of how many rows have left the driver."""
        self._rows_read = rows_read

    def write(self, table: pa.Table) -> SpooledFile:
        """Write one chunk, and see that there is room for it and somebody still wants it.

        Raises:
            ClaimLost: the slice was given away, or its run was stopped.
            SpoolTooSmall: the slice alone outgrows the spool.
            SpoolUnavailable: others hold the room, or the disk is full.
        """
        chunk_id = ChunkId(uuid4())
        file = self._process.spool.write_chunk(
            table, run_id=self._run.id, slice_no=self._claimed.no, token=self._token, chunk_id=chunk_id
        )
        self.chunks.append(NewChunk(chunk_id, len(self.chunks), file.path, file.checksum, file.rows, file.bytes))
        self.bytes += file.bytes
        self._require_room()
        return file

    def renew(self) -> bool:
        """Push the lease ahead, show how far reading is, and say whether the run is still being worked on."""
        with self._process.database.transaction() as connection:
            return slices.renew(
                connection,
                self._claimed.id,
                self._token,
                self._limits.extract_lease_s,
                rows_read=self._rows_read,
                bytes_spooled=self.bytes,
            )

    def _require_room(self) -> None:
        try:
            is_wanted = self.renew()
            with self._process.database.transaction() as connection:
                taken = slices.room_taken(connection, without=self._claimed.id)
        except StoreUnavailable as error:
            # Reading goes on: whether the claim stood is found out when the slice is published.
            _log.warning("room_not_counted", error=str(error))
            return
        if not is_wanted:
            raise ClaimLost
        fit = room.fit(taken=taken, written=self.bytes, hard_bytes=self._limits.spool_hard_bytes)
        match fit:
            case room.Fit.FITS:
                return
            case room.Fit.TOO_LARGE:
                raise SpoolTooSmall(
                    f"run {self._run.number} needs more than {self.bytes} bytes of spool after {self._rows_read} rows; "
                    f"the hard limit is {self._limits.spool_hard_bytes}: raise WAREHOUSE_SYNC_SPOOL_HARD_BYTES, point "
                    "WAREHOUSE_SYNC_SPOOL_URL at a larger disk or a bucket, or select fewer rows or columns"
                )
            case room.Fit.CROWDED_OUT:
                raise SpoolUnavailable(
                    f"the spool is full ({self._limits.spool_hard_bytes} bytes), mostly with other runs' chunks; "
                    "this slice starts over when some of those runs have settled"
                )
            case _:
                assert_never(fit)
