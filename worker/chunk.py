# ruff: noqa: A005 - the standard library's chunk is gone from Python 3.13, and imports are absolute
"""Where to cut record batches into chunks (pure).

Chunks are filled in order, each as far as its limits allow, whatever the sizes of the record batches. Memory is
bounded by one record batch and the open chunk: what an open chunk keeps of an earlier, larger batch is copied, because
a slice would hold on to all of it.
"""

from collections.abc import Iterable, Iterator

import pyarrow as pa


def cut(batches: Iterable[pa.RecordBatch], *, schema: pa.Schema, max_rows: int, max_bytes: int) -> Iterator[pa.Table]:
    """Cut a stream of record batches into chunks.

    Every row is in exactly one chunk, in order. No chunk is empty, has more than ``max_rows`` rows, or more than
    ``max_bytes`` of Arrow data (``nbytes``), except that a row that is larger by itself is a chunk of its own.

    Raises:
        ValueError: a batch has another schema than the stream.
    """
    opened: list[pa.RecordBatch] = []
    rows = size = 0
    for batch in batches:
        if not batch.schema.equals(schema):
            raise ValueError(f"a record batch has columns {batch.schema} where the stream promised {schema}")
        position = 0
        while position < batch.num_rows:
            taken = _fitting(batch, position, max_rows=max_rows - rows, max_bytes=max_bytes - size)
            if taken == 0 and opened:
                yield pa.Table.from_batches(opened, schema)
                opened, rows, size = [], 0, 0
                continue
            opened.append(batch.slice(position, max(taken, 1)))
            rows += opened[-1].num_rows
            size += opened[-1].nbytes
            position += opened[-1].num_rows
        if opened and opened[-1].num_rows < batch.num_rows:
            opened[-1] = _copied(opened[-1])
        del batch  # Otherwise it would live until the next one has been read.
    if opened:
        yield pa.Table.from_batches(opened, schema)


def _fitting(batch: pa.RecordBatch, position: int, *, max_rows: int, max_bytes: int) -> int:
    """Give how many rows of a batch from ``position`` fit; a slice's size never shrinks as it grows longer."""
    fits, too_many = 0, min(max_rows, int(batch.num_rows) - position) + 1
    if batch.slice(position, too_many - 1).nbytes <= max_bytes:
        return too_many - 1
    while too_many - fits > 1:
        middle = (fits + too_many) // 2
        if batch.slice(position, middle).nbytes <= max_bytes:
            fits = middle
        else:
            too_many = middle
    return fits


def _copied(piece: pa.RecordBatch) -> pa.RecordBatch:
    columns = [pa.concat_arrays([column]) for column in piece.columns]
    return pa.RecordBatch.from_arrays(columns, schema=piece.schema)
