"""How batches are packed into request bodies.

A body is a run of neighbouring batches, written as a slice of their text between brackets. Packing is greedy and in
order. Batches for the historical endpoint are in no body with others. A batch of several events that mParticle refuses
is taken apart into bodies of one event.

Source: mParticle HTTP API: up to 100 batches and 256 kB a request. The page also speaks of 100 events a request; as it
is not clear which of the two it means, a body has no more of either.
"""

from dataclasses import dataclass

import numpy as np

from worker.mparticle.prepared import EncodedRows


@dataclass(frozen=True, slots=True)
class Body:
    """The batches from ``first`` up to ``end``, counted among a chunk's good rows."""

    first: int
    end: int
    event: int | None = None
    """Only the event with this number of the one batch, as a batch of its own."""

    def __len__(self) -> int:
        """Give the number of batches."""
        return self.end - self.first


def pack(encoded: EncodedRows, *, max_batches: int, max_events: int, max_bytes: int) -> list[Body]:
    """Put every batch into exactly one body, in order, as many into each as fit.

    Args:
        encoded: The batches.
        max_batches: Batches in one body.
        max_events: Events in one body; a batch that has more is alone.
        max_bytes: Bytes of one body, brackets and commas included.

    Raises:
        ValueError: a batch alone is larger than a body may be; the checks must keep such rows back.
    """
    bodies: list[Body] = []
    offsets, count = encoded.offsets, len(encoded)
    events = np.concatenate([[0], np.cumsum(encoded.events)])
    first = 0
    while first < count:
        # Between the brackets stands everything but the last comma: one byte more than the batches' texts.
        fitting = int(np.searchsorted(offsets, offsets[first] + max_bytes - 1, side="right")) - 1
        by_events = int(np.searchsorted(events, events[first] + max_events, side="right")) - 1
        border = encoded.historical_from if first < encoded.historical_from else count
        end = min(fitting, first + max_batches, max(by_events, first + 1), border)
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
    if body.event is not None:
        return b"".join((b"[", encoded.alone(body.first, body.event), b"]"))
    start, end = int(encoded.offsets[body.first]), int(encoded.offsets[body.end])
    return b"".join((b"[", encoded.data[start : end - 1], b"]"))
