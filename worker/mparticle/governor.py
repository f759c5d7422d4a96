"""The rate that all workers share: one schedule, one pace and one pause per mParticle account, kept in Redis.

Each account (``quota_group``) has a schedule that says when its next batches may go. To send, a worker reserves a slot
on it: one call, in which Redis' own clock counts, so the workers' clocks do not matter. Slots are spread evenly, and no
second holds more batches than are allowed, wherever that second begins: mParticle does not say how it measures. How
many are allowed, and how fast that may grow, is learned (``worker.mparticle.pace``): what answers said travels with the
next call, and only a 429 makes a call of its own. It pauses the account for everybody, unless it only asks not to speed
up. A slot that was waited for is worth nothing once a pause has begun, or once Redis forgot the schedule, so whoever
waited asks again before sending; the same call reserves for the body that follows.

That is how new live bodies are sent. What is sent again, and the backfill lane, get what those leave: they hold no
slot, only a place in a line, and whoever waited may have to wait again. So at most one backfill body that was granted
already stands before a live one.

An account's state is one hash that expires by itself. Losing it costs a burst at most: slots reserved before the loss
are recognised by their schedule's name and refused, the lost pause is set anew by the next 429, and the account starts
slowly.
"""

import math
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any, Final, Self

import redis.asyncio as redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from shared.errors import BrokerUnavailable
from shared.paces import KEY_PREFIX
from worker.mparticle.answers import Throttled
from worker.mparticle.pace import REFUSED
from worker.mparticle.schedule import RESERVE

BURST_S: Final = 0.1
"""How far a slot may be earlier than evenly spread: what a late wake-up lost is caught up on, and no more."""
WINDOW_S: Final = 1.025
"""No stretch this long holds more than a second's quota: slots that are a second apart may arrive a little closer."""
MAX_PAUSE_S: Final = 3600.0
"""The longest pause: a nonsensical ``Retry-After`` must not silence an account for ever."""
FIRST_PAUSE_S: Final = 1.0
LAST_PAUSE_S: Final = 60.0
"""Without ``Retry-After`` pauses double from the first to the last, each shortened by up to half at random."""
FORGET_S: Final = 60.0
"""A 429 this long after a pause is new trouble, and pauses start from the first again."""

_TIMEOUT_S: Final = 3.0
_MICRO: Final = 1_000_000


class Rank(IntEnum):
    """Who goes first: new live bodies, then what is sent again on either lane, then new bodies of the backfill."""

    LIVE = 0
    AGAIN = 1
    BACKFILL = 2


@dataclass(frozen=True, slots=True)
class Grant:
    """A slot: these ``batches`` may go in ``wait_s`` seconds; below the live rank only if live leaves it by then.

    Whoever waited for it asks again before sending, with this grant as ``held``.
    """

    wait_s: float
    batches: int
    ticket: bytes = field(repr=False)
    rank: Rank = Rank.LIVE
    ahead: "Grant | None" = None
    """A slot for the body that follows, where one was asked for and is there."""


@dataclass(frozen=True, slots=True)
class Denied:
    """Nothing was reserved: the next slot is ``wait_s`` seconds away, longer than the caller would wait.

    Without a wait the body is too large for what the account may add in a second, and has to be cut anew.
    """

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
        self._growth: dict[str, int] = {}
        self._reserve = client.register_script(RESERVE)
        self._learn = client.register_script(REFUSED)

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

    async def reserve(  # noqa: PLR0913 - all that one call can say; its caller names each
        self,
        group: str,
        batches: int,
        batches_per_s: float,
        max_wait_s: float,
        *,
        rank: Rank = Rank.LIVE,
        held: Grant | None = None,
        following: int = 0,
        percentage_used: float | None = None,
    ) -> Grant | Denied:
        """Reserve the next slot of an account's schedule, in one call.

        Args:
            group: The account's ``quota_group``.
            batches: How many batches the slot is for.
            batches_per_s: The account's quota.
            max_wait_s: Beyond this nothing is reserved.
            rank: Below live nothing is reserved ahead: a wait is for a place in the line.
            held: A slot that was waited for. If it is still good it is granted with no wait; if a pause has begun or
                the schedule was lost meanwhile, another is reserved. In the line it keeps its place, unless the
                schedule was lost.
            following: If a slot is granted with no wait: how many batches to reserve one more slot for.
            percentage_used: What an answer within the last second said about the account's limits.

        Raises:
            BrokerUnavailable: Redis does not answer.
        """
        ticket = held.ticket if held else b""
        longest, burst, window = (int(seconds * _MICRO) for seconds in (max_wait_s, BURST_S, WINDOW_S))
        used = -1.0 if percentage_used is None else percentage_used
        told = await self._call(
            self._reserve, group, batches, batches_per_s, longest, ticket, burst, window, int(rank), used, following
        )
        granted, wait, ticket, is_ahead, wait_ahead, ticket_ahead, growth = told
        self._growth[group] = growth
        if not granted:
            return Denied(wait / _MICRO)
        ahead = Grant(wait_ahead / _MICRO, following, ticket_ahead, rank) if is_ahead else None
        return Grant(wait / _MICRO, batches, ticket, rank, ahead)

    def growth_of(self, group: str) -> int | None:
        """Give by how many batches a second may exceed the one before, where this process was told of such a limit."""
        return self._growth.get(group) or None

    async def pause(self, group: str, seconds: float) -> float:
        """Let nobody send for this account for so long; a longer pause that is on stays as it is.

        Returns:
            Seconds until the pause ends.

        Raises:
            BrokerUnavailable: Redis does not answer.
        """
        return await self._refuse(group, seconds)

    async def back_off(self, group: str) -> float:
        """Pause an account for a time that doubles with each new refusal, whoever earned the last one.

        Returns:
            Seconds until the pause ends.

        Raises:
            BrokerUnavailable: Redis does not answer.
        """
        return await self._refuse(group, None)

    async def refused(
        self, group: str, answer: Throttled, batches_per_s: float, *, batches: int, sent_ago_s: float
    ) -> float:
        """Learn from a 429: allow less, or speed up less, and pause for everybody where that is asked for.

        Args:
            group: The account's ``quota_group``.
            answer: The 429.
            batches_per_s: The account's quota.
            batches: What was refused.
            sent_ago_s: How long ago that was sent: what was under way when the limit was met tells nothing new.

        Returns:
            Seconds until the pause ends; 0 where there is none.

        Raises:
            BrokerUnavailable: Redis does not answer.
        """
        limit = answer.exceeded or "unknown"
        ago = int(sent_ago_s * _MICRO)
        return await self._refuse(group, answer.retry_after_s, limit, ago, batches_per_s, batches)

    async def close(self) -> None:
        """Close the connections."""
        await self._client.aclose()

    async def _refuse(
        self,
        group: str,
        pause_s: float | None,
        limit: str = "",
        ago: int = 0,
        batches_per_s: float = 1,
        batches: int = 0,
    ) -> float:
        asked = -1 if pause_s is None else math.ceil(min(pause_s, MAX_PAUSE_S) * _MICRO)
        jitter = 1 - self._jitter() / 2
        limits = (int(seconds * _MICRO) for seconds in (FIRST_PAUSE_S, LAST_PAUSE_S, FORGET_S, WINDOW_S))
        pause: int = await self._call(self._learn, group, asked, jitter, *limits, limit, ago, batches_per_s, batches)
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
