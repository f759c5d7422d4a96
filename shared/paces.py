"""How fast each mParticle account may go now, read from the state that all upload workers share in Redis.

The state is one hash for each ``quota_group``; ``worker/mparticle/schedule.py`` and ``pace.py`` say its fields and are
the only ones who write it. A hash that is not there says nothing against the whole quota.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import redis

KEY_PREFIX: Final = "warehouse_sync:governor:"
SLOW_RISE: Final = 0.0005
"""The share of its quota by which an account's allowed rate rises in a second without further ado, as in pace.py."""
FIELDS: Final = ("sent", "paused_until", "allowed", "allowed_at")
_MICRO: Final = 1_000_000


@dataclass(frozen=True, slots=True)
class Pace:
    """How an account stands: ``sent_batches`` in the last second, on Redis' clock."""

    allowed_batches_per_s: float
    sent_batches: int
    paused_s: float


def ask(pipeline: "redis.client.Pipeline", groups: Iterable[str]) -> None:
    """Add to a pipeline of commands what :func:`read` reads."""
    pipeline.time()
    for group in groups:
        pipeline.hmget(KEY_PREFIX + group, FIELDS)


def read(answers: Sequence[Any], quotas: Sequence[float]) -> list[Pace]:
    """Read what a pipeline answered to :func:`ask`; ``quotas`` are those of the groups that were asked about."""
    (seconds, micros), *hashes = answers
    now = seconds * _MICRO + micros
    return [
        _pace(dict(zip(FIELDS, found, strict=True)), quota, now) for found, quota in zip(hashes, quotas, strict=True)
    ]


def _pace(state: dict[str, bytes | None], quota: float, now: int) -> Pace:
    allowed = quota
    if state["allowed"] is not None:
        since_s = (now - _number(state["allowed_at"])) / _MICRO
        allowed = min(quota, float(state["allowed"]) + quota * SLOW_RISE * since_s)
    sent = 0
    for entry in (state["sent"] or b"").split():
        at, _, batches = entry.partition(b":")
        # What is ahead holds its slot already, and was not sent yet.
        sent += int(batches) if now - _MICRO < int(at) <= now else 0
    return Pace(allowed, sent, max(0.0, (_number(state["paused_until"]) - now) / _MICRO))


def _number(text: bytes | None) -> float:
    return float(text or 0)
