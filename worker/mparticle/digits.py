"""Numbers of known width as text, a whole column at a time.

A column's texts are lines of one matrix of bytes, filled four digits at a time from a table. Arrow's own casts write
value by value and take three to ten times as long for decimals, dates and timestamps.
"""

from typing import Any, Final

import numpy as np
import numpy.typing as npt

from worker.mparticle.buffers import Bytes, Index, positions, texts

Counts = npt.NDArray[np.integer[Any]]

_GROUP: Final = 10_000
_GROUP_CHARS: Final = 4
GROUPS: Final = np.frombuffer(b"".join(b"%04d" % number for number in range(_GROUP)), dtype=np.uint32)
"""The texts of 0000 to 9999, four characters in one machine word."""
_POWERS: Final = 10 ** np.arange(19, dtype=np.int64)
_DOT: Final = ord(".")
_MINUS: Final = ord("-")
_MAX_DIGITS: Final = 20
"""Digits of the largest 64-bit number, 19, in whole groups."""


def lines(rows: int, width: int) -> Bytes:
    """Make room for ``rows`` texts of up to ``width`` characters."""
    return np.empty((rows, width), dtype=np.uint8)


def field(target: Bytes, words: npt.NDArray[Any], at: int) -> None:
    """Write one machine word into every line, at a character that need not be aligned."""
    if len(target):
        view = np.ndarray(len(target), words.dtype, target.data, at, (target.strides[0],))
        view[:] = words


def cut(target: Bytes, start: Index | int, end: Index | int) -> tuple[Any, Index]:
    """Give the texts from ``start`` to ``end`` of every line: every other text of a pool, the rest being between."""
    rows, width = target.shape
    firsts = positions(rows, step=width)
    bounds = np.empty(2 * rows + 1, dtype=np.int32)
    bounds[:-1:2] = firsts + start
    bounds[1::2] = firsts + end
    bounds[-1] = rows * width
    return texts(bounds, target), positions(rows, step=2)


def decimal_texts(unscaled: npt.NDArray[np.int64], scale: int) -> tuple[Any, Index]:
    """Write ``unscaled / 10**scale`` with all its digits, as many decimal places as ``scale`` says, at most 18.

    Returns:
        A pool, and the position in it of each number.
    """
    size = np.abs(unscaled)
    whole = size // _POWERS[scale]
    fraction_at = 1 + _MAX_DIGITS + 1
    target = lines(len(unscaled), fraction_at + _MAX_DIGITS)
    end = fraction_at - 1
    if scale:
        end = fraction_at + scale
        _write(target, size - whole * _POWERS[scale], scale, end=end)
        target[:, fraction_at - 1] = _DOT
    most = int(whole.max(initial=0))
    _write(target, whole, len(str(most)), end=fraction_at - 1)
    start = np.full(len(unscaled), fraction_at - 2, dtype=np.int32)
    for power in _POWERS[1 : len(str(most))]:
        start -= whole >= power
    negative = np.flatnonzero(unscaled < 0)
    start[negative] -= 1
    target[negative, start[negative]] = _MINUS
    return cut(target, start, end)


def _write(target: Bytes, numbers: Counts, digits: int, *, end: int) -> None:
    """Write numbers right-aligned before ``end``, with zeros in front up to whole groups."""
    for at in range(end - _GROUP_CHARS, end - digits - _GROUP_CHARS, -_GROUP_CHARS):
        rest = numbers // _GROUP
        field(target, GROUPS.take(numbers - rest * _GROUP), at)
        numbers = rest
