"""Processes that spend one account's quota at a real Valkey and at a stand-in's limits, on a clock that is told.

Everything between is the product's own: ``Quota``, ``Governor`` and the scripts. Only time passes by the test's word,
so minutes take seconds and the same seed gives the same story.
"""

import asyncio
import heapq
import uuid
from collections import Counter
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import count
from random import Random
from typing import Any

import redis.asyncio

from sandbox.ratelimit import RateLimit
from shared.paces import KEY_PREFIX
from shared.run import Lane
from tests.worker.mparticle.told_time import MICRO, START, told
from worker.mparticle.answers import Accepted, Throttled
from worker.mparticle.governor import Denied, Governor, Grant
from worker.mparticle.pace import REFUSED
from worker.mparticle.quota import Quota
from worker.mparticle.schedule import RESERVE


class Clock:
    """Seconds that pass only when everybody sleeps."""

    def __init__(self) -> None:
        self.now = 0.0
        self._order = count()
        self._due: list[tuple[float, int, asyncio.Future[None]]] = []
        self._awake = 0
        self._all_asleep = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()

    def __call__(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        woken = asyncio.get_running_loop().create_future()
        heapq.heappush(self._due, (self.now + seconds, next(self._order), woken))
        self._fall_asleep()
        await woken

    def begin(self, life: Coroutine[Any, Any, None]) -> None:
        """Let something live from now on; one at a time is awake."""

        async def whole() -> None:
            try:
                await self.sleep(0)
                await life
            finally:
                life.close()  # It may have been stopped before it began.
                self._fall_asleep()

        self._awake += 1
        self._tasks.add(asyncio.create_task(whole()))

    async def pass_until(self, end: float) -> None:
        while True:
            while self._awake:
                self._all_asleep.clear()
                await self._all_asleep.wait()
            if not self._due or self._due[0][0] >= end:
                self.now = end
                return
            self.now, _, woken = heapq.heappop(self._due)
            self._awake += 1
            woken.set_result(None)

    async def stop(self) -> None:
        for task in self._tasks:
            task.cancel()
        for result in await asyncio.gather(*self._tasks, return_exceptions=True):
            if isinstance(result, Exception):
                raise result

    def _fall_asleep(self) -> None:
        self._awake -= 1
        if not self._awake:
            self._all_asleep.set()


class ToldGovernor(Governor):
    """A governor whose Redis goes by the told clock."""

    def __init__(self, client: redis.asyncio.Redis, clock: Clock) -> None:
        super().__init__(client, jitter=lambda: 0.5)
        self._clock_told = clock
        self._reserve = client.register_script(told(RESERVE))
        self._learn = client.register_script(told(REFUSED))
        self.calls = 0

    async def _call(self, script: Any, group: str, *arguments: float | str | bytes) -> Any:
        self.calls += 1
        at = START + round(self._clock_told.now * MICRO)
        return await super()._call(script, group, *arguments, *divmod(at, MICRO))


@dataclass
class Story:
    """What mParticle saw.

    Attributes:
        taken: when how many batches were taken, of which lane.
        refused: when which limit was exceeded.
    """

    taken: list[tuple[float, int, Lane]] = field(default_factory=list)
    refused: list[tuple[float, str]] = field(default_factory=list)

    @property
    def answers(self) -> int:
        return len(self.taken) + len(self.refused)

    def batches(self, begins: float, ends: float, lane: Lane | None = None) -> int:
        return sum(size for at, size, whose in self.taken if begins <= at < ends and lane in {None, whose})

    def refusals(self, begins: float = 0, ends: float = 1e9) -> Counter[str]:
        return Counter(limit for at, limit in self.refused if begins <= at < ends)


class Account:
    """One account at mParticle, its state at Redis, and what the processes that send to it have in common."""

    def __init__(
        self,
        client: redis.asyncio.Redis,
        clock: Clock,
        limit: RateLimit,
        *,
        quota: float = 270,
        seed: int = 7,
        tells_percentage: bool = True,
    ) -> None:
        self.clock = clock
        self.governor = ToldGovernor(client, clock)
        self._client = client
        self.group = str(uuid.uuid4())
        self.limit = limit
        self.quota = quota
        self.story = Story()
        self.random = Random(seed)
        self.tells_percentage = tells_percentage

    def process(self, lane: Lane, work: Callable[[float], int]) -> None:
        """Begin a process; ``work`` says how many batches it has to send at a moment."""
        self.clock.begin(self._life(lane, work))

    async def forget(self) -> None:
        """Lose what Redis knows of this account."""
        await self._client.delete(KEY_PREFIX + self.group)

    def visitor(self, batches: int, every_s: float, begins: float, ends: float) -> None:
        """Let others, who know nothing of the governor, spend the same quota."""

        async def life() -> None:
            await self.clock.sleep(begins)
            while self.clock.now < ends:
                self.limit.admit(batches, self.clock.now)
                await self.clock.sleep(every_s)

        self.clock.begin(life())

    async def _life(self, lane: Lane, work: Callable[[float], int]) -> None:
        again: list[int] = []
        while True:
            # An attempt: its bodies are cut when it begins.
            quota = Quota(self.governor, self.group, self.quota, lane=lane, clock=self.clock)
            left = work(self.clock.now)
            body = quota.body_batches(100)
            while left > 0 or again:
                is_again = bool(again)
                batches = again.pop() if is_again else min(body, left)
                if not await self._turn(quota, batches, left, is_again=is_again):
                    again.clear()
                    break
                left -= 0 if is_again else batches
                self.clock.begin(self._request(quota, lane, batches, again))
            await self.clock.sleep(0.05)

    async def _turn(self, quota: Quota, batches: int, left: int, *, is_again: bool) -> bool:
        if quota.take(batches):
            return True
        held: Grant | None = None
        give_up_at = self.clock.now + 30
        while True:
            slot = await quota.reserve(
                batches,
                wanted=max(batches, left),
                max_wait_s=max(0.0, give_up_at - self.clock.now),
                held=held,
                is_again=is_again,
            )
            if isinstance(slot, Denied):
                await self.clock.sleep(min(5, max(0.05, slot.wait_s)))
                return False
            if not slot.wait_s:
                return True
            await self.clock.sleep(slot.wait_s + min(0.02, self.random.expovariate(500)))
            held = slot

    async def _request(self, quota: Quota, lane: Lane, batches: int, again: list[int]) -> None:
        sent_at = self.clock.now
        await self.clock.sleep(0.02 + self.random.uniform(0, 0.01))
        exceeded = self.limit.admit(batches, self.clock.now)
        used = self.limit.percentage_used()
        if exceeded is None:
            self.story.taken.append((self.clock.now, batches, lane))
        else:
            self.story.refused.append((self.clock.now, exceeded.limit))
        await self.clock.sleep(0.02)
        if exceeded is None:
            await quota.observe(Accepted(None if used is None or not self.tells_percentage else float(used)))
        else:
            again.append(batches)
            await quota.observe(
                Throttled(exceeded.retry_after_s, exceeded.limit),
                batches=batches,
                sent_ago_s=self.clock.now - sent_at,
            )


@asynccontextmanager
async def account(url: str, limit: RateLimit, **options: Any) -> AsyncIterator[Account]:
    clock = Clock()
    client = redis.asyncio.Redis.from_url(url)
    made = Account(client, clock, limit, **options)
    try:
        yield made
    finally:
        await clock.stop()
        await made.governor.close()
