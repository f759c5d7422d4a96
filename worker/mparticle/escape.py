"""Strings as they stand between the quotes of JSON.

Nearly all strings need no escaping, so a column is scanned once for bytes that do, and only rows that hold one become
Python objects. Everything from 0x20 up, apart from the quote and the backslash, stands for itself: JSON text is UTF-8.
"""

from typing import Any, Final

import numpy as np
import orjson
import pyarrow as pa

from worker.mparticle.buffers import Bytes, Index, Mask, characters, offsets, positions, without_nulls

_FIRST_PRINTABLE: Final = 0x20
_QUOTE: Final = ord('"')
_BACKSLASH: Final = ord("\\")


def quoted(text: str) -> bytes:
    """Give one string as JSON, quotes included."""
    return orjson.dumps(text)


def escaped(strings: Any) -> tuple[Any, Index | None]:
    """Escape a string array.

    Returns:
        A binary array without NULLs, and for every row the position of its text there; None if row i is at i.
    """
    pool = without_nulls(strings)
    bounds = offsets(strings)
    content = characters(strings)[bounds[0] : bounds[-1]]
    hits = _hits(content)
    if hits is None:
        return pool, None
    rows = np.searchsorted(bounds, np.flatnonzero(hits) + bounds[0], side="right") - 1
    rows = rows[np.append(True, rows[1:] != rows[:-1])]
    # What stands in a NULL slot need not be text.
    replacements = [quoted(text.decode(errors="replace"))[1:-1] for text in pool.take(pa.array(rows)).to_pylist()]
    index = positions(len(pool))
    index[rows] = np.arange(len(pool), len(pool) + len(rows))
    return pa.concat_arrays([pool, pa.array(replacements, pa.binary())]), index


def _hits(content: Bytes) -> Mask | None:
    if not content.size:
        return None
    raw = content.tobytes()
    if content.min() >= _FIRST_PRINTABLE and b'"' not in raw and b"\\" not in raw:
        return None
    hits: Mask = (content < _FIRST_PRINTABLE) | (content == _QUOTE) | (content == _BACKSLASH)
    return hits
