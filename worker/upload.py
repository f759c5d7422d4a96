"""One attempt at one chunk: its bodies to its feed, and what became of each row.

An attempt is short. It sends bodies in order, several at once, at the rate the governor allows, and records how far
the chunk is settled: every row below a position is final. What stands beyond is sent again by a later attempt under
the same ids, which mParticle recognises. However an attempt ends, short of cancellation and a lost claim, it first
waits for the bodies in flight, so that little is sent twice.

What each answer means: 202 is final; 400 and 413 take the body apart (``worker.sift``); 401, 403 and what the Events
API never answers stop the run; 429 pauses the account for everybody (``worker.mparticle.governor``); silence and 5xx
are tried again with the same ids, ever more slowly.
"""

import asyncio
import math
import random
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, replace
from typing import Final, Self

from shared.errors import Refused
from shared.settings import Settings
from worker.delivery import Delivery, Patience, PutOff
from worker.frontier import Frontier, Step
from worker.mparticle.bodies import Body, pack
from worker.mparticle.client import FeedClient
from worker.mparticle.prepared import EncodedRows
from worker.mparticle.quota import Quota
from worker.sift import sift

_LOOK_EVERY_S: Final = 0.2
"""How late an attempt may notice that it is asked to stop."""


@dataclass(frozen=True, slots=True)
class UploadLimits:
    """What an attempt keeps to; the fields are those of :class:`shared.settings.Settings`.

    ``max_wait_s`` is the longest wait for the governor inside an attempt; a longer one is left to the store.
    """

    body_max_batches: int
    body_max_bytes: int
    body_max_events: int
    requests_in_flight: int
    attempt_target_s: float
    backoff_first_s: float
    backoff_max_s: float
    progress_every_s: float
    max_wait_s: float = 30.0

    @classmethod
    def of(cls, settings: Settings) -> Self:
        """Take the limits from a process's configuration."""
        return cls(
            body_max_batches=settings.body_max_batches,
            body_max_bytes=settings.body_max_bytes,
            body_max_events=settings.body_max_events,
            requests_in_flight=settings.requests_in_flight,
            attempt_target_s=settings.attempt_target_s,
            backoff_first_s=settings.backoff_first_s,
            backoff_max_s=settings.backoff_max_s,
            progress_every_s=settings.progress_every_s,
        )


@dataclass(frozen=True, slots=True)
class Finished:
    """Every row of the chunk is final."""


@dataclass(frozen=True, slots=True)
class Yielded:
    """Rows are left for a later attempt, not before ``wait_s`` seconds from now."""

    wait_s: float
    reason: str
    is_silent: bool = False
    """Whether the feed has answered nothing in this attempt."""


@dataclass(frozen=True, slots=True)
class Stopped:
    """No attempt can succeed until an operator acts."""

    error: Refused


Ending = Finished | Yielded | Stopped


async def upload(  # noqa: PLR0913 - an attempt is where all of these meet; each is named by its caller
    encoded: EncodedRows,
    *,
    rows: int,
    position: int,
    feed: FeedClient,
    governor: Quota,
    limits: UploadLimits,
    record: Callable[[Step], Awaitable[None]],
    stopping: Callable[[], bool],
    jitter: Callable[[], float] = random.random,
) -> Ending:
    """Send what is left of a chunk, as far as one attempt gets.

    Safe to repeat from any recorded position: batches keep their ids.

    Args:
        encoded: The batches of what is not final, and what is known of the chunk's other rows.
        rows: How many rows the chunk has.
        position: Where the attempt starts: so many rows are final.
        feed: Where bodies go.
        governor: The quota that pays for them.
        limits: What the attempt keeps to.
        record: Saves progress; called every ``progress_every_s`` if there is any, and at the end, never twice at
            once. Whatever it raises ends the attempt at once, with the bodies in flight cut off, and is passed on.
        stopping: Asked a few times a second; once True no further body starts.
        jitter: Gives a number in [0, 1); spreads back-off.

    Raises:
        LedgerUnbalanced: ``encoded`` does not account for each row once.
    """
    max_batches = governor.body_batches(limits.body_max_batches)
    bodies = pack(
        encoded,
        max_batches=max_batches,
        max_events=limits.body_max_events,
        max_bytes=limits.body_max_bytes,
    )
    patience = Patience(limits.attempt_target_s, limits.max_wait_s, limits.backoff_first_s, limits.backoff_max_s)
    ahead = max_batches * limits.requests_in_flight
    attempt = _Attempt(
        bodies=iter(bodies),
        frontier=Frontier(encoded, position=position, rows=rows),
        delivery=Delivery(encoded, feed, governor, patience, ahead=ahead, jitter=jitter),
        record=record,
    )
    return await attempt.make(min(limits.requests_in_flight, len(bodies)), limits.progress_every_s, stopping)


class _Attempt:
    """Senders that share the bodies, and a watcher that records and ends them."""

    def __init__(
        self,
        *,
        bodies: Iterator[Body],
        frontier: Frontier,
        delivery: Delivery,
        record: Callable[[Step], Awaitable[None]],
    ) -> None:
        self._bodies = bodies
        self._frontier = frontier
        self._delivery = delivery
        self._record = record
        self._ending: Yielded | Stopped | None = None

    async def make(self, senders: int, progress_every_s: float, stopping: Callable[[], bool]) -> Ending:
        # A fixed set of senders that take the next body: nothing is made for each body, and they start in order.
        sending = {asyncio.create_task(self._send()) for _ in range(senders)}
        try:
            await self._watch(sending, progress_every_s, stopping)
        finally:
            # Besides cancelling: until Python 3.12 asyncio.wait_for, which redis-py waits with, can swallow that.
            self._delivery.end()
            for sender in sending:
                sender.cancel()
            await asyncio.gather(*sending, return_exceptions=True)
        await self._save()
        if self._ending is None or self._frontier.is_complete:
            return Finished()
        if isinstance(self._ending, Yielded) and self._delivery.is_silent:
            return replace(self._ending, is_silent=True)
        return self._ending

    async def _watch(self, sending: set[asyncio.Task[None]], every_s: float, stopping: Callable[[], bool]) -> None:
        clock = asyncio.get_running_loop().time
        record_at = clock() + every_s
        while sending:
            if stopping():
                self._end(Yielded(0.0, "the attempt was asked to stop"))
            elif self._delivery.is_over:
                self._end(Yielded(0.0, "the attempt took its time"))
            ended, sending = await asyncio.wait(
                sending, timeout=min(_LOOK_EVERY_S, every_s), return_when=asyncio.FIRST_EXCEPTION
            )
            for sender in ended:
                sender.result()
            if clock() >= record_at:
                await self._save()
                record_at = clock() + every_s

    async def _send(self) -> None:
        for body in self._bodies:
            try:
                await sift(body, self._delivery.deliver, self._frontier)
            except PutOff as put_off:
                self._end(Yielded(put_off.wait_s, put_off.reason))
            except Refused as error:
                self._end(Stopped(error))
            await self._delivery.calm()

    def _end(self, ending: Yielded | Stopped) -> None:
        """Let the attempt end so, unless it ends for a graver reason already: stopped, then the longest wait."""
        if self._ending is None or _gravity(ending) > _gravity(self._ending):
            self._ending = ending
        self._delivery.end()

    async def _save(self) -> None:
        step = self._frontier.advance()
        if step:
            await self._record(step)


def _gravity(ending: Yielded | Stopped) -> float:
    return ending.wait_s if isinstance(ending, Yielded) else math.inf
