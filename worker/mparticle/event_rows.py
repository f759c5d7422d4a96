"""Events that share a batch where all else of their batches is equal.

Each row is two texts: its *head*, which is everything but its id and its event, and its event. A batch is an id, a
head, and the events of all rows that share it.
"""

from functools import cached_property
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from worker.mparticle.assemble import Placed
from worker.mparticle.buffers import OFFSET_MAX, Index, lengths
from worker.mparticle.shares import Mask, Positions

_BEGIN: Final = b',"events":['
_END: Final = b"]},"
_LITERALS: Final = 7
_NOTHING, _OPENING, _QUOTE, _FIRST, _COMMA, _CLOSING, _COLON = range(_LITERALS)


class EventRows:
    """A chunk's events, ready to be written.

    Args:
        start: The text in front of every row's position, up to the colon.
        digits: A pool with the rows' positions as text.
        digits_of: Where each row's is.
        heads: Of each row, the members of its batch besides id and events, each behind a comma.
        events: Of each row, its event.
    """

    has_events: Final[bool] = True

    def __init__(self, start: bytes, digits: Any, digits_of: Index, heads: Any, events: Any) -> None:
        self._start = start
        self._digits = digits
        self._digits_of = digits_of
        self._heads = heads
        self._events = events

    @cached_property
    def sizes(self) -> Positions:
        """How many bytes a batch of one of the rows has."""
        return self.base_sizes + self.shared_sizes

    @cached_property
    def base_sizes(self) -> Positions:
        """How many bytes a batch named by one of the rows has besides its events."""
        digits = lengths(self._digits)[self._digits_of].astype(np.int64)
        # Neither the comma behind a batch counts, nor that in front of its first event.
        around = len(self._start) + len(b':"') + len(_BEGIN) + len(_END) - 2
        return digits + lengths(self._heads) + around

    @cached_property
    def shared_sizes(self) -> Positions:
        """How many bytes a row's event and a comma have."""
        return lengths(self._events).astype(np.int64) + 1

    def numbered(self, good: Mask) -> npt.NDArray[np.int64]:  # noqa: ARG002 - the protocol's
        """Number the rows by their heads: equal heads, equal numbers."""
        codes: npt.NDArray[np.int64] = self._heads.dictionary_encode().indices.to_numpy().astype(np.int64)
        return codes

    def batches(
        self, rows: Positions, starts: Positions, ids: Positions, *, apart: int = 0
    ) -> tuple[npt.NDArray[np.int64], memoryview]:
        """Write batches; see :class:`worker.mparticle.prepared.Written`."""
        literals = [b"", self._start + b":", b'"', _BEGIN, b",", _END, b":"]
        pools = [pa.array(literals, pa.binary()), self._digits, self._heads, self._events]
        numbers_at, heads_at, events_at = np.cumsum([len(pool) for pool in pools[:-1]]).tolist()
        pieces = np.zeros((9, len(rows)), dtype=np.int32)
        pieces[0, starts] = _OPENING
        pieces[1, starts] = self._digits_of[ids] + numbers_at
        pieces[2, :apart] = _COLON
        pieces[3, :apart] = self._digits_of[rows[:apart]] + numbers_at
        pieces[4, starts] = _QUOTE
        pieces[5, starts] = rows[starts] + heads_at
        pieces[6] = _COMMA
        pieces[6, starts] = _FIRST
        pieces[7] = rows + events_at
        if len(rows):
            pieces[8, np.append(starts[1:], len(rows)) - 1] = _CLOSING
        matrix = np.ascontiguousarray((pieces if apart else np.delete(pieces, [2, 3], axis=0)).T)
        most = int(self.base_sizes[ids].sum() + self.shared_sizes[rows].sum()) + 12 * len(rows)
        if max(most, sum(pool.nbytes for pool in pools)) > OFFSET_MAX:
            pools = [pool.cast(pa.large_binary()) for pool in pools]
        bounds, content = Placed(pa.concat_arrays(pools), matrix).gather()
        return bounds[np.append(starts, len(rows))], content.data

    def alone(self, row: int, id_row: int) -> bytes:
        """Write one event of a batch as a batch of its own, under an id derived from the batch's."""
        name = b":".join((self._start, self._number(id_row), self._number(row)))
        head, event = self._heads[row].as_py(), self._events[row].as_py()
        return b"".join((name, b'"', head, _BEGIN, event, _END[:-1]))

    def _number(self, row: int) -> bytes:
        text: bytes = self._digits[int(self._digits_of[row])].as_py()
        return text
