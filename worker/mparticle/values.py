"""Columns of plain values as columns of JSON text.

Strings stand for themselves but for what must be escaped. Integers and floats are written by orjson, a whole column at
once: several times faster than Arrow's cast, and always JSON. Decimals of up to 18 digits and everything that tells
time are put together from tables of digits; only other decimals are left to Arrow.
"""

from dataclasses import replace
from decimal import Decimal
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import orjson
import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import types

from shared.mapping.destinations import ValueType
from worker.mparticle.assemble import Put, Say, Texts, lay_out, place
from worker.mparticle.buffers import Bytes, Index, numbers, positions, texts, truth, without_nulls
from worker.mparticle.columns import Column
from worker.mparticle.digits import decimal_texts
from worker.mparticle.escape import escaped
from worker.mparticle.iso import iso_texts

_INT64_DIGITS: Final = 18
"""Every number of so many digits fits into 64 bits."""
_COMMA: Final = ord(",")
_QUOTE: Final = b'"'
_QUOTED: Final = frozenset({ValueType.STRING, ValueType.UUID, ValueType.TEXT})


def json_texts(column: Column) -> Texts:
    """Write a column of scalars or of lists of scalars as JSON.

    Quotes and brackets are the ``opening`` and ``closing`` of the texts.
    """
    values = column.values
    arrow_type = values.type
    index: Index | None = None
    around = (b"", b"")
    if column.entries is not None:
        pool, index = _list_texts(column)
        around = (b"[", b"]")
    elif types.is_string(arrow_type):
        pool, index = escaped(values)
        around = (b'"', b'"')
    elif types.is_integer(arrow_type) or types.is_floating(arrow_type):
        pool, index = numbers_written(numbers(values))
    elif types.is_boolean(arrow_type):
        pool, index = pa.array([b"false", b"true"]), truth(values).astype(np.int32)
    elif types.is_decimal(arrow_type):
        pool, index = _decimal_texts(values)
    elif types.is_binary(arrow_type):
        pool = values
    elif types.is_temporal(arrow_type):
        pool, index = iso_texts(values)
        zoned = types.is_timestamp(arrow_type) and arrow_type.tz is not None
        around = (b'"', b'Z"' if zoned else b'"')
    else:
        pool, index = pa.array([b""]), np.zeros(len(values), dtype=np.int32)
    if column.codes is not None:
        index = column.codes if index is None else index[column.codes]
    return Texts(pool, index, column.present, *around)


def truth_texts(column: Column) -> Texts:
    """Give a column of booleans as a mask of rows."""
    values = truth(column.values)
    pool = pa.array([], pa.binary())
    return Texts(pool, None, column.present, truth=values if column.codes is None else values[column.codes])


def field_texts(value: ValueType, column: Column) -> Texts:
    """Write a column that was read as a field of this kind."""
    if types.is_boolean(column.values.type) and value is not ValueType.TEXT:
        return truth_texts(column)
    texts = json_texts(column)
    if value in _QUOTED and texts.opening != _QUOTE:
        return replace(texts, opening=_QUOTE, closing=_QUOTE)
    return texts


def numbers_written(counted: npt.NDArray[Any]) -> tuple[Any, Index]:
    """Write ``[1,2,3]`` and find the numbers in it: every other text of the pool, the commas being the others."""
    written = orjson.dumps(counted, option=orjson.OPT_SERIALIZE_NUMPY)
    commas = np.flatnonzero(np.frombuffer(written, dtype=np.uint8) == _COMMA)
    bounds = np.empty(2 * len(counted) + 1, dtype=np.int32)
    bounds[0] = 1
    bounds[1:-2:2] = commas
    bounds[2:-1:2] = commas + 1
    bounds[-2:] = len(written) - 1
    return texts(bounds, written), positions(len(counted), step=2)


def _decimal_texts(values: Any) -> tuple[Any, Index | None]:
    arrow_type = values.type
    if types.is_decimal128(arrow_type) and 0 <= arrow_type.scale <= _INT64_DIGITS and len(values):
        halves = np.frombuffer(values.buffers()[1], dtype=np.int64).reshape(-1, 2)
        low, high = halves[values.offset : values.offset + len(values)].T
        if arrow_type.precision <= _INT64_DIGITS or _is_short(low, high):
            return decimal_texts(low, arrow_type.scale)
    return _long_decimal_texts(values), None


def _long_decimal_texts(values: Any) -> Any:
    written = without_nulls(values.cast(pa.string()))
    # Arrow writes small numbers, and zero with many decimal places, with an exponent: 0E-38.
    raised = pc.match_substring(written, b"E")
    if pc.any(raised).as_py():
        digits = [format(Decimal(text.decode()), "f").encode() for text in written.filter(raised).to_pylist()]
        written = pc.replace_with_mask(written, raised, pa.array(digits, pa.binary()))
    return written


def _is_short(low: npt.NDArray[np.int64], high: npt.NDArray[np.int64]) -> bool:
    """Say whether the halves of 128-bit numbers are all of at most 18 digits; there ``high`` only repeats the sign."""
    limit = 10**_INT64_DIGITS
    return bool((low >> 63 == high).all() and -limit < low.min() and low.max() < limit)


def _list_texts(column: Column) -> tuple[Any, Index]:
    """Write the entries of all lists in a row, and find each list in it: every other text of the pool."""
    assert column.entries is not None  # noqa: S101 - told apart by the caller
    assert column.bounds is not None  # noqa: S101 - the same
    entries = json_texts(column.entries)
    glue = entries.closing + b"," + entries.opening
    layout = lay_out([Say(glue), Put(0)])
    bounds, content = place(layout, [entries], [], rows=len(column.entries)).gather()
    return runs(bounds, content, column.bounds, after=entries.closing)


def runs(
    entry_bounds: npt.NDArray[np.int64], content: Bytes, bounds: Index, *, after: bytes = b""
) -> tuple[Any, Index]:
    """Find the texts of lists in the text of all their entries.

    Args:
        entry_bounds: Bounds of the entries' texts, each of which begins with ``after`` and a comma.
        content: What they count in.
        bounds: Bounds of the lists, counted in entries.
        after: What ends an entry, and therefore stands at the beginning of the next one's text.

    Returns:
        A pool, and the position in it of each list's entries with commas between.
    """
    if after:
        content = np.concatenate([content, np.frombuffer(after, dtype=np.uint8)])
    pairs = np.empty(2 * len(bounds) - 1, dtype=np.int64)
    pairs[:-1:2] = entry_bounds[bounds[:-1]] + len(after) + 1
    pairs[1::2] = np.maximum(pairs[:-1:2], entry_bounds[bounds[1:]] + len(after))
    pairs[-1] = len(content)
    return texts(np.minimum(pairs, len(content)), content), positions(len(bounds) - 1, step=2)
