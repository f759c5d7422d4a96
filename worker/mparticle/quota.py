"""What one attempt may send of its account's quota, at the price of one call to Redis a body.

A body that waits for its slot asks again before it is sent, and with the same call reserves for the next one. What
answers said of the account's limits is told with that call, too.

At a quota of tens of thousands of batches per second a call per body would cost more than the body. A worker then
reserves up to 20 ms worth at once and spends that within 20 ms, which is also how late it may learn of another's pause.
At mParticle's default of 270 per second this is less than one body, so each body asks for itself.
"""

import time
from collections.abc import Callable
from dataclasses import replace
from typing import Final

from shared.run import Lane
from worker.mparticle.answers import Accepted, Answer, Throttled
from worker.mparticle.governor import Denied, Governor, Grant, Rank

BLOCK_S: Final = 0.02
"""How much time one call may reserve ahead, and how long that may be spent."""
BODIES_PER_S: Final = 10
"""So many bodies at least share a second: what is small fits into every gap, and the rate grows in small steps."""
WHOLE_BODY: Final = 20
"""Not for that are bodies made smaller than this: as many refused one by one prove that a mapping is wrong."""
FRESH_S: Final = 1.0
"""How long a percentage that an answer told says something about now."""


class Quota:
    """What one feed may send of its account's quota; made for one attempt.

    Args:
        governor: Where the account's state is.
        group: The account's ``quota_group``.
        batches_per_s: The account's quota.
        lane: Whose share of it.
        clock: Monotonic seconds, for what was reserved ahead.
    """

    def __init__(
        self,
        governor: Governor,
        group: str,
        batches_per_s: float,
        *,
        lane: Lane,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._governor = governor
        self._group = group
        self._batches_per_s = batches_per_s
        self._lane = lane
        self._clock = clock
        self._left = 0
        self._spend_by = 0.0
        self._ahead: Grant | None = None
        self._ahead_at = 0.0
        self._used: float | None = None
        self._used_at = 0.0

    def body_batches(self, limit: int) -> int:
        """Give how many batches, up to ``limit``, a body should have so that bodies fill a second of the quota.

        A body counts whole: of a quota of 270 only two bodies of 100 fit into a second, but ten of 27.
        """
        per_s = self._batches_per_s
        largest, least = max(int(per_s / BODIES_PER_S), 4 * WHOLE_BODY // 3), WHOLE_BODY
        growth = self._governor.growth_of(self._group)
        if growth is not None:
            # Half of what a second may add: a rate that grows by whole bodies would need each to be on time.
            largest, least = growth // 2, growth // 3
        largest = max(1, min(largest, limit, int(per_s)))
        sizes = range(largest, min(largest, max(least, 3 * largest // 4)) - 1, -1)
        return max(sizes, key=lambda size: size * (per_s // size))

    def take(self, batches: int) -> bool:
        """Take from what is reserved already; False where that does not suffice or is too old."""
        if batches > self._left or self._clock() >= self._spend_by:
            return False
        self._left -= batches
        return True

    async def reserve(
        self, batches: int, *, wanted: int, max_wait_s: float, held: Grant | None = None, is_again: bool = False
    ) -> Grant | Denied:
        """Reserve a slot for ``batches``, and at high quotas for up to ``wanted``; see :meth:`Governor.reserve`.

        A grant without a wait is to be used at once. What it holds beyond ``batches`` can be taken afterwards.

        Args:
            batches: What is to be sent.
            wanted: What the caller could send at once, these batches included.
            max_wait_s: Beyond this nothing is reserved.
            held: A slot that was waited for.
            is_again: Whether the batches were sent before and not taken.

        Raises:
            BrokerUnavailable: Redis does not answer.
        """
        now = self._clock()
        if held is None and (held := self._reserved_ahead(batches)) is not None:
            wait_s = self._ahead_at - now
            if wait_s > max_wait_s:
                return Denied(wait_s)
            if wait_s > 0:
                return replace(held, wait_s=wait_s)
        # Whole bodies: what is left of a block when its time is over is lost.
        bodies = max(1, min(wanted, int(self._batches_per_s * BLOCK_S)) // batches)
        block = held.batches if held else bodies * batches
        used = self._used if now - self._used_at < FRESH_S else None
        self._used = None
        slot = await self._governor.reserve(
            self._group,
            block,
            self._batches_per_s,
            max_wait_s,
            rank=held.rank if held else self._rank(is_again=is_again),
            held=held,
            following=min(batches, wanted - batches) if block == batches else 0,
            percentage_used=used,
        )
        if isinstance(slot, Grant) and not slot.wait_s:
            now = self._clock()
            self._left, self._spend_by = block - batches, now + BLOCK_S
            self._ahead = slot.ahead
            self._ahead_at = now + (slot.ahead.wait_s if slot.ahead else 0.0)
        return slot

    async def observe(self, answer: Answer, *, batches: int = 0, sent_ago_s: float = 0.0) -> None:
        """Learn from the answer to a body: a 429 at once and for everybody, the rest with the next reservation.

        Raises:
            BrokerUnavailable: Redis does not answer, so the others could not be told.
        """
        match answer:
            case Accepted(float(percentage)):
                fresh = self._used if self._clock() - self._used_at < FRESH_S else None
                self._used, self._used_at = max(percentage, fresh or 0.0), self._clock()
            case Throttled():
                self._left = 0
                await self._governor.refused(
                    self._group, answer, self._batches_per_s, batches=batches, sent_ago_s=sent_ago_s
                )
            case _:
                pass

    def _rank(self, *, is_again: bool) -> Rank:
        if is_again:
            return Rank.AGAIN
        return Rank.LIVE if self._lane is Lane.LIVE else Rank.BACKFILL

    def _reserved_ahead(self, batches: int) -> Grant | None:
        """Give the slot that was reserved for the body that follows, once."""
        ahead, self._ahead = self._ahead, None
        return ahead if ahead is not None and ahead.batches >= batches else None
