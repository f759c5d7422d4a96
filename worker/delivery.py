"""One body, sent at the shared rate until mParticle says something about its content.

In between lie waits: for the governor, for the end of a pause, for a feed that does not answer. All of them end at once
when the attempt does, and none is begun that the attempt would not live to see the end of: then the attempt yields.
"""

import asyncio
import random
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Final, assert_never

from shared.errors import BrokerUnavailable, CredentialsRefused, FeedRefused
from worker.mparticle.answers import (
    Accepted,
    Answer,
    BatchesRefused,
    NotTheApi,
    SignInRefused,
    Throttled,
    TooLarge,
    Unavailable,
)
from worker.mparticle.bodies import Body, body_bytes
from worker.mparticle.client import BULK_PATH, HISTORICAL_PATH, FeedClient
from worker.mparticle.governor import Denied, Grant
from worker.mparticle.prepared import EncodedRows
from worker.mparticle.quota import Quota
from worker.mparticle.redaction import without_values
from worker.sift import Verdict

_TROUBLED_AFTER: Final = 2
"""Failures in a row of one body that keep new bodies from starting: one is chance, two are trouble.

What is accepted beyond a body that never succeeds is sent again by each attempt, and spends quota each time.
"""
_MOST_DOUBLINGS: Final = 30
_ENCODING_REFUSED: Final = 415


@dataclass(frozen=True, slots=True)
class Patience:
    """How long an attempt may take, and wait.

    Attributes:
        attempt_s: From its start; no request starts later.
        quota_s: The longest a body waits for the governor.
        backoff_first_s: The first pause after no answer; doubled each time, then shortened by up to half at random.
        backoff_max_s: The longest of these.
    """

    attempt_s: float
    quota_s: float
    backoff_first_s: float
    backoff_max_s: float


class PutOff(Exception):
    """A body waits for a later attempt, in ``wait_s`` seconds or more."""

    def __init__(self, wait_s: float, reason: str) -> None:
        super().__init__(wait_s, reason)
        self.wait_s: Final = wait_s
        self.reason: Final = reason


class Delivery:
    """Delivers the bodies of one attempt; several at once, each by :meth:`deliver`.

    Args:
        encoded: What bodies are cut from.
        feed: Where they go.
        quota: What pays for them.
        patience: When to give up; the attempt's time begins now.
        ahead: How many batches may be reserved at once where the quota is high: what can start without waiting.
        jitter: Gives a number in [0, 1); spreads back-off.
    """

    def __init__(
        self,
        encoded: EncodedRows,
        feed: FeedClient,
        quota: Quota,
        patience: Patience,
        *,
        ahead: int,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self._encoded = encoded
        self._feed = feed
        self._quota = quota
        self._patience = patience
        self._ahead = ahead
        self._jitter = jitter
        self._clock = asyncio.get_running_loop().time
        self._deadline = self._clock() + patience.attempt_s
        # One asks the governor at a time, so that bodies start in order and an ending attempt wastes one slot.
        self._turn = asyncio.Lock()
        self._over = asyncio.Event()
        self._calm = asyncio.Event()
        self._calm.set()
        self._troubled: set[int] = set()
        self._unanswered = 0
        self._answered = 0

    @property
    def is_silent(self) -> bool:
        """Whether something was sent and nothing was answered."""
        return self._unanswered > 0 and self._answered == 0

    @property
    def is_over(self) -> bool:
        """Whether no further request may start."""
        return self._over.is_set() or self._clock() >= self._deadline

    def end(self) -> None:
        """Start no further request and end all waits; requests in flight are left to finish."""
        self._over.set()
        self._calm.set()

    async def calm(self) -> None:
        """Wait until no body is in trouble, or the attempt is over."""
        await self._calm.wait()

    async def deliver(self, body: Body) -> Verdict:
        """Send a body as often as it takes, always the same bytes.

        Raises:
            PutOff: the attempt is over, or ends before the body could be sent.
            CredentialsRefused: mParticle refuses the key.
            FeedRefused: what answers is not the Events API.
        """
        began_at = self._clock()
        failures = 0
        path = BULK_PATH if body.first < self._encoded.historical_from else HISTORICAL_PATH
        is_again = False
        try:
            while True:
                await self._take_turn(body, is_again=is_again)
                self._go_on()
                content = body_bytes(self._encoded, body)
                sent_at = self._clock()
                answer = await self._feed.send(content, path)
                if isinstance(answer, Unavailable):
                    self._unanswered += 1
                else:
                    self._answered += 1
                await self._observe(answer, body, sent_at)
                is_again = True
                match answer:
                    case Accepted() | TooLarge():
                        return answer
                    case BatchesRefused(message):
                        return BatchesRefused(without_values(message, content))
                    case Throttled():
                        continue  # the governor knows, and has the next turn wait
                    case Unavailable(reason):
                        failures += 1
                        await self._back_off(body, failures, began_at, reason)
                    case SignInRefused(status):
                        raise CredentialsRefused(
                            f"mParticle at {self._feed.host} refused the sign-in of feed {self._feed.name!r} (HTTP "
                            f"{status}); check its api_key and the secret that its api_secret refers to. Retry the run "
                            f"with another secret (workers read a variable when they start, a file each time), or "
                            f"abandon it if the key was wrong"
                        )
                    case NotTheApi(status, message):
                        raise self._stranger(status, without_values(message, content))
                    case _:
                        assert_never(answer)
        finally:
            self._troubled.discard(body.first)
            if not self._troubled:
                self._calm.set()

    def _stranger(self, status: int, message: str) -> FeedRefused:
        said = f" ({message})" if message else ""
        if status == _ENCODING_REFUSED and self._feed.is_gzip:
            return FeedRefused(
                f"{self._feed.host} takes no compressed bodies (HTTP {status}){said}; set gzip: false on the feed, "
                f"then retry the run"
            )
        return FeedRefused(
            f"{self._feed.host} answered HTTP {status} where mParticle's Events API answers 202"
            f"{said}; check the feed's base_url. Retry the run if it is right, else "
            f"correct it and abandon the run"
        )

    async def _take_turn(self, body: Body, *, is_again: bool) -> None:
        batches = len(body)
        self._go_on()
        if self._quota.take(batches):
            return
        async with self._turn:
            self._go_on()
            if self._quota.take(batches):
                return
            held: Grant | None = None
            # However often it is told to ask again, as a backfill body may be, it waits no longer than for one slot.
            give_up_at = min(self._clock() + self._patience.quota_s, self._deadline)
            while True:
                slot = await self._reserve(body, give_up_at, held, is_again=is_again)
                if isinstance(slot, Denied):
                    # What the next attempt can wait for itself needs nobody to look for the chunk afterwards.
                    is_long = slot.wait_s > min(self._patience.quota_s, self._patience.attempt_s)
                    reason = f"the account's quota has no room for {slot.wait_s:.1f} s"
                    if not slot.wait_s:
                        reason = "the account may not speed up by whole bodies; they are cut smaller"
                    raise PutOff(slot.wait_s if is_long else 0.0, reason)
                if not slot.wait_s:
                    return
                await self._rest(slot.wait_s)
                held = slot

    async def _reserve(self, body: Body, give_up_at: float, held: Grant | None, *, is_again: bool) -> Grant | Denied:
        max_wait_s = max(0.0, give_up_at - self._clock())
        # Bodies start in order, so that no more than what follows this one can be left.
        wanted = min(self._ahead, len(self._encoded) - body.first)
        try:
            return await self._quota.reserve(
                len(body), wanted=wanted, max_wait_s=max_wait_s, held=held, is_again=is_again
            )
        except BrokerUnavailable as error:
            raise PutOff(self._patience.backoff_max_s, str(error)) from error

    async def _observe(self, answer: Answer, body: Body, sent_at: float) -> None:
        try:
            await self._quota.observe(answer, batches=len(body), sent_ago_s=self._clock() - sent_at)
        except BrokerUnavailable as error:
            asked_s = (answer.retry_after_s or 0.0) if isinstance(answer, Throttled) else 0.0
            raise PutOff(max(asked_s, self._patience.backoff_max_s), str(error)) from error

    async def _back_off(self, body: Body, failures: int, began_at: float, reason: str) -> None:
        if failures >= _TROUBLED_AFTER:
            self._troubled.add(body.first)
            self._calm.clear()
        doubled_s = self._patience.backoff_first_s * 2 ** min(failures - 1, _MOST_DOUBLINGS)
        wait_s = min(doubled_s, self._patience.backoff_max_s) * (1 - self._jitter() / 2)
        now = self._clock()
        if self.is_over or now + wait_s >= self._deadline:
            # As long again as the trouble has lasted, so that a feed that is down for long is asked less often.
            raise PutOff(min(max(wait_s, now - began_at), self._patience.backoff_max_s), reason)
        await self._rest(wait_s)

    async def _rest(self, seconds: float) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._over.wait()
        self._go_on()

    def _go_on(self) -> None:
        if self.is_over:
            raise PutOff(0.0, "the attempt is over")
