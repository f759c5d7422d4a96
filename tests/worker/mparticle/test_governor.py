"""The shared rate, at a real Valkey."""

import asyncio
import os
import re
import signal
import time
import uuid
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import AsyncExitStack, aclosing, asynccontextmanager, suppress
from typing import Any

import pytest
import redis
import redis.asyncio

from sandbox.valkey import Valkey
from shared.errors import BrokerUnavailable
from shared.paces import KEY_PREFIX
from shared.run import Lane
from worker.mparticle.answers import Accepted, Throttled
from worker.mparticle.governor import (
    BURST_S,
    FIRST_PAUSE_S,
    FORGET_S,
    LAST_PAUSE_S,
    MAX_PAUSE_S,
    Denied,
    Governor,
    Grant,
    Rank,
)
from worker.mparticle.quota import BLOCK_S, Quota

LONG_S = 10_000.0


@pytest.fixture
def group() -> str:
    return f"group-{uuid.uuid4()}"


@asynccontextmanager
async def governors(valkey: Valkey, count: int = 1, timeout_s: float = 3) -> AsyncIterator[list[Governor]]:
    """As many governors as there would be processes, each with connections of its own."""
    async with AsyncExitStack() as stack:
        made = [Governor.connect(valkey.url, timeout_s=timeout_s) for _ in range(count)]
        for governor in made:
            stack.push_async_callback(governor.close)
        yield made


@asynccontextmanager
async def governor_without_jitter(valkey: Valkey) -> AsyncIterator[Governor]:
    governor = Governor(redis.asyncio.Redis.from_url(valkey.url), jitter=lambda: 0.0)
    try:
        yield governor
    finally:
        await governor.close()


async def wait_of(reserved: Any) -> float:
    slot = await reserved
    assert isinstance(slot, Grant)
    return slot.wait_s


def test_slots_are_spaced_by_the_quota_whoever_asks(run: Any, valkey: Valkey, group: str) -> None:
    async def scenario() -> list[float]:
        async with governors(valkey, 2) as (one, other):
            return [await wait_of(governor.reserve(group, 100, 10, LONG_S)) for governor in [one, other] * 4]

    waits = run(scenario())
    assert waits[0] == 0
    assert waits == [pytest.approx(10 * slot, abs=1) for slot in range(8)]


def test_accounts_do_not_know_each_other(run: Any, valkey: Valkey, group: str) -> None:
    async def scenario() -> None:
        async with governors(valkey) as [governor]:
            assert await wait_of(governor.reserve(group, 100, 1, LONG_S)) == 0
            assert await wait_of(governor.reserve(group + "-other", 100, 1, LONG_S)) == 0

    run(scenario())


def test_too_long_a_wait_is_denied_and_reserves_nothing(run: Any, valkey: Valkey, group: str) -> None:
    async def scenario() -> None:
        async with governors(valkey) as [governor]:
            await governor.reserve(group, 100, 1, LONG_S)
            for _ in range(3):
                denied = await governor.reserve(group, 100, 1, 30)
                assert isinstance(denied, Denied)
                assert denied.wait_s == pytest.approx(100, abs=1)

    run(scenario())


def test_a_pause_holds_everybody(run: Any, valkey: Valkey, group: str) -> None:
    async def scenario() -> None:
        async with governors(valkey, 2) as (one, other):
            assert await one.pause(group, 50) == 50
            denied = await other.reserve(group, 1, 1_000, 30)
            assert isinstance(denied, Denied)
            assert 45 < denied.wait_s <= 50
            assert 45 < await wait_of(other.reserve(group, 1, 1_000, 60)) <= 50

    run(scenario())


def test_a_longer_pause_is_not_shortened_and_a_shorter_one_is_lengthened(run: Any, valkey: Valkey, group: str) -> None:
    async def scenario() -> None:
        async with governors(valkey) as [governor]:
            await governor.pause(group, 50)
            assert 45 < await governor.pause(group, 5) <= 50
            assert await governor.pause(group, 80) == 80
            assert await governor.pause(group, 10 * MAX_PAUSE_S) == MAX_PAUSE_S

    run(scenario())


def test_a_slot_that_was_waited_for_is_still_good(run: Any, valkey: Valkey, group: str) -> None:
    async def scenario() -> None:
        async with governors(valkey) as [governor]:
            await governor.reserve(group, 100, 1, LONG_S)
            held = await governor.reserve(group, 100, 1, LONG_S)
            assert isinstance(held, Grant)
            assert await wait_of(governor.reserve(group, 100, 1, LONG_S, held=held)) == 0
            # Asking again took nothing: the next slot is the third.
            assert await wait_of(governor.reserve(group, 100, 1, LONG_S)) == pytest.approx(200, abs=1)

    run(scenario())


def test_a_pause_that_began_meanwhile_voids_a_held_slot(run: Any, valkey: Valkey, group: str) -> None:
    async def scenario() -> None:
        async with governors(valkey, 2) as (one, other):
            await one.reserve(group, 1, 1, LONG_S)
            held = await one.reserve(group, 1, 1, LONG_S)
            assert isinstance(held, Grant)
            await other.pause(group, 50)
            assert isinstance(await one.reserve(group, 1, 1, 30, held=held), Denied)
            assert 45 < await wait_of(one.reserve(group, 1, 1, 60, held=held)) <= 50

    run(scenario())


def test_lost_memory_costs_a_burst_and_not_the_slots_held(run: Any, valkey: Valkey, group: str) -> None:
    async def scenario() -> None:
        async with governors(valkey) as [governor]:
            held = [await governor.reserve(group, 100, 1, LONG_S) for _ in range(5)]
            redis.Redis.from_url(valkey.url).delete(KEY_PREFIX + group)
            afterwards = [await wait_of(governor.reserve(group, 100, 1, LONG_S, held=slot)) for slot in held[1:]]  # type: ignore[arg-type] # long waits are never denied
            assert [round(wait, -1) for wait in afterwards] == [0, 100, 200, 300]

    run(scenario())


def test_nothing_is_granted_during_a_pause(run: Any, valkey: Valkey, group: str) -> None:
    pause_s = 0.3
    granted: list[tuple[float, float]] = []
    afterwards: list[float] = []
    ends_at: list[float] = []
    under_way, over = asyncio.Event(), asyncio.Event()

    async def sender(governor: Governor) -> None:
        while not over.is_set():
            held: Grant | None = None
            while True:
                asked_at = time.monotonic()
                slot = await governor.reserve(group, 10, 2_000, 5, held=held)
                assert isinstance(slot, Grant)
                if not slot.wait_s:
                    break
                await asyncio.sleep(slot.wait_s)
                held = slot
            granted.append((asked_at, at := time.monotonic()))
            if len(granted) >= 20:
                under_way.set()
            if ends_at and at >= ends_at[0]:
                afterwards.append(at)
            if len(afterwards) >= 20:
                over.set()

    async def scenario() -> tuple[float, float]:
        async with governors(valkey, 3) as [first, *others]:
            began_at = time.monotonic()
            senders = [asyncio.create_task(sender(one)) for one in [first, *others] * 2]
            await under_way.wait()
            # It begins while it is asked for: no earlier than here, and no later than its answer is read.
            ends_at.append(time.monotonic() + pause_s - 0.005)
            await first.pause(group, pause_s)
            paused_at = time.monotonic()
            await asyncio.gather(*senders)
            return began_at, paused_at

    began_at, paused_at = run(scenario())
    assert [at for asked_at, at in granted if asked_at >= paused_at and at < ends_at[0]] == []
    sending_s = max(at for _, at in granted) - began_at - pause_s
    assert 10 * (len(granted) - 1) <= 2_000 * (sending_s + 2 * BURST_S)


@pytest.mark.parametrize(
    ("batches_per_s", "body"),
    [(270, 27), (150, 25), (100, 25), (99.5, 24), (50, 25), (1_000, 100), (1_001, 91), (5e6, 100), (2, 2), (0.2, 1)],
)
def test_bodies_are_sized_so_that_they_fill_a_second(valkey: Valkey, batches_per_s: float, body: int) -> None:
    quota = Quota(Governor.connect(valkey.url), "any", batches_per_s, lane=Lane.LIVE)
    assert quota.body_batches(100) == body


def test_refusals_of_bodies_sent_together_are_one_trouble(run: Any, valkey: Valkey, group: str) -> None:
    async def scenario() -> None:
        async with governor_without_jitter(valkey) as governor:
            pauses = await asyncio.gather(*(governor.back_off(group) for _ in range(16)))
            assert max(pauses) == FIRST_PAUSE_S
            assert min(pauses) > 0

    run(scenario())


def test_pauses_double_with_each_new_refusal_up_to_a_limit_and_are_forgotten(
    run: Any, valkey: Valkey, group: str
) -> None:
    client = redis.Redis.from_url(valkey.url)

    def let_pause_end(ago_s: float) -> None:
        seconds, micros = client.time()
        client.hset(KEY_PREFIX + group, "paused_until", int((seconds - ago_s) * 1_000_000) + micros)

    async def scenario() -> list[float]:
        async with governor_without_jitter(valkey) as governor:
            pauses = []
            for ago_s in [1.0] * 40 + [FORGET_S + 1]:
                pauses.append(await governor.back_off(group))
                let_pause_end(ago_s)
            return [*pauses, await governor.back_off(group)]

    pauses = run(scenario())
    assert pauses[:4] == [1, 2, 4, 8]
    assert pauses[39] == LAST_PAUSE_S
    assert pauses[-1] == FIRST_PAUSE_S
    client.close()


def test_jitter_shortens_a_pause_by_half_at_most(run: Any, valkey: Valkey) -> None:
    async def scenario() -> None:
        async with governors(valkey) as [governor]:
            pauses = [await governor.back_off(str(uuid.uuid4())) for _ in range(20)]
            assert all(FIRST_PAUSE_S / 2 <= pause <= FIRST_PAUSE_S for pause in pauses)
            assert len(set(pauses)) > 1

    run(scenario())


@pytest.mark.parametrize(
    ("answer", "at_least_s", "at_most_s"),
    [(Throttled(20, "account"), 15, 20), (Throttled(None, None), FIRST_PAUSE_S / 2 - 0.4, FIRST_PAUSE_S)],
)
def test_a_429_in_one_worker_pauses_the_other(
    run: Any, valkey: Valkey, group: str, answer: Throttled, at_least_s: float, at_most_s: float
) -> None:
    async def scenario() -> None:
        async with governors(valkey, 2) as (one, other):
            await Quota(one, group, 270, lane=Lane.LIVE).observe(answer)
            slot = await Quota(other, group, 270, lane=Lane.LIVE).reserve(1, wanted=1, max_wait_s=30)
            assert isinstance(slot, Grant)
            assert at_least_s < slot.wait_s <= at_most_s

    run(scenario())


def test_other_answers_pause_nobody(run: Any, valkey: Valkey, group: str) -> None:
    async def scenario() -> None:
        async with governors(valkey) as [governor]:
            await Quota(governor, group, 270, lane=Lane.LIVE).observe(Accepted(100))
            assert await wait_of(governor.reserve(group, 1, 1, 0)) == 0

    run(scenario())


def test_backfill_waits_for_what_live_leaves_and_asks_again_without_losing_its_place(
    run: Any, valkey: Valkey, group: str
) -> None:
    async def scenario() -> None:
        async with governors(valkey, 2) as (one, other):
            # A slot is 100 s, so that it does not matter how long this machine takes.
            live, backfill = Quota(one, group, 1, lane=Lane.LIVE), Quota(other, group, 1, lane=Lane.BACKFILL)
            assert await wait_of(live.reserve(100, wanted=100, max_wait_s=LONG_S)) == 0
            held = await backfill.reserve(100, wanted=100, max_wait_s=LONG_S)
            assert isinstance(held, Grant)
            assert 90 < held.wait_s <= 100.5
            # It reserved nothing: live, that comes later, is first.
            assert await wait_of(live.reserve(100, wanted=100, max_wait_s=LONG_S)) <= held.wait_s
            again = await backfill.reserve(100, wanted=100, max_wait_s=LONG_S, held=held)
            assert isinstance(again, Grant)
            assert 190 < again.wait_s <= 200.5
            assert again.ticket == held.ticket
            # Whoever comes later on its own lane stands behind it.
            assert await wait_of(backfill.reserve(100, wanted=100, max_wait_s=LONG_S)) > again.wait_s + 90
            denied = await backfill.reserve(100, wanted=100, max_wait_s=100, held=again)
            assert isinstance(denied, Denied)

    run(scenario())


def test_a_pause_holds_both_lanes(run: Any, valkey: Valkey, group: str) -> None:
    async def scenario() -> None:
        async with governors(valkey) as [governor]:
            await Quota(governor, group, 270, lane=Lane.BACKFILL).observe(Throttled(20, "account"))
            for lane in Lane:
                quota = Quota(governor, group, 270, lane=lane)
                assert isinstance(await quota.reserve(1, wanted=1, max_wait_s=10), Denied)
                # The other lane's body has the slot before it.
                assert 15 < await wait_of(quota.reserve(1, wanted=1, max_wait_s=30)) < 21

    run(scenario())


def test_a_place_in_a_forgotten_line_is_worth_nothing(run: Any, valkey: Valkey, group: str) -> None:
    async def scenario() -> None:
        async with governors(valkey) as [governor]:
            await governor.reserve(group, 100, 1, LONG_S)
            held = await governor.reserve(group, 100, 1, LONG_S, rank=Rank.BACKFILL)
            assert isinstance(held, Grant)
            redis.Redis.from_url(valkey.url).delete(KEY_PREFIX + group)
            await governor.reserve(group, 100, 1, LONG_S)
            (first, second) = [
                await wait_of(governor.reserve(group, 100, 1, LONG_S, rank=Rank.BACKFILL, held=ticket))
                for ticket in (None, held)
            ]
            assert first == pytest.approx(100, abs=1)
            assert second > first + 100

    run(scenario())


def test_live_and_backfill_processes_share_a_second_that_holds_no_more_than_the_quota(
    run: Any, valkey: Valkey, group: str
) -> None:
    granted: dict[Lane, list[float]] = {lane: [] for lane in Lane}

    async def sender(governor: Governor, lane: Lane, bodies: int) -> None:
        quota = Quota(governor, group, 1_000, lane=lane)
        while len(granted[Lane.LIVE]) < bodies:
            held: Grant | None = None
            while not isinstance(held, Grant) or held.wait_s:
                await asyncio.sleep(held.wait_s if isinstance(held, Grant) else 0)
                slot = await quota.reserve(20, wanted=20, max_wait_s=30, held=held)
                assert isinstance(slot, Grant)
                held = slot
            granted[lane].append(time.monotonic())

    async def scenario() -> float:
        async with governors(valkey, 6) as made:
            began_at = time.monotonic()
            await asyncio.gather(
                *(sender(governor, Lane.LIVE, 60) for governor in made[:2]),
                *(sender(governor, Lane.BACKFILL, 60) for governor in made[2:]),
            )
            return began_at

    began_at = run(scenario())
    grants = granted[Lane.LIVE] + granted[Lane.BACKFILL]
    # From the beginning, as a process may be late to take note of the first.
    assert 20 * (len(grants) - 1) <= 1_000 * (max(grants) - began_at + 2 * BURST_S)


def test_at_the_default_quota_each_body_is_reserved_by_itself(run: Any, valkey: Valkey, group: str) -> None:
    async def scenario() -> None:
        async with governors(valkey) as [governor]:
            quota = Quota(governor, group, 270, lane=Lane.LIVE)
            assert await wait_of(quota.reserve(100, wanted=1_600, max_wait_s=30)) == 0
            assert not quota.take(1)

    run(scenario())


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_at_a_high_quota_one_call_reserves_for_several_bodies(run: Any, valkey: Valkey, group: str) -> None:
    async def scenario() -> None:
        async with governors(valkey) as [governor]:
            clock = Clock()
            quota = Quota(governor, group, 20_000, lane=Lane.LIVE, clock=clock)
            assert not quota.take(100)
            assert await wait_of(quota.reserve(100, wanted=1_600, max_wait_s=30)) == 0
            # 20 ms of 20,000 a second are 400 batches, four bodies.
            assert [quota.take(100) for _ in range(4)] == [True] * 3 + [False]
            # No more is reserved than what is wanted.
            held: Grant | None = None
            while not quota.take(100):
                slot = await quota.reserve(100, wanted=200, max_wait_s=30, held=held)
                assert isinstance(slot, Grant)
                assert slot.batches == 200
                held = slot
                await asyncio.sleep(slot.wait_s)
            assert not quota.take(100)

    run(scenario())


def test_what_is_reserved_ahead_is_void_after_a_while_and_after_a_429(run: Any, valkey: Valkey, group: str) -> None:
    async def scenario() -> None:
        async with governors(valkey) as [governor]:
            clock = Clock()
            quota = Quota(governor, group, 1_000_000, lane=Lane.LIVE, clock=clock)
            await quota.reserve(100, wanted=1_000, max_wait_s=30)
            assert quota.take(100)
            clock.now += BLOCK_S
            assert not quota.take(100)
            await quota.reserve(100, wanted=1_000, max_wait_s=30)
            assert quota.take(100)
            await quota.observe(Throttled(5, None))
            assert not quota.take(100)

    run(scenario())


def test_keys_expire_by_themselves_and_are_ours(run: Any, valkey: Valkey, group: str) -> None:
    async def scenario() -> None:
        async with governors(valkey) as [governor]:
            await governor.reserve(group + "-reserved", 100, 0.001, LONG_S)
            await governor.pause(group + "-paused", MAX_PAUSE_S)
            await governor.back_off(group + "-backed-off")

    run(scenario())
    with redis.Redis.from_url(valkey.url) as client:
        keys = {key: client.ttl(key) for key in client.keys(f"*{group}*")}
    assert len(keys) == 3
    assert all(key.decode().startswith(KEY_PREFIX) for key in keys)
    assert all(ttl_s > MAX_PAUSE_S for ttl_s in keys.values())
    # A slot that takes 100,000 s outlives the usual expiry.
    assert max(keys.values()) > 100_000


def test_a_flush_of_redis_scripts_is_survived(run: Any, valkey: Valkey, group: str) -> None:
    async def scenario() -> None:
        async with governors(valkey) as [governor]:
            for _ in range(2):
                assert isinstance(await governor.reserve(group, 1, 270, 30), Grant)
                redis.Redis.from_url(valkey.url).script_flush()

    run(scenario())


def test_a_server_that_is_gone_is_said_to_be_and_is_used_again_once_back(run: Any, valkey: Valkey, group: str) -> None:
    async def scenario() -> None:
        async with governors(valkey) as [governor]:
            assert isinstance(await governor.reserve(group, 1, 270, 30), Grant)
            valkey.stop()
            try:
                for _ in range(2):
                    with pytest.raises(BrokerUnavailable, match=re.escape("127.0.0.1")) as raised:
                        await governor.reserve(group, 1, 270, 30)
                    assert valkey.address.password not in str(raised.value)
            finally:
                valkey.start()
            assert isinstance(await governor.reserve(group, 1, 270, 30), Grant)

    run(scenario())


def test_a_server_that_hangs_does_not_hang_its_caller(run: Any, valkey: Valkey, group: str) -> None:
    async def granted(governor: Governor) -> None:
        """Ask until there is an answer: one that has so little time may miss it on a busy machine."""
        slot: Grant | Denied | None = None
        while slot is None:
            with suppress(BrokerUnavailable):
                slot = await governor.reserve(group, 1, 270, 30)
        assert isinstance(slot, Grant)

    async def scenario() -> None:
        async with governors(valkey, timeout_s=0.1) as [governor]:
            await granted(governor)
            pid = valkey.pid
            assert pid
            os.kill(pid, signal.SIGSTOP)
            try:
                for attempt in (governor.reserve(group, 1, 270, 30), governor.pause(group, 1)):
                    with pytest.raises(BrokerUnavailable):
                        await asyncio.wait_for(attempt, 10)
            finally:
                os.kill(pid, signal.SIGCONT)
            await granted(governor)

    run(scenario())


def test_a_cancelled_call_does_not_confuse_the_next(run: Any, valkey: Valkey, group: str) -> None:
    async def answers() -> AsyncGenerator[Grant | Denied]:
        async with governors(valkey) as [governor]:
            await governor.pause(group + "-paused", 500)
            for _ in range(20):
                cut_off = asyncio.create_task(governor.reserve(group + "-paused", 1, 270, 30))
                await asyncio.sleep(0)
                cut_off.cancel()
                await asyncio.gather(cut_off, return_exceptions=True)
                yield await governor.reserve(group, 1, 1_000_000, 30)

    async def scenario() -> None:
        async with aclosing(answers()) as seen:
            async for slot in seen:
                # An answer to the cancelled call would be a denial.
                assert isinstance(slot, Grant)

    run(scenario())
