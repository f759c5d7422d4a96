"""Which rows of a chunk are final, whatever the order in which answers come (pure).

A batch is final once mParticle accepted or refused it; a row that a check rejected, or that is left out, is final from
the start. Progress is the *frontier*: the first row that is not final. What is final beyond it counts when the frontier
gets there.
"""

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from shared.errors import LedgerUnbalanced
from shared.run import Progress, Reject

_PENDING, _ACCEPTED, _REFUSED = b"\0", b"\1", b"\2"
_NO_ROWS: Final[NDArray[np.int64]] = np.empty(0, dtype=np.int64)


class Frontier:
    """One attempt's account of a chunk.

    Args:
        batch_rows: The row of each batch, as positions in the chunk, ascending.
        checked: Rows that a check rejected, in any order.
        superseded: Rows left out because mParticle was sent newer ones of their users, ascending.
        unchanged: Rows left out because mParticle has them, ascending.
        position: Where the attempt starts: every row from here to ``rows`` is in one of the four.
        rows: How many rows the chunk has.
    """

    def __init__(
        self,
        batch_rows: NDArray[np.int64],
        checked: Sequence[Reject],
        *,
        superseded: NDArray[np.int64] = _NO_ROWS,
        unchanged: NDArray[np.int64] = _NO_ROWS,
        position: int,
        rows: int,
    ) -> None:
        self._batch_rows = batch_rows
        self._left_out = (superseded, unchanged)
        self._rows = rows
        self._checked = sorted(checked, key=_row)
        self._refused: dict[int, Reject] = {}
        # One byte a batch: marking a body and finding the first pending batch are then single calls of C.
        self._outcomes = bytearray(len(batch_rows))
        self._position = position
        self._final_batches = 0
        self._final_checks = 0

    @property
    def is_complete(self) -> bool:
        """Whether every row was final when the frontier last moved."""
        return self._position == self._rows

    def accept(self, first: int, end: int) -> None:
        """The batches ``[first, end)`` were accepted."""
        self._outcomes[first:end] = _ACCEPTED * (end - first)

    def refuse(self, batch: int, reject: Reject) -> None:
        """One batch was refused for its content."""
        self._outcomes[batch : batch + 1] = _REFUSED
        self._refused[batch] = reject

    def row(self, batch: int) -> int:
        """Give the position in the chunk of a batch's row."""
        return int(self._batch_rows[batch])

    def advance(self) -> Progress | None:
        """Move to the first row that is not final and give what that adds; None where it stays.

        Raises:
            LedgerUnbalanced: rows that are neither a batch nor rejected nor left out lie below the new position.
        """
        pending = self._outcomes.find(_PENDING, self._final_batches)
        batch, position = (pending, self.row(pending)) if pending >= 0 else (len(self._outcomes), self._rows)
        if position == self._position:
            return None
        check = bisect_left(self._checked, position, lo=self._final_checks, key=_row)
        accepted = self._outcomes.count(_ACCEPTED, self._final_batches, batch)
        rejects = sorted((*self._checked[self._final_checks : check], *self._refused_below(batch)), key=_row)
        superseded, unchanged = (_between(rows, self._position, position) for rows in self._left_out)
        # Counted apart from the positions, so that this is a check.
        if accepted + len(rejects) + superseded + unchanged != position - self._position:
            raise LedgerUnbalanced(
                f"of the chunk's rows {self._position} to {position - 1}, {accepted} were accepted, {len(rejects)} "
                f"rejected, {superseded} superseded and {unchanged} unchanged, which is not each of them once. "
                "Please report this"
            )
        self._position, self._final_batches, self._final_checks = position, batch, check
        return Progress(position, accepted, tuple(rejects), superseded, unchanged)

    def _refused_below(self, end: int) -> Iterator[Reject]:
        batch = self._outcomes.find(_REFUSED, self._final_batches, end)
        while batch >= 0:
            yield self._refused[batch]
            batch = self._outcomes.find(_REFUSED, batch + 1, end)


def _between(rows: NDArray[np.int64], first: int, end: int) -> int:
    """Count the rows in ``[first, end)``."""
    return int(np.searchsorted(rows, end) - np.searchsorted(rows, first))


def _row(reject: Reject) -> int:
    return reject.row
