"""A column read as what its field accepts."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import types

from shared.mapping.destinations import ValueType
from shared.mapping.meanings import is_compound, is_json
from shared.mapping.plan import Leaf
from worker.mparticle import typed
from worker.mparticle.buffers import Bytes, Mask, characters, lengths, offsets, without_nulls
from worker.mparticle.columns import Column, plain
from worker.mparticle.nested import documents
from worker.mparticle.objects import objects
from worker.mparticle.semistructured import NO_JSON, values_of

_UUID_CHARS: Final = 36
_HYPHENS: Final = [8, 13, 18, 23]
_DIGITS: Final = len("0123456789")
_LETTERS: Final = len("abcdef")


def read(leaf: Leaf, array: Any) -> Column:
    """Read one Arrow array as the values of a leaf's field.

    Values that cannot become what the field accepts are ``unfit``. An identity that is the empty text is absent.
    """
    if leaf.has_any_name:
        return plain(array)  # Its JSON is written already: such an object is only ever a part of JSON.
    if leaf.value is ValueType.OBJECTS:
        return objects(leaf, array, read)
    return _READERS[leaf.value](plain(array), leaf)


def _scalar(column: Column) -> Column:
    """Read what an attribute may be, but for lists: those become their JSON text, as structs do."""
    if is_json(column.values.type):
        return values_of(column, keeps_lists=False)
    if column.entries is None:
        return _attribute(column)
    return _document(column)


def _attribute(column: Column) -> Column:
    inner = column if column.entries is None else column.entries
    if is_json(column.values.type):
        return values_of(column)
    if is_json(inner.values.type):
        return values_of(Column(documents(column.values), column.codes, column.present))
    return column if not is_compound(inner.values.type) else _document(column)


def _document(column: Column) -> Column:
    written = Column(documents(column.values), column.codes, column.present)
    if (characters(written.values) != ord(NO_JSON)).all():
        return written
    broken = pc.match_substring(written.values, NO_JSON).to_numpy(zero_copy_only=False)
    return replace(written, unfit=written.rows(broken))


def _identity(column: Column) -> Column:
    if not types.is_string(column.values.type):
        return column
    filled = lengths(column.values) > 0
    if filled.all():
        return column
    return replace(column, present=column.rows(filled))


def _uuid(column: Column) -> Column:
    if not types.is_string(column.values.type):
        return column
    fit = _are_uuids(column.values)
    return column if fit.all() else replace(column, unfit=column.rows(~fit))


def _are_uuids(strings: Any) -> Mask:
    fit: Mask = lengths(strings) == _UUID_CHARS
    candidates = np.flatnonzero(fit)
    chosen = without_nulls(strings)
    if len(candidates) < len(fit):
        chosen = chosen.take(pa.array(candidates))
    start = offsets(chosen)[0]
    content: Bytes = characters(chosen)[start : start + len(candidates) * _UUID_CHARS].reshape(-1, _UUID_CHARS)
    # Unsigned bytes wrap around: one comparison tests both ends of a range, and bit 0x20 makes letters lower-case.
    digits = content - np.uint8(ord("0")) < _DIGITS
    letters = (content | np.uint8(0x20)) - np.uint8(ord("a")) < _LETTERS
    expected = digits | letters
    expected[:, _HYPHENS] = content[:, _HYPHENS] == ord("-")
    if not expected.all():
        fit[candidates] = expected.all(axis=1)
    return fit


_READERS: Final[dict[ValueType, Callable[[Column, Leaf], Column]]] = {
    ValueType.ATTRIBUTE: lambda column, _: _attribute(column),
    ValueType.SCALAR: lambda column, _: _scalar(column),
    ValueType.STRING: lambda column, _: _identity(column),
    ValueType.TEXT: lambda column, _: column,
    ValueType.UUID: lambda column, _: _uuid(_identity(column)),
    ValueType.INT64: lambda column, _: typed.int64(_identity(column)),
    ValueType.NUMBER: lambda column, _: typed.number(column),
    ValueType.BOOLEAN: lambda column, _: typed.boolean(column),
    ValueType.EPOCH_MS: lambda column, _: typed.epoch_ms(column),
    ValueType.IP: lambda column, _: typed.ip(column),
    ValueType.CHOICE: lambda column, leaf: typed.choice(column, leaf.choices),
    ValueType.TEXTS: lambda column, _: typed.texts_of(column),
}
