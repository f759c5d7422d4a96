"""Columns read as the typed fields of an event: numbers, booleans, instants, addresses, words, lists of text.

Text is read where it says such a value exactly; what does not is ``unfit``, never guessed.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache
from ipaddress import ip_address
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import types

from worker.mparticle.buffers import Mask, numbers, positions, truth, without_nulls
from worker.mparticle.columns import DAY_S, PER_S, Column

_JSON_NUMBER: Final = r"^-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?$"
_MS_PER_DAY: Final = DAY_S * 1000
_INTEGER: Final = "^-?[0-9]{1,19}$"
_INT64: Final = range(-(2**63), 2**63)


def number(column: Column) -> Column:
    """Read numbers; a text that is one in JSON is written as it stands."""
    if not types.is_string(column.values.type):
        return column
    written = without_nulls(column.values)
    fit = pc.match_substring_regex(written, _JSON_NUMBER)
    values = pc.if_else(fit, written, b"0")
    return _judged(replace(column, values=values), truth(fit))


def int64(column: Column) -> Column:
    """Read 64-bit integers: integers, decimals without places, and their digits as text."""
    values = column.values
    if types.is_null(values.type) or (types.is_integer(values.type) and not types.is_uint64(values.type)):
        return column
    if types.is_uint64(values.type):
        counted = numbers(values)
        return _judged(replace(column, values=pa.array(counted.astype(np.int64))), counted < np.uint64(_INT64.stop))
    fitting, fit = _integers(without_nulls(values.cast(pa.string())))
    return _judged(replace(column, values=fitting), fit)


def boolean(column: Column) -> Column:
    """Read true and false: booleans, 0 and 1, and the words in any case."""
    column = int64(column) if types.is_decimal(column.values.type) else column
    values = column.values
    if types.is_boolean(values.type) or types.is_null(values.type):
        return column
    if types.is_integer(values.type):
        counted = numbers(values)
        return _judged(replace(column, values=pa.array(counted == 1)), (counted == 0) | (counted == 1))
    lower = pc.utf8_lower(without_nulls(values.cast(pa.string())).cast(pa.string()))
    is_true = truth(pc.equal(lower, "true"))
    return _judged(replace(column, values=pa.array(is_true)), is_true | truth(pc.equal(lower, "false")))


def epoch_ms(column: Column) -> Column:
    """Read instants as milliseconds since 1970, floored; zone-less ones are UTC, a date is its first instant."""
    column = int64(column) if types.is_decimal(column.values.type) else column
    values = column.values
    kind = values.type
    if types.is_null(kind):
        return column
    if types.is_integer(kind):
        return int64(column)
    counted = numbers(values)
    if types.is_date32(kind):
        counted = counted.astype(np.int64) * _MS_PER_DAY
    elif types.is_timestamp(kind):
        per_s = PER_S[kind.unit]
        counted = counted * (1000 // per_s) if per_s < PER_S["ms"] else np.floor_divide(counted, per_s // 1000)
    return replace(column, values=pa.array(counted.astype(np.int64)))


def ip(column: Column) -> Column:
    """Read IPv4 and IPv6 addresses."""
    return column if types.is_null(column.values.type) else _judged(column, _each(column.values, cache(_is_address)))


def choice(column: Column, choices: Sequence[str]) -> Column:
    """Read one of some words."""
    if types.is_null(column.values.type):
        return column
    fit = pc.is_in(without_nulls(column.values), value_set=pa.array([word.encode() for word in choices], pa.binary()))
    return _judged(column, truth(fit))


def texts_of(column: Column) -> Column:
    """Read lists of strings; a text alone is a list of one."""
    if column.entries is not None or types.is_null(column.values.type):
        return column
    one_each = pa.ListArray.from_arrays(pa.array(positions(len(column.values) + 1)), column.values)
    return replace(
        column, values=one_each, entries=Column(column.values), bounds=positions(len(column.values) + 1), sizes=None
    )


def _integers(written: Any) -> tuple[Any, Mask]:
    """Parse texts as 64-bit integers; what does not fit becomes 0."""
    fit = pc.match_substring_regex(written, _INTEGER)
    candidates = pc.if_else(fit, written, b"0").cast(pa.string())
    try:
        return candidates.cast(pa.int64()), truth(fit)
    except pa.ArrowInvalid:
        # Some of 19 digits are beyond 64 bits, and Arrow does not say which.
        parsed = [int(text) for text in candidates.to_pylist()]
        inside = np.array([number in _INT64 for number in parsed], dtype=np.bool_)
        return pa.array([number if number in _INT64 else 0 for number in parsed], pa.int64()), inside & truth(fit)


def _judged(column: Column, fit: Mask) -> Column:
    if fit.all():
        return column
    unfit = column.rows(~fit)
    return replace(column, unfit=unfit if column.unfit is None else column.unfit | unfit)


def _each(strings: Any, is_fit: Callable[[bytes], bool]) -> Mask:
    texts: list[bytes] = without_nulls(strings).to_pylist()
    return np.array([is_fit(text) for text in texts], dtype=np.bool_)


def _is_address(text: bytes) -> bool:
    try:
        ip_address(text.decode("utf-8", "replace"))
    except ValueError:
        return False
    return b"%" not in text


def instants_ms(column: Column) -> npt.NDArray[np.int64]:
    """Give each row's milliseconds of a column that :func:`epoch_ms` read; arbitrary where there is none."""
    if types.is_null(column.values.type):
        return np.zeros(len(column), dtype=np.int64)
    counted: npt.NDArray[np.int64] = numbers(column.values)
    return counted if column.codes is None else counted[column.codes]
