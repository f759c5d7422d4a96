"""What waits in the broker's queues, and for how long: each message says when it was sent.

A queue is a Redis list for each priority. Who sends adds on the left and workers take from the right, where also goes
what a worker gave back; so the rightmost of a list has waited longest. Messages in workers' hands are not counted.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

import redis

from shared.broker import SENT_AT, lists_of
from shared.messages import Queue


@dataclass(frozen=True, slots=True)
class Waiting:
    """The messages of one queue and priority; ``oldest_sent_at`` is ``None`` where none waits, or it does not say."""

    messages: int
    oldest_sent_at: datetime | None


Backlog = Mapping[Queue, Mapping[int, Waiting]]
"""Of each queue the messages of each priority, 0 first of all."""


def ask(pipeline: "redis.client.Pipeline") -> None:
    """Add to a pipeline of commands what :func:`read` reads."""
    for queue in Queue:
        for name in lists_of(queue).values():
            pipeline.llen(name)
            pipeline.lindex(name, -1)


def read(answers: Sequence[Any]) -> Backlog:
    """Read what a pipeline answered to :func:`ask`."""
    told = iter(answers)
    return {
        queue: {priority: Waiting(next(told), _sent_at(next(told))) for priority in lists_of(queue)} for queue in Queue
    }


def age_s(waiting: Mapping[int, Waiting], now: datetime) -> float | None:
    """Give for how long a queue's oldest message has waited: 0 in an empty one, ``None`` where no message says."""
    sent = [one.oldest_sent_at for one in waiting.values() if one.oldest_sent_at is not None]
    if not sent:
        return None if any(one.messages for one in waiting.values()) else 0.0
    return max(0.0, (now - min(sent)).total_seconds())


_LATEST: Final = 32_503_680_000.0
"""In the year 3000: whatever says more was not sent by us."""


def _sent_at(message: bytes | None) -> datetime | None:
    """Give when a message says that it was sent; others may send anything, and earlier releases say nothing."""
    try:
        sent_at = json.loads(message or b"null")["headers"][SENT_AT]
    except (ValueError, TypeError, KeyError):
        return None
    if not isinstance(sent_at, int | float) or not 0 < sent_at < _LATEST:
        return None
    return datetime.fromtimestamp(sent_at, UTC)
