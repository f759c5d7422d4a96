"""Rejected rows as a stream: what a replay reads instead of a warehouse."""

import threading
from collections.abc import Callable, Iterator, Sequence

import pyarrow as pa

from shared.errors import SpoolUnavailable
from shared.rejects import of_codes, rows_again
from shared.store.replays import Taken


class RejectedRows:
    """The rows that a replay took, file after file; a ``RecordStream`` that cannot be continued.

    Memory holds one file. All rows come in the columns and types of ``schema``, which is that of the first file.

    Args:
        taken: What to read of which files.
        read: Reads one file whole.
        schema: What every batch looks like.
        batch_rows: How many rows a batch has at most.
    """

    start = None
    position = None

    def __init__(
        self, taken: Sequence[Taken], read: Callable[[Taken], pa.Table], *, schema: pa.Schema, batch_rows: int
    ) -> None:
        self.schema = schema
        self._taken = taken
        self._read = read
        self._batch_rows = batch_rows
        self._is_cancelled = threading.Event()

    def __iter__(self) -> Iterator[pa.RecordBatch]:
        """Give batch after batch.

        Raises:
            ColumnMissing: a file's rows have other columns than the first one's.
            ChunkCorrupt: a file is missing or changed.
            SpoolUnavailable: the spool does not answer, or ``cancel`` was called.
        """
        for one in self._taken:
            table = rows_again(of_codes(self._read(one), one.codes), self.schema)
            for batch in table.to_batches(max_chunksize=self._batch_rows):
                if self._is_cancelled.is_set():
                    raise SpoolUnavailable("reading rejected rows was cancelled")
                yield batch

    def cancel(self) -> None:
        """End reading at the next batch; repeating, or too late, is fine."""
        self._is_cancelled.set()
