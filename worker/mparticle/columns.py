"""Columns as the encoder and the checks read them: the many layouts of Arrow brought down to a few.

A warehouse's driver decides whether strings come large, as views, in a dictionary or in an extension type. Here they
all become the same; the values of a dictionary or of runs stay apart from the rows, so that each is looked at once.
"""

from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import types

from shared.columns import JSON
from shared.mapping.meanings import is_list, is_text
from worker.mparticle.buffers import Index, Mask, both, numbers, offsets, positions, texts, validity

_FIRST_DAY: Final = -719_162
_LAST_DAY: Final = 2_932_896
"""Days from 1970-01-01 to the first day of the year 1 and to the last of 9999: what ISO 8601 can write."""
DAY_S: Final = 86_400
PER_S: Final = {"s": 1, "ms": 1_000, "us": 1_000_000, "ns": 1_000_000_000}
_HEX_PAIRS: Final = np.frombuffer(b"".join(b"%02x" % byte for byte in range(256)), dtype=np.uint8).reshape(256, 2)
_UUID_CHARS: Final = 36
_UUID_DIGITS: Final = np.delete(np.arange(_UUID_CHARS), [8, 13, 18, 23])


@dataclass(frozen=True, slots=True)
class Sizes:
    """How large values of mixed kinds are; each number is 0 where it does not apply.

    Attributes:
        chars: Characters of a value that is text.
        entries: Entries of a value that is a list.
        entry_chars: Characters of the longest text in such a list.
    """

    chars: Index
    entries: Index
    entry_chars: Index


@dataclass(frozen=True, slots=True)
class Column:
    """One column: row i holds value ``codes[i]``, or value i.

    ``present`` says which rows hold a value at all; what the others point to is arbitrary. ``unfit`` says which of the
    present ones cannot become what their field accepts. Values that are lists have their entries in ``entries``, NULL
    ones left out, and value i has those from ``bounds[i]`` up to ``bounds[i + 1]``. Values of type binary are JSON as
    it will be written, of whatever kind each one is, and ``sizes`` says what the checks ask of them.
    """

    values: Any
    codes: Index | None = None
    present: Mask | None = None
    unfit: Mask | None = None
    entries: "Column | None" = None
    bounds: Index | None = None
    sizes: Sizes | None = None

    def __len__(self) -> int:
        """Give the number of rows."""
        return len(self.values) if self.codes is None else len(self.codes)

    def rows(self, values: Mask) -> Mask:
        """Give the rows that hold one of the chosen values."""
        mask = values if self.codes is None else values[self.codes]
        return mask if self.present is None else mask & self.present

    def where(self, rows: Mask | None) -> "Column":
        """Give the column with values in these rows only; ``None`` means all."""
        if rows is None:
            return self
        unfit = None if self.unfit is None else self.unfit & rows
        return replace(self, present=both(self.present, rows), unfit=unfit)


def plain(array: Any) -> Column:
    """Bring an array of any type that has a meaning down to a plain one.

    The values are then of type null, bool, integer, float, decimal, date, time, timestamp, string, JSON, list, map or
    struct. Numbers that JSON cannot write and dates that ISO 8601 cannot count as absent.
    """
    arrow_type = array.type
    if types.is_dictionary(arrow_type):
        return _from_dictionary(array)
    if types.is_run_end_encoded(arrow_type):
        return _from_runs(array)
    if isinstance(arrow_type, pa.BaseExtensionType):
        return _from_extension(array)
    if is_text(arrow_type):
        strings = array if types.is_string(arrow_type) else array.cast(pa.string())
        return Column(strings, present=validity(strings))
    if is_list(arrow_type):
        return _from_list(array)
    if types.is_float16(arrow_type):
        return plain(array.cast(pa.float32()))
    return Column(array, present=both(validity(array), _expressible(array)))


def spread(inner: Column, codes: Index, valid: Mask | None = None) -> Column:
    """Give the rows that hold the rows of another column, row i the one at ``codes[i]``."""
    return replace(
        inner,
        codes=codes if inner.codes is None else inner.codes[codes],
        present=both(valid, None if inner.present is None else inner.present[codes]),
        unfit=None if inner.unfit is None else inner.unfit[codes],
    )


def joined(column: Any) -> Any:
    """Give a chunked array as one array."""
    if isinstance(column, pa.Array):
        return column
    if column.num_chunks == 1:
        return column.chunk(0)
    try:
        return column.combine_chunks()
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        # Arrow 26 cannot join runs of extension types, nor different dictionaries that hold a NULL, in lists neither.
        return pa.concat_arrays([_spelled_out(piece) for piece in column.chunks])


def _spelled_out(array: Any) -> Any:
    """Give an array whose values stand in its rows."""
    if types.is_dictionary(array.type):
        values, codes = array.dictionary, array.indices
    elif types.is_run_end_encoded(array.type):
        first, count = array.find_physical_offset(), array.find_physical_length()
        ends = np.clip(numbers(array.run_ends)[first : first + count].astype(np.int64) - array.offset, 0, len(array))
        values = array.values.slice(first, count)
        codes = pa.array(np.repeat(positions(count), np.diff(ends, prepend=0)))
    elif is_list(array.type):
        bounds, entries = unlisted(array)
        return pa.ListArray.from_arrays(pa.array(bounds), _spelled_out(entries), mask=array.is_null())
    elif types.is_struct(array.type):
        fields = [_spelled_out(array.field(number)) for number in range(array.type.num_fields)]
        return pa.StructArray.from_arrays(fields, names=[field.name for field in array.type], mask=array.is_null())
    else:
        return array
    if isinstance(values.type, pa.BaseExtensionType):
        return pa.ExtensionArray.from_storage(values.type, values.storage.take(codes))
    if types.is_string_view(values.type):
        values = values.cast(pa.string())  # Arrow 26 cannot take from string views.
    return values.take(codes)


def unlisted(array: Any) -> tuple[Index, Any]:
    """Take a list array of any layout apart.

    Returns:
        The n + 1 bounds of the lists, counted in entries from 0, and the entries.
    """
    arrow_type = array.type
    if types.is_fixed_size_list(arrow_type):
        size = arrow_type.list_size
        entries = array.values.slice(array.offset * size, len(array) * size)
        return np.arange(0, (len(array) + 1) * size, size, dtype=np.int32), entries
    if types.is_list_view(arrow_type) or types.is_large_list_view(arrow_type):
        # Views may overlap and lie in any order; flattening copies them one behind the other, without NULL ones.
        sizes = pc.fill_null(array.value_lengths(), 0).to_numpy()
        return np.concatenate([np.zeros(1, dtype=np.int32), np.cumsum(sizes, dtype=np.int32)]), _flat(array)
    wide = np.int64 if types.is_large_list(arrow_type) else np.int32
    bounds = offsets(array, wide)
    return (bounds - bounds[0]).astype(np.int32), array.values.slice(bounds[0], bounds[-1] - bounds[0])


def _flat(views: Any) -> Any:
    try:
        # Arrow 26 flattens views of extension types to nonsense.
        if not isinstance(views.type.value_type, pa.BaseExtensionType):
            return views.flatten()
    except pa.ArrowNotImplementedError:
        pass  # Nor does it flatten views of dictionaries of extension types.
    starts, sizes = views.offsets.to_pylist(), pc.fill_null(views.value_lengths(), 0).to_pylist()
    parts = [views.values.slice(start, size) for start, size in zip(starts, sizes, strict=True)]
    return pa.concat_arrays(parts) if parts else views.values.slice(0, 0)


def _from_dictionary(array: Any) -> Column:
    if len(array.dictionary) > len(array):
        # A slice keeps the whole dictionary; looking at all of it would cost more than sharing values saves.
        try:
            return plain(array.dictionary_decode())
        except pa.ArrowNotImplementedError:
            pass  # Arrow 26 cannot take from string views.
    if not len(array.dictionary):
        return plain(pa.nulls(len(array), array.type.value_type))
    codes = numbers(pc.fill_null(array.indices, 0)).astype(np.int32)
    return spread(plain(array.dictionary), codes, validity(array))


def _from_runs(array: Any) -> Column:
    # Not pc.run_end_decode: Arrow 26 has none for string views and extension types.
    first, count = array.find_physical_offset(), array.find_physical_length()
    ends = np.clip(numbers(array.run_ends)[first : first + count].astype(np.int64) - array.offset, 0, len(array))
    codes = np.repeat(positions(count), np.diff(ends, prepend=0))
    return spread(plain(array.values.slice(first, count)), codes)


def _from_extension(array: Any) -> Column:
    match array.type.extension_name:
        case "arrow.uuid":
            return _from_uuids(array.storage)
        case "arrow.bool8":
            return plain(pc.not_equal(array.storage, 0))
        case "arrow.json":
            strings = array.storage.cast(pa.string())
            return Column(pa.ExtensionArray.from_storage(JSON, strings), present=validity(strings))
        case _:
            return plain(array.storage)


def _from_uuids(array: Any) -> Column:
    width = array.type.byte_width
    if len(array):
        content = np.frombuffer(array.buffers()[1], dtype=np.uint8)[array.offset * width :][: len(array) * width]
    else:
        content = np.empty(0, dtype=np.uint8)
    text = np.full((len(array), _UUID_CHARS), ord("-"), dtype=np.uint8)
    text[:, _UUID_DIGITS] = _HEX_PAIRS[content].reshape(len(array), 2 * width)
    bounds = np.arange(0, (len(array) + 1) * _UUID_CHARS, _UUID_CHARS, dtype=np.int32)
    return Column(texts(bounds, text).cast(pa.string()), present=validity(array))


def _from_list(array: Any) -> Column:
    bounds, flat = unlisted(array)
    entries = plain(flat)
    if entries.present is not None:
        kept = np.flatnonzero(entries.present).astype(np.int32)
        bounds = np.searchsorted(kept, bounds).astype(np.int32)
        entries = replace(entries, codes=kept if entries.codes is None else entries.codes[kept], present=None)
    return Column(array, present=validity(array), entries=entries, bounds=bounds)


def _expressible(array: Any) -> Mask | None:
    arrow_type = array.type
    if types.is_floating(arrow_type):
        finite: Mask = np.isfinite(numbers(array))
        return None if finite.all() else finite
    if types.is_temporal(arrow_type):
        return _within(numbers(array), *iso_range(arrow_type))
    return None


def iso_range(arrow_type: Any) -> tuple[int, int]:
    """Give the first and last count of a date, time or timestamp type that ISO 8601 can write."""
    if types.is_date32(arrow_type):
        return _FIRST_DAY, _LAST_DAY
    day = DAY_S * PER_S["ms" if types.is_date64(arrow_type) else arrow_type.unit]
    if types.is_time(arrow_type):
        return 0, day - 1
    limits = np.iinfo(np.int64)
    return max(_FIRST_DAY * day, limits.min), min((_LAST_DAY + 1) * day - 1, limits.max)


def _within(counts: npt.NDArray[Any], first: int, last: int) -> Mask | None:
    if not counts.size or (counts.min() >= first and counts.max() <= last):
        return None
    return (counts >= first) & (counts <= last)
