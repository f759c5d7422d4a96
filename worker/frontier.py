"""Which rows of a chunk are final, whatever the order in which answers come (pure).

A row is final once mParticle accepted or refused the batch that it is in; one that a check rejected, or that is left
out, is final from the start. Rows are counted in the order of their shares. Progress is the *frontier*: the beginning
of the first share with a row that is not final, or in a share that was taken apart its first event that is not. What is
final beyond it counts when the frontier gets there.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

from shared.errors import LedgerUnbalanced
from shared.ledger import Progress, Reject
from worker.mparticle.prepared import EncodedRows

Positions = NDArray[np.int64]


class _Outcome(IntEnum):
    PENDING = 0
    ACCEPTED = 1
    REFUSED = 2
    CHECKED = 3
    SUPERSEDED = 4
    UNCHANGED = 5


@dataclass(frozen=True, slots=True)
class Step:
    """What became final between two places of the frontier; ``accepted`` are the rows, as positions in the chunk."""

    progress: Progress
    accepted: Positions


class Frontier:
    """One attempt's account of a chunk.

    Args:
        encoded: Its shares and batches, and the rows that are none.
        position: Where the attempt starts: so many rows, in the order of the shares, are final.
        rows: How many rows the chunk has.

    Raises:
        LedgerUnbalanced: the shares do not hold each row once, or a row that is not final is not either in one batch
            or left out for one reason.
    """

    def __init__(self, encoded: EncodedRows, *, position: int, rows: int) -> None:
        self._encoded = encoded
        self._rows = rows
        self._position = position
        self._order = encoded.shares.order
        self._rejects = {reject.row: reject for reject in encoded.rejects}
        places = np.full(rows, -1, dtype=np.int64)
        places[self._order] = np.arange(len(self._order))
        if len(self._order) != rows or (places < 0).any():
            raise LedgerUnbalanced(
                f"a chunk has {rows} rows, and {len(self._order)} places for them that are not each of them once. "
                "Please report this"
            )
        refused = np.array([reject.row for reject in encoded.rejects], dtype=np.int64)
        ends = np.concatenate([encoded.sent, refused, encoded.superseded, encoded.unchanged])
        times = np.bincount(ends, minlength=rows)[self._order[position:]]
        if (times != 1).any():
            raise LedgerUnbalanced(
                f"of the chunk's rows {position} to {rows - 1} in the order of their batches, {(times == 0).sum()} are "
                f"in no batch and not left out, and {(times > 1).sum()} are so more than once. Please report this"
            )
        # One byte a row: marking a body and finding the first pending row are then single calls of C.
        self._outcomes = np.zeros(rows, dtype=np.uint8)
        for outcome, chosen in (
            (_Outcome.CHECKED, list(self._rejects)),
            (_Outcome.SUPERSEDED, encoded.superseded),
            (_Outcome.UNCHANGED, encoded.unchanged),
        ):
            self._outcomes[places[np.array(chosen, dtype=np.int64)]] = outcome
        self._places = places
        self._taken = np.zeros(rows, dtype=np.int64)
        self._refused_apart = 0
        bounds = encoded.shares.bounds
        first = int(np.searchsorted(bounds, position, side="right")) - 1
        self._apart = set() if bounds[first] == position else {first}

    @property
    def is_complete(self) -> bool:
        """Whether every row was final when the frontier last moved."""
        return self._position == self._rows

    @property
    def has_accepted(self) -> bool:
        """Whether anything that this attempt sent was accepted."""
        return bool((self._outcomes == _Outcome.ACCEPTED).any())

    def accept(self, first: int, end: int) -> None:
        """The batches ``[first, end)`` were accepted."""
        starts = self._encoded.starts
        places = self._places[self._encoded.sent[starts[first] : starts[end]]]
        self._outcomes[places] = _Outcome.ACCEPTED
        self._taken[self._places[self._encoded.sent[starts[first:end]]]] += 1

    def refuse(self, batch: int, reject: Reject) -> None:
        """One batch was refused for its content, and all its rows with it; ``reject`` is that of the first."""
        for row in self._encoded.sent[self._encoded.starts[batch] : self._encoded.starts[batch + 1]].tolist():
            self._refuse_row(row, Reject(row, reject.code, reject.reason))

    def accept_event(self, batch: int, event: int) -> None:
        """One event of a batch was accepted by itself; so the batch was taken apart, and stays so."""
        self._apart.add(self.share(batch))
        place = self._places[self._encoded.sent[self._encoded.starts[batch] + event]]
        self._outcomes[place] = _Outcome.ACCEPTED
        self._taken[place] += 1

    def refuse_event(self, batch: int, event: int, reject: Reject) -> None:
        """One event of a batch was refused by itself; so the batch was taken apart, and stays so."""
        self._apart.add(self.share(batch))
        self._refuse_row(self.row(batch, event), reject)

    def share(self, batch: int) -> int:
        """Give the share that a batch is of; one that was taken apart has several."""
        return int(self._encoded.batch_shares[batch])

    def refused_apart(self) -> int:
        """One more batch had each of its events refused by itself; give how many had so far."""
        self._refused_apart += 1
        return self._refused_apart

    def row(self, batch: int, event: int = 0) -> int:
        """Give the position in the chunk of a batch's row."""
        return int(self._encoded.sent[self._encoded.starts[batch] + event])

    def events(self, batch: int) -> int:
        """Give how many events a batch has; users' rows have none."""
        starts = self._encoded.starts
        return int(starts[batch + 1] - starts[batch]) if self._encoded.has_events else 0

    def advance(self) -> Step | None:
        """Move to the first share, or event of one taken apart, that is not final; give what that adds, if anything.

        Raises:
            LedgerUnbalanced: a row below the new position is neither accepted nor rejected nor left out.
        """
        pending = self._outcomes.tobytes().find(_Outcome.PENDING, self._position)
        position = self._rows if pending < 0 else self._beginning(pending)
        if position <= self._position:
            return None
        settled = slice(self._position, position)
        outcomes, rows = self._outcomes[settled], self._order[settled]
        count = np.bincount(outcomes, minlength=len(_Outcome)).tolist()
        rejects = tuple(self._rejects_of(rows[(outcomes == _Outcome.REFUSED) | (outcomes == _Outcome.CHECKED)]))
        if count[_Outcome.PENDING] or len(rejects) != count[_Outcome.REFUSED] + count[_Outcome.CHECKED]:
            raise LedgerUnbalanced(
                f"of the chunk's rows {self._position} to {position - 1}, {count[_Outcome.PENDING]} have not ended and "
                f"{len(rejects)} have a reason to be rejected. Please report this"
            )
        self._position = position
        progress = Progress(
            position,
            count[_Outcome.ACCEPTED],
            rejects,
            count[_Outcome.SUPERSEDED],
            count[_Outcome.UNCHANGED],
            batches=int(self._taken[settled].sum()),
        )
        return Step(progress, rows[outcomes == _Outcome.ACCEPTED])

    def _beginning(self, place: int) -> int:
        bounds = self._encoded.shares.bounds
        share = int(np.searchsorted(bounds, place, side="right")) - 1
        return place if share in self._apart else int(bounds[share])

    def _refuse_row(self, row: int, reject: Reject) -> None:
        self._outcomes[self._places[row]] = _Outcome.REFUSED
        self._rejects[row] = reject

    def _rejects_of(self, rows: Positions) -> Iterator[Reject]:
        for row in np.sort(rows).tolist():
            if row in self._rejects:
                yield self._rejects[row]
