"""Rejected rows with their values, codes and reasons, as the table that the spool keeps (pure)."""

from collections.abc import Sequence
from typing import Final

import pyarrow as pa

from shared.ledger import Reject
from shared.rejects import CODE, REASON, ROW

_PLAIN: Final = {pa.string_view(): pa.string(), pa.binary_view(): pa.binary()}


def reject_table(rows: pa.Table, rejects: Sequence[Reject]) -> pa.Table:
    """Give the rejected rows of a chunk: their own columns, then position in the chunk, code and reason."""
    positions = pa.array([reject.row for reject in rejects], pa.int64())
    kept = [_taken(column, positions) for column in rows.columns]
    fields = [field.with_type(column.type) for field, column in zip(rows.schema, kept, strict=True)]
    return (
        pa.Table.from_arrays(kept, schema=pa.schema(fields, rows.schema.metadata))
        .append_column(ROW, positions)
        .append_column(CODE, pa.array([reject.code.value for reject in rejects], pa.string()))
        .append_column(REASON, pa.array([reject.reason for reject in rejects], pa.string()))
    )


def _taken(column: pa.ChunkedArray, positions: pa.Array) -> pa.ChunkedArray:
    plain = _PLAIN.get(column.type)
    if plain is not None:
        column = column.cast(plain)
    try:
        return column.take(positions)
    except pa.ArrowNotImplementedError:
        # Arrow 26 cannot take from views, nor from runs.
        pieces = [column.slice(row, 1).chunk(0) for row in positions.to_pylist()]
        return pa.chunked_array(pieces, column.type)
