"""How batches are packed into request bodies.

A body is a run of neighbouring batches, written as a slice of their text between brackets. Packing is greedy and in
order, so the batches of a chunk always fall into the same bodies.

Source: mParticle HTTP API: up to 100 batches and 256 kB a request, whatever their number.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from worker.mparticle.encode import EncodedRows


@dataclass(frozen=True, slots=True)
class Body:
    """The batches from ``first`` up to ``end``, counted among a chunk's good rows."""

    first: int
    end: int

    def __len__(self) -> int:
        """Give the number of batches."""
        return self.end - self.first


def pack(offsets: npt.NDArray[np.int64], *, max_batches: int, max_bytes: int) -> list[Body]:
    """Put every batch into exactly one body, in order, as many into each as fit.

    Args:
        offsets: Bounds of the batches' texts, in bytes, each text ending with a comma: one more than batches.
        max_batches: Batches in one body.
        max_bytes: Bytes of one body, brackets and commas included.

    Raises:
        ValueError: a batch alone is larger than a body may be; the checks must keep such rows back.
    """
    bodies: list[Body] = []
    first, count = 0, len(offsets) - 1
    while first < count:
        # Between the brackets stands everything but the last comma: one byte more than the batches' texts.
        fitting = int(np.searchsorted(offsets, offsets[first] + max_bytes - 1, side="right")) - 1
        end = min(fitting, first + max_batches)
        if end == first:
            raise ValueError(
                f"batch {first} has {offsets[first + 1] - offsets[first] - 1} bytes and cannot be sent in a body of "
                f"{max_bytes}; the limit of one batch must be below it by two"
            )
        bodies.append(Body(first, end))
        first = end
    return bodies


def split(body: Body) -> tuple[Body, Body]:
    """Cut a body of at least two batches into halves, the first the smaller one if they differ.

    Raises:
        ValueError: there is only one batch.
    """
    if len(body) < 2:  # noqa: PLR2004 - halves
        raise ValueError(f"{body} holds one batch and cannot be split")
    middle = (body.first + body.end) // 2
    return Body(body.first, middle), Body(middle, body.end)


def body_bytes(encoded: EncodedRows, body: Body) -> bytes:
    """Write a body: a JSON array of its batches."""
    start, end = int(encoded.offsets[body.first]), int(encoded.offsets[body.end])
    return b"".join((b"[", encoded.data[start : end - 1], b"]"))
