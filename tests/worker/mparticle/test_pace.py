"""What is learned from mParticle's answers, and what it costs: minutes of four processes on a clock that is told."""

from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from sandbox.ratelimit import RateLimit
from sandbox.valkey import Valkey
from shared.run import Lane
from tests.worker.mparticle.told_account import Account, account

QUOTA = 270
LEARNED_S = 30
MINUTES_S = 150


def always(_: float) -> int:
    return 2_000


def mostly(now: float) -> int:
    """Work for two thirds of the time."""
    return 2_000 if now % 9 < 6 else 0


async def both_lanes_busy(made: Account, live: Callable[[float], int] = mostly) -> None:
    for _ in range(2):
        made.process(Lane.LIVE, live)
        made.process(Lane.BACKFILL, always)
    await made.clock.pass_until(MINUTES_S)


@pytest.fixture
def tell(run: Any, valkey: Valkey) -> Callable[..., Account]:
    """Let a story happen, by default to an account whose two lanes are busy; gives the account afterwards."""

    def told(
        limit: RateLimit, story: Callable[[Account], Awaitable[None]] = both_lanes_busy, **options: Any
    ) -> Account:
        async def scenario() -> Account:
            async with account(valkey.url, limit, **options) as made:
                await story(made)
                return made

        made: Account = run(scenario())
        return made

    return told


def used(made: Account, real: float = QUOTA, *, begins: float = LEARNED_S, ends: float = MINUTES_S) -> float:
    """How much of the real limit was used in a time."""
    return made.story.batches(begins, ends) / (ends - begins) / real


@pytest.mark.parametrize("seed", [1, 2])
@pytest.mark.parametrize("acceleration", [None, 135, 54])
def test_nearly_all_of_the_quota_is_used_and_next_to_nothing_refused(
    tell: Callable[..., Account], acceleration: int | None, seed: int
) -> None:
    made = tell(RateLimit(QUOTA, acceleration), seed=seed)
    assert used(made) >= 0.95
    assert len(made.story.refused) <= (2 if acceleration else 0)
    assert made.story.refusals(LEARNED_S).total() == 0
    # Backfill gets the gaps that live leaves.
    assert made.story.batches(LEARNED_S, MINUTES_S, Lane.BACKFILL) > 0


def test_an_account_without_an_acceleration_limit_starts_slowly_only_once(tell: Callable[..., Account]) -> None:
    async def with_a_silence(made: Account) -> None:
        made.process(Lane.LIVE, lambda now: 2_000 if now < 10 or now > 20 else 0)
        await made.clock.pass_until(40)

    made = tell(RateLimit(QUOTA, None), with_a_silence)
    lost = 10 * QUOTA / 1.025 - made.story.batches(0, 10)
    assert lost < 4 * QUOTA
    assert used(made, begins=30.1, ends=35.1) >= 0.95
    assert not made.story.refused


def test_a_steep_account_is_learned_with_few_refusals_and_used_well_afterwards(tell: Callable[..., Account]) -> None:
    async def alone(made: Account) -> None:
        for _ in range(2):
            made.process(Lane.LIVE, always)
        await made.clock.pass_until(80)

    made = tell(RateLimit(QUOTA, 27), alone)
    assert len(made.story.refused) <= 6
    assert made.story.refusals(LEARNED_S).total() <= 1
    assert used(made, begins=50, ends=80) >= 0.9


@pytest.mark.parametrize("tells_percentage", [True, False])
def test_a_quota_that_is_less_than_declared_is_found(tell: Callable[..., Account], tells_percentage: bool) -> None:
    made = tell(RateLimit(200, None), tells_percentage=tells_percentage)
    assert used(made, 200) >= 0.85
    assert made.story.refusals(LEARNED_S).total() <= 1


def test_others_who_spend_the_quota_are_made_room_for(tell: Callable[..., Account]) -> None:
    async def with_a_visitor(made: Account) -> None:
        made.visitor(10, 0.1, 40, 100)
        await both_lanes_busy(made)

    made = tell(RateLimit(QUOTA, None), with_a_visitor)
    assert made.story.refusals(60, 100).total() <= 2
    assert 0.75 <= used(made, QUOTA - 100, begins=60, ends=100) <= 1.0
    # They are gone, and so is the room that was left for them.
    assert used(made, begins=130) >= 0.9


def test_a_lost_memory_costs_a_burst_and_learning_again(tell: Callable[..., Account]) -> None:
    async def forgotten(made: Account) -> None:
        for _ in range(2):
            made.process(Lane.LIVE, mostly)
            made.process(Lane.BACKFILL, always)
        await made.clock.pass_until(60.05)
        await made.forget()
        await made.clock.pass_until(MINUTES_S)

    made = tell(RateLimit(QUOTA, 54), forgotten)
    assert made.story.refusals(60, 75).total() <= 12
    assert made.story.refusals(75).total() <= 1
    assert used(made, begins=90) >= 0.93


def test_a_refusal_for_acceleration_pauses_nobody(tell: Callable[..., Account]) -> None:
    async def alone(made: Account) -> None:
        made.process(Lane.LIVE, always)
        await made.clock.pass_until(20)

    made = tell(RateLimit(QUOTA, 54), alone)
    ((refused_at, limit), *_) = made.story.refused
    assert limit == "acceleration"
    assert made.story.batches(refused_at, refused_at + 1) > 50


def test_a_body_costs_one_call(tell: Callable[..., Account]) -> None:
    async def alone(made: Account) -> None:
        for _ in range(4):
            made.process(Lane.LIVE, always)
        await made.clock.pass_until(60)

    made = tell(RateLimit(QUOTA, None), alone)
    assert made.governor.calls <= 1.1 * made.story.answers
