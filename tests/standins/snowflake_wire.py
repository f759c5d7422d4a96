"""A result as Snowflake puts it on the wire: a description of its columns, and Arrow whose types follow the values.

What the engine gives are DuckDB's types. NUMBER arrives as the smallest integer that holds the unscaled values of one
part of the result, TIME and short timestamps as one integer, long ones as a struct of seconds and nanoseconds,
TIMESTAMP_TZ with its offset in minutes beside it.

Source: the vendor's client, ``_internal/nanoarrow_cpp/ArrowIterator``, which reads this.
"""

import base64
import gzip
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Context
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc

_ROWS_INLINE: Final = 1000
"""Snowflake sends some hundred kB with its answer, and the rest as chunks."""
_ONE_INTEGER_UP_TO: Final = 7
"""The highest scale of a timestamp that travels as one integer."""
_UTC_OFFSET: Final = 1440
_EXACT: Final = Context(prec=76)
_UNITS: Final = {"s": 0, "ms": 3, "us": 6, "ns": 9}
_INTEGERS: Final = (pa.int8(), pa.int16(), pa.int32(), pa.int64())
_PLAIN: Final = {
    "BOOLEAN": "boolean",
    "FLOAT": "real",
    "DOUBLE": "real",
    "VARCHAR": "text",
    '"NULL"': "text",
    "DATE": "date",
    "BLOB": "binary",
    "JSON": "variant",
}
_SCALES: Final = {
    "TIME": ("time", 6),
    "TIME_NS": ("time", 9),
    "TIMESTAMP_S": ("timestamp_ntz", 0),
    "TIMESTAMP_MS": ("timestamp_ntz", 3),
    "TIMESTAMP": ("timestamp_ntz", 6),
    "TIMESTAMP_NS": ("timestamp_ntz", 9),
}


@dataclass(frozen=True, slots=True)
class Part:
    """Some rows of a result as an Arrow stream; ``uncompressed_bytes`` before gzip."""

    rows: int
    arrow: bytes

    def packed(self) -> bytes:
        """Give the stream as a chunk holds it."""
        return gzip.compress(self.arrow, 1)

    def inline(self) -> str:
        """Give the stream as an answer holds it."""
        return base64.b64encode(self.arrow).decode()


def describe(columns: Sequence[tuple[Any, ...]], zoned_type: str) -> list[dict[str, Any]]:
    """Give Snowflake's description of columns that DuckDB describes; ``zoned_type`` is what instants are called."""
    return [_described(str(column[0]), str(column[1]), zoned_type) for column in columns]


def parts(table: pa.Table, columns: Sequence[Mapping[str, Any]], *, rows: int, indent: int) -> list[Part]:
    """Cut a result into parts of at most ``rows`` rows; the first one is short and always there, though maybe empty."""
    first = min(rows, _ROWS_INLINE)
    ends = [first, *range(first + rows, table.num_rows + rows, rows)]
    starts = [0, *ends[:-1]]
    return [_part(table.slice(start, end - start), columns, indent) for start, end in zip(starts, ends, strict=True)]


def _described(name: str, duckdb_type: str, zoned_type: str) -> dict[str, Any]:
    column: dict[str, Any] = {
        "name": name,
        "database": "",
        "schema": "",
        "table": "",
        "nullable": True,
        "byteLength": None,
        "length": None,
        "scale": None,
        "precision": None,
        "collation": None,
    }
    if (decimal := re.fullmatch(r"DECIMAL\((\d+),(\d+)\)", duckdb_type)) is not None:
        return column | {"type": "fixed", "precision": int(decimal[1]), "scale": int(decimal[2])}
    if (vector := re.fullmatch(r"(FLOAT|INTEGER)\[(\d+)\]", duckdb_type)) is not None:
        element = {"name": "", "type": "real" if vector[1] == "FLOAT" else "fixed", "nullable": False}
        return column | {"type": "vector", "vectorDimension": int(vector[2]), "fields": [element]}
    if duckdb_type.endswith("[]"):
        return column | {"type": "array"}
    if "INT" in duckdb_type:
        # INT, BIGINT, SMALLINT and so on are Snowflake's names for one type.
        return column | {"type": "fixed", "precision": 38, "scale": 0}
    if duckdb_type in _SCALES:
        kind, scale = _SCALES[duckdb_type]
        return column | {"type": kind, "precision": 0, "scale": scale}
    if duckdb_type == "TIMESTAMP WITH TIME ZONE":
        return column | {"type": zoned_type.lower(), "precision": 0, "scale": 6}
    if duckdb_type in _PLAIN:
        return column | {"type": _PLAIN[duckdb_type], "length": 16777216, "byteLength": 16777216}
    raise NotImplementedError(f"the stand-in has no Snowflake type for {duckdb_type}")


def _part(table: pa.Table, columns: Sequence[Mapping[str, Any]], indent: int) -> Part:
    arrays = [_on_the_wire(table.column(at).combine_chunks(), column, indent) for at, column in enumerate(columns)]
    fields = [
        pa.field(str(column["name"]), array.type, metadata=_metadata(column, array))
        for column, array in zip(columns, arrays, strict=True)
    ]
    batch = pa.record_batch(arrays, schema=pa.schema(fields))
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, batch.schema) as writer:
        writer.write_batch(batch)
    return Part(table.num_rows, sink.getvalue().to_pybytes())


def _metadata(column: Mapping[str, Any], array: Any) -> dict[str, str]:
    known = {
        "logicalType": str(column["type"]).upper(),
        "precision": str(column["precision"] or 38),
        "scale": str(column["scale"] or 0),
        "charLength": str(column["length"] or 0),
    }
    if known["logicalType"] == "TIMESTAMP_TZ":
        known["byteLength"] = "16" if array.type.num_fields == 3 else "8"
    return known


def _on_the_wire(chunked: Any, column: Mapping[str, Any], indent: int) -> Any:
    array = pa.concat_arrays(chunked.chunks) if isinstance(chunked, pa.ChunkedArray) else chunked
    scale = int(column["scale"] or 0)
    match column["type"]:
        case "fixed":
            return _smallest(_unscaled(array, scale), scale)
        case "time":
            return _counted(array.cast(pa.time64("ns")).cast(pa.int64()), 9, scale)
        case "timestamp_ntz" | "timestamp_ltz":
            return _instant(array, scale)
        case "timestamp_tz":
            return _instant_with_offset(array, scale)
        case "text":
            return array.cast(pa.string())
        case "variant":
            values = [None if text is None else json.loads(text) for text in array.to_pylist()]
            return pa.array([_laid_out(value, indent) for value in values], pa.string())
        case "array":
            return pa.array([_laid_out(value, indent) for value in array.to_pylist()], pa.string())
        case _:
            return array


def _laid_out(value: Any, indent: int) -> str | None:
    """Show JSON over several lines, as Snowflake does unless it is told not to."""
    if value is None:
        return None
    return json.dumps(value, indent=indent or None, separators=None if indent else (",", ":"), ensure_ascii=False)


def _unscaled(array: Any, scale: int) -> Any:
    if not pa.types.is_decimal(array.type):
        return array.cast(pa.decimal128(38, 0))
    digits = [None if value is None else int(value.scaleb(scale, _EXACT)) for value in array.to_pylist()]
    return pa.array(digits, pa.decimal128(38, 0))


def _smallest(unscaled: Any, scale: int) -> Any:
    bounds = pc.min_max(unscaled)
    low, high = (int(bounds[end].as_py() or 0) for end in ("min", "max"))
    for integer in _INTEGERS:
        limit = 1 << (integer.bit_width - 1)
        if -limit <= low and high < limit:
            return unscaled.cast(integer)
    return pa.Array.from_buffers(pa.decimal128(38, scale), len(unscaled), unscaled.buffers(), offset=unscaled.offset)


def _counted(array: Any, unit: int, scale: int) -> Any:
    if unit <= scale:
        return pc.multiply(array, 10 ** (scale - unit))
    return pc.divide(array, 10 ** (unit - scale))


def _instant(array: Any, scale: int) -> Any:
    unit = _UNITS[array.type.unit]
    counts = array.cast(pa.int64())
    if scale <= _ONE_INTEGER_UP_TO:
        return _counted(counts, unit, scale)
    seconds, fraction = _split(counts, unit)
    return pa.StructArray.from_arrays([seconds, fraction], ["epoch", "fraction"], mask=array.is_null())


def _instant_with_offset(array: Any, scale: int) -> Any:
    unit = _UNITS[array.type.unit]
    counts = array.cast(pa.int64())
    offsets = pa.repeat(pa.scalar(_UTC_OFFSET, pa.int32()), len(array))
    if scale <= 3:
        whole = pc.fill_null(_counted(counts, unit, scale), 0)
        return pa.StructArray.from_arrays([whole, offsets], ["epoch", "timezone"], mask=array.is_null())
    seconds, fraction = _split(counts, unit)
    return pa.StructArray.from_arrays(
        [seconds, fraction, offsets], ["epoch", "fraction", "timezone"], mask=array.is_null()
    )


def _split(counts: Any, unit: int) -> tuple[Any, Any]:
    per_second = 10**unit
    values = [0 if count is None else count for count in counts.to_pylist()]
    seconds = pa.array([value // per_second for value in values], pa.int64())
    fraction = pa.array([value % per_second * 10 ** (9 - unit) for value in values], pa.int32())
    return seconds, fraction
