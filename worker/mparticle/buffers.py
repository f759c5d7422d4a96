"""The buffers of Arrow arrays as numpy arrays, and back, without copies.

Arrow's own conversions copy or change type as soon as a column holds a NULL. Everything here ignores validity: what
stands in a slot whose value is NULL is arbitrary, and callers must not let it reach a batch.
"""

from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from pyarrow import types

Mask = npt.NDArray[np.bool_]
Index = npt.NDArray[np.int32]
Bytes = npt.NDArray[np.uint8]

OFFSET_MAX: Final = 2**31 - 1
"""So many bytes of text an array can hold with the usual offsets of Arrow."""


def validity(array: Any) -> Mask | None:
    """Give which rows are not NULL; None if all are."""
    if array.null_count == 0:
        return None
    bits = array.buffers()[0]
    if bits is None:
        # Types without a bitmap of their own: null, and run-end encoded.
        valid: Mask = array.is_valid().to_numpy(zero_copy_only=False)
        return valid
    return _unpacked(bits, array)


def truth(array: Any) -> Mask:
    """Give which rows of a boolean array are true."""
    return _unpacked(array.buffers()[1], array) if len(array) else np.empty(0, dtype=np.bool_)


def numbers(array: Any) -> npt.NDArray[Any]:
    """Give what a fixed-width array holds: numbers as themselves, instants, dates and times as their counts."""
    arrow_type = array.type
    signed = "f" if types.is_floating(arrow_type) else "i"
    dtype = np.dtype(f"{'u' if types.is_unsigned_integer(arrow_type) else signed}{arrow_type.byte_width}")
    if len(array) == 0:
        return np.empty(0, dtype)
    return np.frombuffer(array.buffers()[1], dtype)[array.offset : array.offset + len(array)]


def offsets(array: Any, width: type[np.signedinteger[Any]] = np.int32) -> npt.NDArray[Any]:
    """Give the n + 1 bounds of a string or list array's values, into its characters or child as they stand."""
    if len(array) == 0:
        return np.zeros(1, dtype=width)
    return np.frombuffer(array.buffers()[1], dtype=width)[array.offset : array.offset + len(array) + 1]


def characters(array: Any) -> Bytes:
    """Give the bytes that the offsets of a string array count in."""
    buffer = array.buffers()[2]
    return np.empty(0, dtype=np.uint8) if buffer is None else np.frombuffer(buffer, dtype=np.uint8)


def lengths(array: Any) -> Index:
    """Give the length of every value: bytes of a string, entries of a list."""
    bounds = offsets(array, np.int64 if types.is_large_binary(array.type) else np.int32)
    sizes: Index = bounds[1:] - bounds[:-1]
    return sizes


def texts(bounds: npt.NDArray[Any], content: Any, *, is_large: bool = False) -> Any:
    """Make a binary array without NULLs from n + 1 bounds and the bytes that they count in.

    Raises:
        OverflowError: there are more bytes than the usual offsets of Arrow can count.
    """
    if not is_large and bounds[-1] > OFFSET_MAX:
        raise OverflowError(f"{bounds[-1]} bytes of text are more than a binary array of Arrow can hold")
    kind, width = (pa.large_binary(), np.int64) if is_large else (pa.binary(), np.int32)
    if bounds.dtype != width:
        bounds = bounds.astype(width)
    buffers = [None, pa.py_buffer(bounds), pa.py_buffer(content)]
    return pa.Array.from_buffers(kind, len(bounds) - 1, buffers, null_count=0)


def without_nulls(array: Any) -> Any:
    """Give the same bytes as a binary array in which no slot is NULL."""
    _, bounds, content = array.buffers()
    if len(array) == 0 or content is None:
        return texts(np.zeros(len(array) + 1, dtype=np.int32), b"")
    return pa.Array.from_buffers(pa.binary(), len(array), [None, bounds, content], null_count=0, offset=array.offset)


def positions(count: int, *, step: int = 1) -> Index:
    """Give 0, step, 2 * step ..., ``count`` of them."""
    return np.arange(0, count * step, step, dtype=np.int32)


def both(first: Mask | None, second: Mask | None) -> Mask | None:
    """Give the rows that are in both masks, None meaning all rows."""
    if first is None or second is None:
        return second if first is None else first
    return first & second


def _unpacked(bits: Any, array: Any) -> Mask:
    content = np.frombuffer(bits, dtype=np.uint8)[array.offset // 8 :]
    skipped = array.offset % 8
    return np.unpackbits(content, count=skipped + len(array), bitorder="little")[skipped:].view(np.bool_)
