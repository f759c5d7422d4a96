"""The schedule's arithmetic, in a real Valkey on a clock that the test sets."""

from itertools import pairwise
from random import Random

import pytest
import redis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sandbox.ratelimit import RateLimit
from tests.worker.mparticle.told_time import MICRO, START, Schedule
from worker.mparticle.governor import BURST_S, WINDOW_S

JITTER = int((WINDOW_S - 1) * MICRO)

with_fixtures = settings(
    max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)


@with_fixtures
@given(st.data(), st.sampled_from([1, 7, 100, 270, 5_000, 200_000]), st.integers())
def test_no_second_holds_more_than_the_quota_wherever_it_begins(
    client: redis.Redis, data: st.DataObject, quota: int, seed: int
) -> None:
    sizes = st.sampled_from(sorted({1, max(1, quota // 50), max(1, quota // 3), min(quota, 100), quota}))
    gaps = st.sampled_from([0, 0, 0, 1, 19_999, 50_000, 400_000, 3 * MICRO])
    schedule, jitter = Schedule(client), Random(seed)
    now, arrivals = START, []
    for gap, batches in data.draw(st.lists(st.tuples(gaps, sizes), max_size=60)):
        now += gap
        arrivals.append((schedule.slot(now, batches, quota) + jitter.randrange(JITTER), batches))
    limit = RateLimit(quota, None)
    assert [limit.admit(batches, at / MICRO) for at, batches in sorted(arrivals)] == [None] * len(arrivals)


@pytest.mark.parametrize(
    ("quota", "batches"), [(270, 90), (270, 1), (150, 75), (1_000, 100), (20_000, 400), (0.5, 1), (2, 2)]
)
def test_a_steady_sender_gets_nearly_all_of_the_quota(client: redis.Redis, quota: float, batches: int) -> None:
    schedule, slot, bodies = Schedule(client), START, 200
    for _ in range(bodies):
        slot = schedule.slot(slot, batches, quota)
    fair_s = (bodies - 1) * batches / quota
    assert (slot - START) / MICRO <= fair_s * WINDOW_S + 0.1


def test_slots_are_spread_evenly(client: redis.Redis) -> None:
    schedule = Schedule(client)
    slots = [schedule.slot(START, 90, 270) - START for _ in range(7)]
    third, burst = 333_334, int(BURST_S * MICRO)
    # Three to a second, and the fourth a little later, so that arriving a little closer together does no harm.
    assert slots[:3] == [0, third - burst, 2 * third - burst]
    assert slots[3] == int(WINDOW_S * MICRO)
    assert slots[4:6] == [slots[3] + third, slots[3] + 2 * third]


def test_a_late_sender_catches_up_on_a_burst_and_no_more(client: redis.Redis) -> None:
    schedule = Schedule(client)
    schedule.slot(START, 10, 100)
    late = START + 5 * MICRO
    slots = [schedule.slot(late, 10, 100) - late for _ in range(4)]
    assert slots == [0, 0, 100_000, 200_000]


def test_few_figures_are_kept_however_many_calls_there_are(client: redis.Redis) -> None:
    schedule, slot = Schedule(client), START
    for _ in range(2_000):
        slot = schedule.slot(slot, 1, 1_000)
    kept = client.hget(schedule.key, "sent")
    assert isinstance(kept, bytes)
    assert len(kept.split()) <= 2 * WINDOW_S / 0.02 + 2


@with_fixtures
@given(st.data(), st.sampled_from([100, 270, 5_000]), st.floats(0.05, 0.5))
def test_no_second_exceeds_the_one_before_by_more_than_the_growth(
    client: redis.Redis, data: st.DataObject, quota: int, share: float
) -> None:
    growth = int(quota * share)
    sizes = st.integers(1, max(1, growth // 2))
    gaps = st.sampled_from([0, 0, 0, 1, 19_999, 50_000, 400_000, 3 * MICRO])
    schedule = Schedule(client, growth=growth)
    # It was found a moment ago, so that it does not grow.
    client.hset(schedule.key, "limited_at", START)
    now, arrivals = START, []
    for gap, batches in data.draw(st.lists(st.tuples(gaps, sizes), max_size=60)):
        now += gap
        arrivals.append((schedule.slot(now, batches, quota), batches))
    # What is kept merges bodies of 20 ms: one at either end of a second.
    limit = RateLimit(quota, growth + 2 * max((batches for _, batches in arrivals), default=0))
    assert [limit.admit(batches, at / MICRO) for at, batches in sorted(arrivals)] == [None] * len(arrivals)


def test_a_steep_start_is_made_gentle_and_the_growth_doubles_while_nobody_objects(client: redis.Redis) -> None:
    schedule, now = Schedule(client, growth=None), START
    counts = [0] * 7
    while now < START + 7 * MICRO:
        now = schedule.slot(now, 27, 270)
        if now < START + 7 * MICRO:
            counts[(now - START) // MICRO] += 27
    assert counts[0] == 27
    assert all(27 <= after - before <= 135 for before, after in pairwise(counts[:4]))
    assert counts[6] >= 243
