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
