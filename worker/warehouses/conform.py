"""Record batches made to fit the schema that their stream promised.

Some drivers let a column's type follow the values of each batch (the smallest integer that holds them, all NULL as
null); others send parts of another size than was asked for. Chunks are immutable and their encoding is compiled once,
so both end here.
"""

from collections.abc import Iterator

import pyarrow as pa

from shared.errors import ModelInvalid
from worker.warehouses.base import Label


def conform(
    batches: pa.RecordBatch | pa.Table, schema: pa.Schema, *, batch_rows: int, label: Label
) -> Iterator[pa.RecordBatch]:
    """Give the same rows in the schema's types and batches of at most ``batch_rows`` rows; columns by position.

    Raises:
        ModelInvalid: a value does not fit into its column's type; the sentence names the column.
    """
    table = pa.Table.from_batches([batches]) if isinstance(batches, pa.RecordBatch) else batches
    columns = [_cast(column, field, label) for column, field in zip(table.columns, schema, strict=True)]
    yield from pa.Table.from_arrays(columns, schema=schema).to_batches(max_chunksize=batch_rows)


def _cast(column: pa.ChunkedArray, field: pa.Field, label: Label) -> pa.ChunkedArray:
    if column.type.equals(field.type):
        return column
    try:
        if isinstance(field.type, pa.BaseExtensionType):
            storage = _storage(column).cast(field.type.storage_type)
            chunks = [pa.ExtensionArray.from_storage(field.type, chunk) for chunk in storage.chunks]
            return pa.chunked_array(chunks, type=field.type)
        return _storage(column).cast(field.type)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        # Without its cause: Arrow's sentence quotes the value.
        raise ModelInvalid(
            f"{label}: column {field.name!r} holds a value that does not fit into {field.type}, the type that the "
            f"warehouse announced; cast the column in the data model (it arrived as {column.type})"
        ) from None


def _storage(column: pa.ChunkedArray) -> pa.ChunkedArray:
    if not isinstance(column.type, pa.BaseExtensionType):
        return column
    return pa.chunked_array([chunk.storage for chunk in column.chunks], type=column.type.storage_type)
