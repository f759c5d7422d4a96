"""Snowflake's own Arrow, made into the types that were announced, without loss.

On the wire a NUMBER is the smallest integer that holds the unscaled values of one part of the result, TIME and short
timestamps are integers counting units of their scale, and long timestamps structs. The client can convert these
itself, but cuts TIME to microseconds, lets timestamps of scale 7 and 8 overflow unnoticed, and cuts nanoseconds where
another row of the same part lies far away. So its conversion is left out.

Source: the client's ``_internal/nanoarrow_cpp/ArrowIterator/ArrowTableConverter.cpp``.
"""

from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc

from shared.columns import JSON
from shared.errors import ModelInvalid
from worker.warehouses.base import Label
from worker.warehouses.snowflake.columns import unreadable

_UNITS: Final = {"us": 6, "ns": 9}


def announced(batch: pa.RecordBatch, schema: pa.Schema, label: Label) -> pa.Table:
    """Give a batch of the wire in values of the schema's types; integers and decimals may still be narrower.

    Raises:
        ModelInvalid: a value, or the way that a column's values are sent, does not fit; the sentence names the column.
    """
    columns = [
        _column(array, sent, field, label)
        for array, sent, field in zip(batch.columns, batch.schema, schema, strict=True)
    ]
    return pa.table(columns, names=schema.names)


def _column(array: Any, sent: Any, field: Any, label: Label) -> Any:
    scale = int((sent.metadata or {}).get(b"scale", b"0"))
    kind = field.type
    if pa.types.is_decimal(kind) and pa.types.is_integer(array.type):
        return _scaled(array, scale)
    if pa.types.is_time(kind):
        return _counted(array, scale, _UNITS[kind.unit]).cast(kind)
    if pa.types.is_timestamp(kind):
        return _instants(array, scale, field, label)
    if kind.equals(JSON):
        if not pa.types.is_string(array.type):
            raise ModelInvalid(
                f"{label}: column {field.name!r} is structured and arrives as {array.type}; cast it in the data model "
                "to the semi-structured ARRAY, OBJECT or VARIANT"
            )
        return array
    if pa.types.is_struct(array.type):
        raise unreadable(field.name, (sent.metadata or {}).get(b"logicalType", b"STRUCT").decode(), label)
    return array


def _scaled(array: Any, scale: int) -> Any:
    unscaled = array.cast(pa.decimal128(38, 0))
    return pa.Array.from_buffers(pa.decimal128(38, scale), len(array), unscaled.buffers(), offset=unscaled.offset)


def _instants(array: Any, scale: int, field: Any, label: Label) -> Any:
    try:
        counts = _counts(array, scale, _UNITS[field.type.unit])
    except pa.ArrowInvalid:
        # Without its cause: Arrow's sentence may quote the value.
        raise ModelInvalid(
            f"{label}: column {field.name!r} holds a time that cannot be told in nanoseconds, which reach from 1677 to "
            "2262; cast it in the data model to a scale of at most 6, e.g. CAST(... AS TIMESTAMP_NTZ(6))"
        ) from None
    return counts.cast(field.type)


def _counts(array: Any, scale: int, unit: int) -> Any:
    if not pa.types.is_struct(array.type):
        return _counted(array, scale, unit)
    # Flattened, so that a NULL struct makes its members NULL.
    members = dict(zip((member.name for member in array.type), array.flatten(), strict=True))
    if "fraction" not in members:
        return _counted(members["epoch"], scale, unit)
    fraction = pc.divide(members["fraction"].cast(pa.int64()), 10 ** (9 - unit))
    return pc.add_checked(_counted(members["epoch"], 0, unit), fraction)


def _counted(array: Any, scale: int, unit: int) -> Any:
    return pc.multiply_checked(array.cast(pa.int64()), 10 ** (unit - scale))
