"""Window to spool: read a result to its end, cut it into chunks, write each, and count the rows independently."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pyarrow as pa

from shared.spool import SpooledFile
from worker.chunk import cut
from worker.warehouses.base import RecordStream


@dataclass(frozen=True, slots=True)
class Extraction:
    """What was read and written.

    ``rows`` is counted as record batches leave the driver, not from ``files``: that the files hold as many is for
    the caller to check.
    """

    rows: int
    files: tuple[SpooledFile, ...]


def extract(
    stream: RecordStream,
    *,
    max_rows: int,
    max_bytes: int,
    write: Callable[[pa.Table], SpooledFile],
    progress: Callable[[int], None],
) -> Extraction:
    """Read a stream to its end into chunks of at most ``max_rows`` rows and ``max_bytes`` Arrow bytes.

    ``write`` is given each chunk as soon as it is full, in order. ``progress`` is told the rows read
    so far with every record batch. Either may raise to stop. Nothing is published here: the caller closes the stream
    first. No rows make no chunk.
    """
    rows = 0

    def counted() -> Iterator[pa.RecordBatch]:
        nonlocal rows
        for batch in stream:
            rows += batch.num_rows
            progress(rows)
            yield batch
            del batch  # Otherwise it would live until the next one has been read.

    files = tuple(map(write, cut(counted(), schema=stream.schema, max_rows=max_rows, max_bytes=max_bytes)))
    return Extraction(rows, files)
