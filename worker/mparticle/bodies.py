"""Good batches to request bodies under mParticle's limits (pure).

Batches are never copied one by one: every batch's text ends with a comma, so a body is a slice of the encoded buffer
between brackets, and its size is a difference of offsets.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from worker.mparticle.encode import EncodedRows


@dataclass(frozen=True, slots=True)
class Body:
    """The batches ``[first, end)`` of some encoded rows, as indexes among the good ones."""

    first: int
    end: int

    def __len__(self) -> int:
        """Give the number of batches."""
        return self.end - self.first


def pack(offsets: npt.NDArray[np.int64], *, max_batches: int, max_bytes: int) -> list[Body]:
    """Put every batch into exactly one body, in order, each as full as the limits allow.

    A body is one byte longer than its batches' texts: two brackets come, the last comma goes. A batch that is too
    large by itself gets a body of its own.

    Args:
        offsets: ``n + 1`` byte offsets of ``n`` batches.
        max_batches: of one body.
        max_bytes: of one body, brackets included.
    """
    bodies: list[Body] = []
    count, first = len(offsets) - 1, 0
    while first < count:
        fitting = int(np.searchsorted(offsets, offsets[first] + max_bytes - 1, side="right")) - 1
        end = min(max(fitting, first + 1), first + max_batches, count)
        bodies.append(Body(first, end))
        first = end
    return bodies


def split(body: Body) -> tuple[Body, Body]:
    """Halve a body of two batches or more."""
    middle = (body.first + body.end) // 2
    return Body(body.first, middle), Body(middle, body.end)


def body_bytes(encoded: EncodedRows, body: Body) -> bytes:
    """Give the JSON array of a body's batches."""
    start, end = int(encoded.offsets[body.first]), int(encoded.offsets[body.end])
    return b"".join((b"[", encoded.data[start : end - 1], b"]"))
