"""Which rows of a chunk share a batch, and the order in which they become final (pure).

The account's quota counts batches, so rows of one user are sent as one where they can be. Who shares with whom depends
on the chunk's rows and on what its run froze, and on nothing else: every attempt finds the same shares, and a batch
keeps its id. A row that a check refused is a share by itself.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

Positions = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]

NO_ROWS: Final[Positions] = np.empty(0, dtype=np.int64)


@dataclass(frozen=True, slots=True)
class Shares:
    """The shares of a chunk, in the order in which they are sent and become final.

    Attributes:
        order: Every row, as its position in the chunk; those of one share side by side, the oldest first.
        bounds: Where each share begins in ``order``, and where the last one ends: one more than shares.
    """

    order: Positions
    bounds: Positions

    def __len__(self) -> int:
        """Give the number of shares."""
        return len(self.bounds) - 1

    @property
    def first_rows(self) -> Positions:
        """The oldest row of each share; a batch is named by it."""
        return self.order[self.bounds[:-1]]

    @property
    def is_shared(self) -> bool:
        """Whether any batch has more than one row."""
        return len(self) < len(self.order)


def apart(rows: int, first_row: int = 0) -> Shares:
    """Let every row have a batch of its own."""
    return Shares(np.arange(first_row, first_row + rows), np.arange(rows + 1))


def together(
    keys: npt.NDArray[np.int64],
    sizes: Positions,
    bases: Positions,
    *,
    max_rows: int,
    max_bytes: int,
    later: Mask,
    age: Positions,
) -> Shares:
    """Let rows with equal keys share batches.

    Args:
        keys: Of each row, a number from 0 up that those who may share have in common; negative: it shares with nobody.
        sizes: How many bytes each row adds to a batch.
        bases: How many bytes a batch named by each row has besides.
        max_rows: The most rows of one share.
        max_bytes: The most bytes of one share; one row may have more.
        later: Rows that are sent after all others. Keys never join these and others.
        age: Orders the rows of a share, ascending; equal ones by their positions.

    Returns:
        Shares in the order of their keys' first rows; those of one key side by side, the oldest first.
    """
    count = len(keys)
    groups = np.where(keys < 0, int(keys.max(initial=0)) + 1 + np.arange(count), keys)
    order = np.lexsort((np.arange(count), age, groups))
    of_keys = np.flatnonzero(np.append(True, np.diff(groups[order]) != 0))[: count and None]
    cuts = _cuts(of_keys, sizes[order], bases[order], max_rows, max_bytes)
    starts = np.sort(np.concatenate([of_keys, *cuts])).astype(np.int64)
    bounds = np.append(starts, count)
    begins = np.minimum.reduceat(order, of_keys) if count else NO_ROWS
    begin = begins[np.searchsorted(of_keys, starts, side="right") - 1]
    ranks = np.lexsort((starts, begin, later[order[starts]]))
    lengths = np.diff(bounds)[ranks]
    new_bounds = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    # The shares in their new order, each with its rows.
    within = np.arange(count) - np.repeat(new_bounds[:-1], lengths)
    return Shares(order[np.repeat(bounds[:-1][ranks], lengths) + within], new_bounds)


def _cuts(starts: Positions, sizes: Positions, bases: Positions, max_rows: int, max_bytes: int) -> Iterator[Positions]:
    """Find where groups that are too large for one share are cut: as late as possible."""
    ends = np.append(starts[1:], len(sizes))
    total = np.concatenate([[0], np.cumsum(sizes)])
    too_large = (ends - starts > max_rows) | (total[ends] - total[starts] + bases[starts] > max_bytes)
    for start, end in zip(starts[too_large].tolist(), ends[too_large].tolist(), strict=True):
        # The largest base of a group: its rows' ids differ by a few digits, and which one names a share is open yet.
        room = max_bytes - int(bases[start:end].max())
        cuts, at = [], start
        while at < end:
            fitting = int(np.searchsorted(total, total[at] + room, side="right")) - 1
            at = max(at + 1, min(fitting, at + max_rows, end))
            if at < end:
                cuts.append(at)
        yield np.array(cuts, dtype=np.int64)
