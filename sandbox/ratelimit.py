"""The account's quota: how many batches one second may bring, and by how many that may grow.

Each batch counts for the second that follows it. A refused request does not count, so whoever waits is let in.

Source: HTTP API, "rate limits": counted in batches, of the two kinds speed and
acceleration, answered with the headers named here. The algorithm is not published.
"""

from collections import deque
from dataclasses import dataclass
from math import ceil
from typing import Final

EXCEEDED_HEADER: Final = "X-mp-rate-limit-exceeded"
USED_HEADER: Final = "X-mp-rate-limit-percentage-used"

_SECOND_S: Final = 1.0


@dataclass(frozen=True, slots=True)
class Exceeded:
    """Which limit stood in the way, and after how many seconds it no longer will."""

    limit: str
    retry_after_s: int


class RateLimit:
    """A speed limit and an acceleration limit, either of which may be absent.

    Args:
        batches_per_s: the most that one second may bring. A single request of more batches passes when nothing else
            counts, and then counts for as long as its batches are worth.
        acceleration_batches_per_s: the most that one second may bring beyond the second before it. What comes first
            after a silence passes.
    """

    def __init__(self, batches_per_s: int | None, acceleration_batches_per_s: int | None) -> None:
        self._speed = batches_per_s
        self._acceleration = acceleration_batches_per_s
        self._now: deque[tuple[float, int]] = deque()
        self._before: deque[tuple[float, int]] = deque()
        self._used = 0
        self._used_before = 0

    @property
    def is_set(self) -> bool:
        """Whether there is any limit."""
        return self._speed is not None or self._acceleration is not None

    def admit(self, batches: int, now_s: float) -> Exceeded | None:
        """Count a request's batches, or say which limit forbids them.

        Args:
            batches: how many the request carries.
            now_s: the time on a clock that never goes back.
        """
        self._forget(now_s)
        speed, acceleration = self._speed, self._acceleration
        if self._used and speed is not None and self._used + batches > speed:
            return Exceeded("account", max(1, ceil(self._now[0][0] - now_s)))
        if self._used and acceleration is not None and self._used + batches > self._used_before + acceleration:
            return Exceeded("acceleration", 1)
        lasts_s = max(_SECOND_S, batches / speed) if speed is not None else _SECOND_S
        self._now.append((now_s + lasts_s, batches))
        self._used += batches
        return None

    def percentage_used(self) -> int | None:
        """Give how much of the speed limit the last second took, or None without such a limit."""
        return None if self._speed is None else min(100, 100 * self._used // self._speed)

    def _forget(self, now_s: float) -> None:
        while self._now and self._now[0][0] <= now_s:
            until_s, batches = self._now.popleft()
            self._used -= batches
            self._before.append((until_s + _SECOND_S, batches))
            self._used_before += batches
        while self._before and self._before[0][0] <= now_s:
            self._used_before -= self._before.popleft()[1]
