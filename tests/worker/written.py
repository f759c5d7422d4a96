"""Chunks whose rows are written as a test says, with everything else as the encoder does it."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import orjson

from shared.ledger import Reject, RejectCode
from worker.mparticle.prepared import EncodedRows, Prepared
from worker.mparticle.shares import NO_ROWS, Mask, Positions, Shares

Say = Callable[[str, list[int]], bytes]
"""Writes a batch, given its id and its rows."""


def checked(row: int) -> Reject:
    """Refuse a row as a check does."""
    return Reject(row, RejectCode.NO_IDENTITY, "no identity column has a value")


def apart(rows: int) -> list[list[int]]:
    """Let every row have a batch of its own."""
    return [[row] for row in range(rows)]


def said(batch_id: str, rows: list[int]) -> bytes:
    """Write a batch that tells its id and its rows."""
    return orjson.dumps({"id": batch_id, "rows": rows})


class Worded:
    """Rows that are ready to be written, as ``prepared.Written`` promises."""

    def __init__(self, rows: int, say: Say, *, has_events: bool) -> None:
        self.has_events = has_events
        self._say = say
        self._count = rows

    @property
    def sizes(self) -> Positions:
        return np.ones(self._count, dtype=np.int64)

    shared_sizes = base_sizes = sizes

    def numbered(self, good: Mask) -> npt.NDArray[np.int64] | None:
        return None if good.all() else np.arange(len(good))

    def batches(
        self, rows: Positions, starts: Positions, ids: Positions, *, apart: int = 0
    ) -> tuple[npt.NDArray[np.int64], memoryview]:
        shared = [ours.tolist() for ours in np.split(rows, starts)[1:]]
        names = [
            f"{name}:{ours[0]}" if batch < apart else str(name)
            for batch, (name, ours) in enumerate(zip(ids.tolist(), shared, strict=True))
        ]
        texts = [self._say(f"chunk:{name}", ours) + b"," for name, ours in zip(names, shared, strict=True)]
        return np.cumsum([0, *map(len, texts)], dtype=np.int64), memoryview(b"".join(texts))

    def alone(self, row: int, id_row: int) -> bytes:
        return self._say(f"chunk:{id_row}:{row}", [row])


def prepared_of(
    shares: Iterable[Sequence[int]],
    *,
    checks: Iterable[int] = (),
    later: Iterable[int] = (),
    has_events: bool = True,
    say: Say = said,
) -> Prepared:
    """Prepare a chunk.

    Args:
        shares: The rows that share each batch, in the order in which they are sent; every row of the chunk is in one.
        checks: Rows that a check refused.
        later: Rows for the historical endpoint; they come last.
        has_events: Whether each row is an event.
        say: Writes a batch.
    """
    listed = [list(share) for share in shares]
    order = np.array([row for share in listed for row in share], dtype=np.int64)
    good, is_later = np.ones(len(order), dtype=np.bool_), np.zeros(len(order), dtype=np.bool_)
    good[list(checks)] = False
    is_later[list(later)] = True
    return Prepared(
        Worded(len(order), say, has_events=has_events),
        shares=Shares(order, np.cumsum([0, *map(len, listed)], dtype=np.int64)),
        good=good,
        later=is_later,
        first_row=0,
        rejects=tuple(checked(row) for row in sorted(checks)),
    )


def encoded_of(
    shares: Iterable[Sequence[int]],
    *,
    position: int = 0,
    superseded: Iterable[int] = (),
    unchanged: Iterable[int] = (),
    **prepared: Any,
) -> EncodedRows:
    """Write what is left of a chunk where ``position`` rows are final; the rest is as for :func:`prepared_of`."""
    return prepared_of(shares, **prepared).write(
        position=position,
        superseded=np.array(sorted(superseded), dtype=np.int64) if superseded else NO_ROWS,
        unchanged=np.array(sorted(unchanged), dtype=np.int64) if unchanged else NO_ROWS,
    )
