"""A chunk whose rows were read and checked, and the batches that are written of it.

What a chunk's rows are is the same for every attempt. Which of them are left out is not: an attempt may know of newer
rows of a user. So writing comes last, and of every batch only those rows take part that are to be sent.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final, Protocol

import numpy as np
import numpy.typing as npt

from shared.errors import LedgerUnbalanced
from shared.findings import PLAN
from shared.ledger import Reject, RejectCode
from worker.mparticle.shares import NO_ROWS, Mask, Positions, Shares

_NOTHING_NOTED: Final[Mapping[str, Positions]] = MappingProxyType({})


class Written(Protocol):
    """Rows that are ready to be written, by their places from 0."""

    @property
    def has_events(self) -> bool:
        """Whether each row is an event."""

    @property
    def sizes(self) -> Positions:
        """How many bytes a batch of one of the rows has."""

    @property
    def shared_sizes(self) -> Positions:
        """How many bytes a row adds to a batch, at most."""

    @property
    def base_sizes(self) -> Positions:
        """How many bytes a batch named by a row has beyond what its rows add."""

    def numbered(self, good: Mask) -> npt.NDArray[np.int64] | None:
        """Number the rows by whose batch they may share, from 0; None where no two of the good ones may."""

    def batches(
        self, rows: Positions, starts: Positions, ids: Positions, *, apart: int = 0
    ) -> tuple[npt.NDArray[np.int64], memoryview]:
        """Write batches: their bounds, one more than batches, and the text that these count in.

        Args:
            rows: The rows of all batches, batch by batch.
            starts: Where each batch begins in ``rows``.
            ids: The row that each batch is named by.
            apart: So many batches, the first ones, are of one event each, and named as :meth:`alone` names them.
        """

    def alone(self, row: int, id_row: int) -> bytes:
        """Write one row of a batch of several as a batch of its own, under an id derived from theirs."""


@dataclass(frozen=True, slots=True)
class EncodedRows:
    """The batches of those rows of a chunk that are not final yet, and what is known of the others.

    Attributes:
        data: The batches' JSON texts in the order of their shares, each ending with a comma.
        offsets: Where each batch begins in ``data``, in bytes, and where the last one ends: one more than batches.
        shares: All shares of the chunk, those that are final included.
        batch_shares: The share that each batch is of, ascending; one that was taken apart has several batches.
        starts: Where the rows of each batch begin in ``sent``: one more than batches.
        sent: The rows of all batches, batch by batch, as positions in the chunk.
        rejects: The rows that a check refused, ascending, of the whole chunk.
        superseded: Good rows that are left out because mParticle was sent newer ones of their users, ascending.
        unchanged: Good rows that are left out because mParticle has them, ascending.
        historical_from: Batches from this one on are for the historical endpoint.
        has_events: Whether each row is an event; otherwise the rows of a batch are one whole.
        alone: Writes the nth row of a batch as one of its own.
    """

    data: memoryview
    offsets: npt.NDArray[np.int64]
    shares: Shares
    batch_shares: Positions
    starts: Positions
    sent: Positions
    rejects: tuple[Reject, ...]
    superseded: Positions
    unchanged: Positions
    historical_from: int
    has_events: bool
    alone: Callable[[int, int], bytes] = field(repr=False)

    def __len__(self) -> int:
        """Give the number of batches."""
        return len(self.offsets) - 1

    @property
    def rows(self) -> Positions:
        """The row that each batch is named by, as its position in the chunk."""
        return self.shares.first_rows[self.batch_shares]

    @property
    def events(self) -> Positions:
        """How many events each batch has."""
        return np.diff(self.starts) if self.has_events else np.zeros(len(self), dtype=np.int64)


class Prepared:
    """A chunk's rows, ready to be written.

    Attributes:
        shares: Who shares a batch; rows are positions in the chunk.
        rejects: The rows that a check refused, ascending.
    """

    def __init__(
        self,
        written: Written,
        *,
        shares: Shares,
        good: Mask,
        later: Mask,
        first_row: int,
        rejects: tuple[Reject, ...],
        noted: Mapping[str, Positions] = _NOTHING_NOTED,
    ) -> None:
        self.shares: Final = shares
        self.rejects: Final = rejects
        self._written = written
        self._good = good
        self._later = later
        self._first_row = first_row
        self._noted = noted

    def found(self, accepted: Positions, rejects: Sequence[Reject]) -> dict[str, int]:
        """Count what is noted of rows that became final: of accepted ones everything, of others the plan's rules."""
        violating = [reject.row for reject in rejects if reject.code is RejectCode.PLAN_VIOLATION]
        judged = np.concatenate([accepted, np.array(violating, dtype=np.int64)]) if violating else accepted
        counted = {
            name: int(np.isin(rows, judged if name.startswith(PLAN) else accepted).sum())
            for name, rows in self._noted.items()
        }
        return {name: rows for name, rows in counted.items() if rows}

    def open_rows(self, position: int = 0) -> Positions:
        """Give the good rows that are not final where ``position`` rows of the chunk are, ascending."""
        rows = self.shares.order[position:]
        return np.sort(rows[self._good[rows - self._first_row]])

    def write(
        self, *, position: int = 0, superseded: Positions = NO_ROWS, unchanged: Positions = NO_ROWS
    ) -> EncodedRows:
        """Write the batches of what is not final.

        Args:
            position: So many rows are final, in the order of the shares. Inside of a share of events: mParticle has
                refused their batch, so those that are left are sent one by one, under the ids of such.
            superseded: Rows to leave out, because mParticle was sent newer ones of their users.
            unchanged: Rows to leave out, because mParticle has them; none is in both.

        Raises:
            LedgerUnbalanced: the position is inside of a user's share, or beyond the last row.
        """
        shares = self.shares
        if not 0 <= position <= len(shares.order):
            raise LedgerUnbalanced(f"of a chunk of {len(shares.order)} rows {position} are final. Please report this")
        first = int(np.searchsorted(shares.bounds, position, side="right")) - 1
        is_inside = bool(shares.bounds[first] != position)
        if is_inside and not self._written.has_events:
            raise LedgerUnbalanced(
                f"of a chunk of {len(shares.order)} rows {position} are final, which is inside of a batch that several "
                "rows share. Please report this"
            )
        share_of = np.repeat(np.arange(first, len(shares)), np.diff(shares.bounds[first:]))
        share_of = share_of[position - int(shares.bounds[first]) :]
        rows = shares.order[position:] - self._first_row
        sendable = self._good.copy()
        sendable[np.concatenate([superseded, unchanged]) - self._first_row] = False
        kept = sendable[rows]
        rows, share_of = rows[kept], share_of[kept]
        begins = np.diff(share_of, prepend=-1) != 0
        apart = int((share_of == first).sum()) if is_inside else 0
        begins[:apart] = True
        starts = np.flatnonzero(begins)
        batch_shares = share_of[starts]
        ids = shares.first_rows[batch_shares] - self._first_row
        offsets, data = self._written.batches(rows, starts, ids, apart=apart)

        def alone(batch: int, number: int) -> bytes:
            return self._written.alone(int(rows[starts[batch] + number]), int(ids[batch]))

        later = self._later[rows[starts]]
        return EncodedRows(
            data=data,
            offsets=offsets,
            shares=shares,
            batch_shares=batch_shares,
            starts=np.append(starts, len(rows)),
            sent=rows + self._first_row,
            rejects=self.rejects,
            superseded=superseded,
            unchanged=unchanged,
            historical_from=int(np.argmax(later)) if later.any() else len(later),
            has_events=self._written.has_events,
            alone=alone,
        )
