"""Columns whose texts and lists are cut to a limit: the first characters, the first entries.

A text is cut between characters (code points), never inside of one. Only values that are too long are looked at where
each has to be looked at by itself.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any, Final

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.compute as pc

from worker.mparticle.buffers import Mask
from worker.mparticle.columns import Column, Sizes
from worker.mparticle.semistructured import ENTRIES

_QUOTE: Final = b'"'


def cut_texts(column: Column, long: Mask, max_chars: int) -> Column:
    """Cut values that are text; ``long`` says which are too long."""
    if column.sizes is not None:
        values = _rewritten(column, long, lambda text: orjson.dumps(orjson.loads(text)[:max_chars]))
        return replace(column, values=values, sizes=_at_most(column.sizes, chars=max_chars))
    return replace(column, values=pc.utf8_slice_codeunits(column.values, 0, max_chars))


def cut_lists(column: Column, long: Mask, max_entries: int) -> Column:
    """Cut values that are lists; ``long`` says which have too many entries."""
    if column.sizes is not None:
        values = _rewritten(column, long, lambda text: _listed(ENTRIES.findall(text)[:max_entries]))
        # The longest text may have been among the entries that are gone.
        entry_chars = column.sizes.entry_chars.copy()
        entry_chars[long] = [_longest(text) for text in values.filter(pa.array(long)).to_pylist()]
        sizes = replace(_at_most(column.sizes, entries=max_entries), entry_chars=entry_chars)
        return replace(column, values=values, sizes=sizes)
    entries, bounds = column.entries, column.bounds
    assert entries is not None  # noqa: S101 - told apart by the caller
    assert bounds is not None  # noqa: S101 - the same
    kept = np.minimum(np.diff(bounds), max_entries)
    new_bounds = np.concatenate([[0], np.cumsum(kept)]).astype(np.int32)
    chosen = (np.arange(new_bounds[-1]) + np.repeat(bounds[:-1] - new_bounds[:-1], kept)).astype(np.int32)
    fewer = replace(
        entries,
        codes=chosen if entries.codes is None else entries.codes[chosen],
        present=None if entries.present is None else entries.present[chosen],
    )
    return replace(column, entries=fewer, bounds=new_bounds)


def cut_entries(column: Column, long: Mask, max_chars: int) -> Column:
    """Cut the texts in values that are lists; ``long`` says which lists have one that is too long."""
    if column.sizes is not None:
        values = _rewritten(
            column, long, lambda text: _listed([_cut(entry, max_chars) for entry in ENTRIES.findall(text)])
        )
        return replace(column, values=values, sizes=_at_most(column.sizes, entry_chars=max_chars))
    entries = column.entries
    assert entries is not None  # noqa: S101 - told apart by the caller
    return replace(column, entries=replace(entries, values=pc.utf8_slice_codeunits(entries.values, 0, max_chars)))


def _rewritten(column: Column, long: Mask, cut: Callable[[bytes], bytes]) -> Any:
    """Give a column's JSON texts, those that are too long cut."""
    cuts = [cut(text) for text in column.values.filter(pa.array(long)).to_pylist()]
    return pc.replace_with_mask(column.values, pa.array(long), pa.array(cuts, pa.binary()))


def _at_most(sizes: Sizes, **most: int) -> Sizes:
    return replace(sizes, **{name: np.minimum(getattr(sizes, name), limit) for name, limit in most.items()})


def _longest(text: bytes) -> int:
    """Give how many characters the longest text in a list has."""
    return max((len(entry) for entry in orjson.loads(text) if isinstance(entry, str)), default=0)


def _listed(entries: list[bytes]) -> bytes:
    return b"[" + b",".join(entries) + b"]"


def _cut(entry: bytes, max_chars: int) -> bytes:
    return orjson.dumps(orjson.loads(entry)[:max_chars]) if entry.startswith(_QUOTE) else entry
