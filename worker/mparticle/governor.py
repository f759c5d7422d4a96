"""The rate that all workers share: one schedule and one pause per mParticle account, kept in Redis.

Each account (``quota_group``) has a schedule that says when its next batches may go. To send, a worker reserves a slot
on it: one call, in which Redis' own clock counts, so the workers' clocks do not matter. Slots are spread evenly, and no
second holds more batches than the quota, wherever that second begins: mParticle does not say how it measures. A 429
pauses the account for everybody. A slot that was waited for is worth nothing once a pause has begun, or once Redis
forgot the schedule, so whoever waited asks again before sending.

That is how the live lane sends. The backfill lane gets what live leaves: it holds no slot, only a place in a line, and
whoever waited may have to wait again. So at most one backfill body that was granted already stands before a live one.

An account's state is one hash that expires by itself. Losing it costs a burst at most: slots reserved before the loss
are recognised by their schedule's name and refused; the lost pause is set anew by the next 429.

At a quota of tens of thousands of batches per second a call per body would cost more than the body. A worker then
reserves up to 20 ms worth at once and spends that within 20 ms, which is also how late it may learn of another's pause.
At mParticle's default of 270 per second this is less than one body, so each body asks for itself.
"""

import math
import random
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final, Self

import redis.asyncio as redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from shared.errors import BrokerUnavailable
from shared.run import Lane
from worker.mparticle.answers import Answer, Throttled
from worker.mparticle.schedule import PAUSE, RESERVE

KEY_PREFIX: Final = "warehouse_sync:governor:"

BURST_S: Final = 0.1
"""How far a slot may be earlier than evenly spread: what a late wake-up lost is caught up on, and no more."""
WINDOW_S: Final = 1.05
"""No stretch this long holds more than a second's quota: slots that are a second apart may arrive a little closer."""
BLOCK_S: Final = 0.02
"""How much time one call may reserve ahead, and how long that may be spent."""
MAX_PAUSE_S: Final = 3600.0
"""The longest pause: a nonsensical ``Retry-After`` must not silence an account for ever."""
FIRST_PAUSE_S: Final = 1.0
LAST_PAUSE_S: Final = 60.0
"""Without ``Retry-After`` pauses double from the first to the last, each shortened by up to half at random."""
FORGET_S: Final = 60.0
"""A 429 this long after a pause is new trouble, and pauses start from the first again."""

_TIMEOUT_S: Final = 3.0
_MICRO: Final = 1_000_000


@dataclass(frozen=True, slots=True)
class Grant:
    """A slot: these ``batches`` may go in ``wait_s`` seconds; on the backfill lane only if live leaves it by then.

    Whoever waited for it asks again before sending, with this grant as ``held``.
    """

    wait_s: float
    batches: int
    ticket: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Denied:
    """Nothing was reserved: the next slot is ``wait_s`` seconds away, longer than the caller would wait."""

    wait_s: float


class Governor:
    """Speaks for one process to the state that all share; any number of accounts.

    Args:
        client: A Redis client with socket timeouts; closed with the governor.
        jitter: Gives a number in [0, 1); spreads pauses.
    """

    def __init__(self, client: redis.Redis, *, jitter: Callable[[], float] = random.random) -> None:
        self._client = client
        self._jitter = jitter
        self._reserve = client.register_script(RESERVE)
        self._pause = client.register_script(PAUSE)

    @classmethod
    def connect(cls, url: str, *, timeout_s: float = _TIMEOUT_S) -> Self:
        """Prepare a governor at a Redis or Valkey; it connects at the first call, on the loop that makes it.

        A server that does not answer costs a caller two tries of ``timeout_s`` and never more.
        """
        client: redis.Redis = redis.Redis.from_url(
            url,
            socket_timeout=timeout_s,
            socket_connect_timeout=timeout_s,
            socket_keepalive=True,
            # One more try and no pause: it mends a connection that broke while idle. A reservation made twice
            # costs one slot.
            retry=Retry(NoBackoff(), 1),
        )
        return cls(client)

    def of(self, group: str, batches_per_s: float, *, lane: Lane) -> "Quota":
        """Give the quota of one account, as a lane's run into a feed that declares ``batches_per_s`` may spend it."""
        return Quota(self, group, batches_per_s, lane=lane)

    async def reserve(
        self,
        group: str,
        batches: int,
        batches_per_s: float,
        max_wait_s: float,
        *,
        lane: Lane = Lane.LIVE,
        held: Grant | None = None,
    ) -> Grant | Denied:
        """Reserve the next slot of an account's schedule, in one call.

        Args:
            group: The account's ``quota_group``.
            batches: How many batches the slot is for.
            batches_per_s: The account's quota.
            max_wait_s: Beyond this nothing is reserved.
            lane: Backfill reserves nothing ahead: a wait is for its place in the line.
            held: A slot that was waited for. If it is still good it is granted with no wait; if a pause has begun or
                the schedule was lost meanwhile, another is reserved. On the backfill lane it keeps its place in the
                line, unless the schedule was lost.

        Raises:
            BrokerUnavailable: Redis does not answer.
        """
        ticket = held.ticket if held else b""
        longest, burst, window = (int(seconds * _MICRO) for seconds in (max_wait_s, BURST_S, WINDOW_S))
        granted, wait, ticket = await self._call(
            self._reserve, group, batches, batches_per_s, longest, ticket, burst, window, lane.value
        )
        return Grant(wait / _MICRO, batches, ticket) if granted else Denied(wait / _MICRO)

    async def pause(self, group: str, seconds: float) -> float:
        """Let nobody send for this account for so long; a longer pause that is on stays as it is.

        Returns:
            Seconds until the pause ends.

        Raises:
            BrokerUnavailable: Redis does not answer.
        """
        return await self._set_pause(group, min(seconds, MAX_PAUSE_S))

    async def back_off(self, group: str) -> float:
        """Pause an account for a time that doubles with each new refusal, whoever earned the last one.

        Returns:
            Seconds until the pause ends.

        Raises:
            BrokerUnavailable: Redis does not answer.
        """
        return await self._set_pause(group, None)

    async def close(self) -> None:
        """Close the connections."""
        await self._client.aclose()

    async def _set_pause(self, group: str, seconds: float | None) -> float:
        asked = -1 if seconds is None else math.ceil(seconds * _MICRO)
        jitter = 1 - self._jitter() / 2
        limits = (int(limit * _MICRO) for limit in (FIRST_PAUSE_S, LAST_PAUSE_S, FORGET_S))
        pause: int = await self._call(self._pause, group, asked, jitter, *limits)
        return pause / _MICRO

    async def _call(self, script: Any, group: str, *arguments: float | str | bytes) -> Any:
        try:
            return await script(keys=[KEY_PREFIX + group], args=arguments)
        except (RedisError, OSError) as error:
            options = self._client.connection_pool.connection_kwargs
            place = options.get("path") or f"{options.get('host')}:{options.get('port')}"
            raise BrokerUnavailable(
                f"Redis at {place} did not answer the rate governor ({type(error).__name__}); nothing is sent without "
                f"it. Check that Redis or Valkey runs and WAREHOUSE_SYNC_BROKER_URL is right"
            ) from error


class Quota:
    """What one feed may send of its account's quota; made by :meth:`Governor.of` for one attempt.

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

    def body_batches(self, limit: int) -> int:
        """Give how many batches, up to ``limit``, a body should have so that bodies fill a second of the quota.

        A body counts whole: of a quota of 270 only two bodies of 100 fit into a second, but three of 90.
        """
        return max(1, min(limit, int(self._batches_per_s / math.ceil(self._batches_per_s / limit))))

    def take(self, batches: int) -> bool:
        """Take from what is reserved already; False where that does not suffice or is too old."""
        if batches > self._left or self._clock() >= self._spend_by:
            return False
        self._left -= batches
        return True

    async def reserve(
        self, batches: int, *, wanted: int, max_wait_s: float, held: Grant | None = None
    ) -> Grant | Denied:
        """Reserve a slot for ``batches``, and at high quotas for up to ``wanted``; see :meth:`Governor.reserve`.

        A grant without a wait is to be used at once. What it holds beyond ``batches`` can be taken afterwards.

        Raises:
            BrokerUnavailable: Redis does not answer.
        """
        block = held.batches if held else max(batches, min(wanted, int(self._batches_per_s * BLOCK_S)))
        grant = await self._governor.reserve(
            self._group, block, self._batches_per_s, max_wait_s, lane=self._lane, held=held
        )
        if isinstance(grant, Grant) and not grant.wait_s:
            self._left = block - batches
            self._spend_by = self._clock() + BLOCK_S
        return grant

    async def observe(self, answer: Answer) -> None:
        """Learn from an answer; a 429 pauses the account for everybody.

        Raises:
            BrokerUnavailable: Redis does not answer, so the others could not be told.
        """
        if not isinstance(answer, Throttled):
            return
        self._left = 0
        if answer.retry_after_s is None:
            await self._governor.back_off(self._group)
        else:
            await self._governor.pause(self._group, answer.retry_after_s)
