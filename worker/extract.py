"""Window to spool: read a result, cut it into chunks, write each, and count the rows independently.

A result that can be continued is read in parts: a part ends at a position that the stream told, after a few chunks, so
that uploading overlaps reading and a restart goes on where the last part ended.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pyarrow as pa

from shared.run import Position
from shared.spool import SpooledFile
from worker.chunk import cut
from worker.warehouses.base import RecordStream


@dataclass(frozen=True, slots=True)
class Extraction:
    """What was read and written of one part.

    ``rows`` is counted as record batches leave the driver, not from ``files``: that the files hold as many is for
    the caller to check. ``rest`` is where what follows begins; ``None`` where nothing follows.
    """

    rows: int
    files: tuple[SpooledFile, ...]
    rest: Position | None


def extract(
    stream: RecordStream,
    *,
    max_rows: int,
    max_bytes: int,
    part_chunks: int,
    write: Callable[[pa.Table], SpooledFile],
    progress: Callable[[int], None],
) -> Iterator[Extraction]:
    """Read a stream into chunks of at most ``max_rows`` rows and ``max_bytes`` Arrow bytes, part after part.

    ``write`` is given each chunk as soon as it is full, in order. ``progress`` is told the rows of the part read
    so far with every record batch. Either may raise to stop. Nothing is published here, and nothing is read ahead of
    what the caller takes. A part ends at the stream's first position after ``part_chunks`` chunks; the last one ends
    with the stream. No rows make no chunk.
    """
    batches = iter(stream)
    rest: Position | None = None
    while True:
        part = _Part(batches, stream, part_chunks, progress)
        for table in cut(part, schema=stream.schema, max_rows=max_rows, max_bytes=max_bytes):
            part.files.append(write(table))
        rest = part.rest
        yield Extraction(part.rows, tuple(part.files), rest)
        if rest is None:
            return


class _Part:
    """The record batches of one part, counted as they pass."""

    def __init__(
        self,
        batches: Iterator[pa.RecordBatch],
        stream: RecordStream,
        part_chunks: int,
        progress: Callable[[int], None],
    ) -> None:
        self.rows = 0
        self.files: list[SpooledFile] = []
        self.rest: Position | None = None
        self._batches = batches
        self._stream = stream
        self._part_chunks = part_chunks
        self._progress = progress

    def __iter__(self) -> Iterator[pa.RecordBatch]:
        for batch in self._batches:
            self.rows += batch.num_rows
            self._progress(self.rows)
            yield batch
            del batch  # Otherwise it would live until the next one has been read.
            if len(self.files) >= self._part_chunks and self._stream.position is not None:
                self.rest = self._stream.position
                return
