"""Users' rows as batches without events; several rows of one user as one batch, field by field.

Of each field the newest row that has a value counts. Where a NULL means something, that the attribute is deleted or
set to null, the newest row alone counts, its NULLs included.
"""

from collections.abc import Sequence
from functools import cached_property
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from worker.mparticle.assemble import Placed, Texts, place
from worker.mparticle.outline import Outline
from worker.mparticle.shares import Mask, Positions


class UserRows:
    """A chunk's users, ready to be written.

    Args:
        drawn: How a row is laid out.
        texts: The fields.
        start: The text in front of every row's position, up to the colon.
        numbers: The rows' positions as text.
        identities: Those of the fields that say whose a row is.
        is_newest_only: Whether a field without a value in the newest row has none.
    """

    has_events: Final[bool] = False

    def __init__(
        self,
        drawn: Outline,
        texts: Sequence[Texts],
        start: bytes,
        numbers: Texts,
        identities: Sequence[Texts],
        *,
        is_newest_only: bool,
    ) -> None:
        self._drawn = drawn
        self._texts = texts
        self._start = start
        self._numbers = numbers
        self._identities = identities
        self._is_newest_only = is_newest_only

    @cached_property
    def _whole(self) -> tuple[npt.NDArray[np.int64], Any]:
        return self._placed(self._texts, self._numbers).gather()

    @cached_property
    def sizes(self) -> Positions:
        """How many bytes a batch of one of the rows has."""
        bounds, _ = self._whole
        return np.diff(bounds) - 1

    @property
    def shared_sizes(self) -> Positions:
        """How many bytes a row adds to a batch, at most: fields of several rows become one."""
        return self.sizes

    @cached_property
    def base_sizes(self) -> Positions:
        """Nothing: a row's own size is more than it adds."""
        return np.zeros(len(self.sizes), dtype=np.int64)

    def numbered(self, good: Mask) -> npt.NDArray[np.int64] | None:
        """Number the rows by their identities, all of them; None where no two rows are of one user."""
        numbered = np.zeros(len(good), dtype=np.int64)
        for text in self._identities:
            codes, is_distinct = _numbered(text, good)
            if is_distinct:
                return None
            _, numbered = np.unique(numbered * (int(codes.max(initial=0)) + 1) + codes, return_inverse=True)
        return numbered

    def batches(
        self, rows: Positions, starts: Positions, ids: Positions, *, apart: int = 0
    ) -> tuple[npt.NDArray[np.int64], memoryview]:
        """Write batches; see :class:`worker.mparticle.prepared.Written`."""
        assert not apart  # noqa: S101 - the rows of a user are one whole
        if len(rows) == len(starts) and (rows == ids).all():
            if len(rows) == len(self.sizes):
                bounds, content = self._whole
            else:
                bounds, content = self._placed(self._texts, self._numbers).gather(rows)
            return bounds, content.data
        merged = [text.take(self._newest(text, rows, starts)) for text in self._texts]
        bounds, content = self._placed(merged, self._numbers.take(ids)).gather()
        return bounds, content.data

    def alone(self, row: int, id_row: int) -> bytes:
        """Refuse: the rows of a user are one whole."""
        raise ValueError(f"rows {id_row} and {row} are one user's and share their batch's outcome")

    def _placed(self, texts: Sequence[Texts], numbers: Texts) -> Placed:
        rows = 0 if numbers.index is None else len(numbers.index)
        return place(self._drawn.row, [*texts, numbers], self._drawn.masks(texts), rows=rows, opening=self._start)

    def _newest(self, text: Texts, rows: Positions, starts: Positions) -> Positions:
        """Give the row of each batch whose field counts."""
        chosen: Positions
        last = np.append(starts[1:], len(rows)) - 1
        if text.present is None or self._is_newest_only or not len(rows):
            chosen = rows[last]
            return chosen
        filled = np.where(text.present[rows], np.arange(len(rows)), -1)
        at = np.maximum.reduceat(filled, starts)
        chosen = rows[np.where(at < 0, last, at)]
        return chosen


def _numbered(text: Texts, good: Mask) -> tuple[npt.NDArray[np.int64], bool]:
    """Number a column's texts, 0 being none; and tell whether all rows have one and no two the same."""
    encoded = text.pool.dictionary_encode() if text.truth is None else pa.array(text.truth).dictionary_encode()
    codes = encoded.indices.to_numpy().astype(np.int64) + 1
    if text.index is not None and text.truth is None:
        codes = codes[text.index]
    if text.present is not None:
        codes = np.where(text.present, codes, 0)
    chosen = codes if good.all() else codes[good]
    # Counting is several times faster than looking for the distinct ones.
    is_distinct = bool(chosen.all()) and bool(np.bincount(chosen).max(initial=0) <= 1)
    return codes, is_distinct
