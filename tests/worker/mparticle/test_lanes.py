"""What each lane gets of one account's quota: the schedule in a real Valkey, senders on a clock that the test tells."""

from collections.abc import Sequence
from itertools import repeat
from pathlib import Path
from random import Random

import pytest
import redis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sandbox.ratelimit import RateLimit
from shared.run import Lane
from tests.worker.mparticle.told_time import MICRO, START, Schedule, Sender, let_live
from worker.mparticle.governor import BURST_S, WINDOW_S

LIVE, BACKFILL = Lane.LIVE, Lane.BACKFILL
EARLIER = (Path(__file__).parent / "earlier_schedule.lua").read_text(encoding="utf-8")
QUOTAS = [(270, 90), (150, 75), (20_000, 400), (10, 10)]
MINUTE_S = 60.0
JITTER = int((WINDOW_S - 1) * MICRO)

with_fixtures = settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)


class Account:
    """Senders of bodies of one size into one account, each a little late and a little slow, as processes are."""

    def __init__(self, client: redis.Redis, rate: float, batches: int) -> None:
        self.schedule = Schedule(client)
        self.rate = rate
        self.batches = batches
        self.body_s = batches / rate * WINDOW_S
        self.random = Random(7)

    def sender(self, lane: Lane, *, rest_s: float = 0.0, longest_s: float = 30.0, script: str = "") -> Sender:
        shared = Schedule(self.schedule.client, key=self.schedule.key, script=script) if script else self.schedule
        return Sender(
            lane,
            self.batches,
            self.rate,
            shared,
            rest=lambda: int(rest_s * MICRO) + self.random.randrange(2_000),
            late=lambda: self.random.randrange(10_000),
            longest_s=longest_s,
        )

    def senders(self, lane: Lane, count: int, *, rest_s: float = 0.0) -> list[Sender]:
        return [self.sender(lane, rest_s=rest_s) for _ in range(count)]

    def used(self, senders: Sequence[Sender], seconds: float) -> float:
        """How much of what a steady sender could get in that time they got."""
        return sum(len(sender.grants) for sender in senders) * self.body_s / seconds


@pytest.mark.parametrize(("rate", "batches"), QUOTAS)
@pytest.mark.parametrize("live_senders", [1, 4])
def test_live_that_wants_all_of_it_gets_as_much_as_without_backfill(
    client: redis.Redis, rate: float, batches: int, live_senders: int
) -> None:
    seconds = 60 * batches / rate
    # Backfill was here first, so its share is what a sender may do at once.
    at_once = 1 + BURST_S * rate / batches
    grants, waits = [], []
    for backfill_senders in (0, 8):
        account = Account(client, rate, batches)
        live = account.senders(LIVE, live_senders)
        let_live([*account.senders(BACKFILL, backfill_senders), *live], seconds)
        grants.append(sum(len(sender.grants) for sender in live))
        waits.append(max(max(sender.waits) for sender in live) / MICRO)
    assert grants[1] >= grants[0] - at_once - 1
    assert waits[1] <= waits[0] + at_once * batches / rate * WINDOW_S


@pytest.mark.parametrize(("rate", "batches"), QUOTAS)
def test_one_granted_backfill_body_at_most_stands_before_a_live_body(
    client: redis.Redis, rate: float, batches: int
) -> None:
    account = Account(client, rate, batches)
    backfill = account.senders(BACKFILL, 8)
    live = account.sender(LIVE, rest_s=7.3 * account.body_s)
    let_live([*backfill, live], 300 * account.body_s)
    assert len(live.grants) > 30
    # The first may meet a burst: whoever begins may catch up on it, on any lane.
    assert max(live.waits[1:]) / MICRO <= account.body_s + BURST_S + 0.02
    assert account.used([*backfill, live], 300 * account.body_s) > 0.95


@pytest.mark.parametrize(("rate", "batches"), QUOTAS)
@pytest.mark.parametrize("backfill_senders", [1, 2, 4, 16])
def test_backfill_gets_all_of_it_when_live_is_idle_and_does_not_ask_for_ever(
    client: redis.Redis, rate: float, batches: int, backfill_senders: int
) -> None:
    account = Account(client, rate, batches)
    backfill = account.senders(BACKFILL, backfill_senders)
    seconds = 100 * account.body_s
    let_live(backfill, seconds)
    assert account.used(backfill, seconds) > 0.95
    bodies = [len(sender.grants) for sender in backfill]
    # Two calls a body are what a live body costs that waits.
    assert sum(sender.calls for sender in backfill) <= 4 * sum(bodies)
    assert max(bodies) - min(bodies) <= 1 + sum(bodies) // 10


@pytest.mark.parametrize(("rate", "batches"), QUOTAS)
@pytest.mark.parametrize("backfill_senders", [1, 4, 16])
def test_backfill_gets_what_live_leaves(client: redis.Redis, rate: float, batches: int, backfill_senders: int) -> None:
    seconds = 200 * batches / rate * WINDOW_S
    alone = Account(client, rate, batches)
    wanted = alone.sender(LIVE, rest_s=2 * alone.body_s)
    let_live([wanted], seconds)

    account = Account(client, rate, batches)
    backfill = account.senders(BACKFILL, backfill_senders)
    live = account.sender(LIVE, rest_s=2 * account.body_s)
    let_live([*backfill, live], seconds)
    # It waits for a backfill body now and then; it asks for the next one only then.
    assert len(live.grants) >= len(wanted.grants) * 2 / 3 - 1
    assert account.used([*backfill, live], seconds) > 0.95
    assert account.used(backfill, seconds) > 0.45
    assert sum(sender.calls for sender in backfill) <= 4 * sum(len(sender.grants) for sender in [*backfill, live])
    bodies = [len(sender.grants) for sender in backfill]
    assert max(bodies) - min(bodies) <= 5


def test_a_saturated_live_lane_leaves_nothing_and_backfill_hardly_asks(client: redis.Redis) -> None:
    account = Account(client, 270, 90)
    backfill, live = account.senders(BACKFILL, 4), account.senders(LIVE, 8)
    let_live(live, 0.1)
    let_live([*live, *backfill], MINUTE_S)
    assert sum(len(sender.grants) for sender in backfill) == 0
    assert sum(sender.calls for sender in backfill) < sum(len(sender.grants) for sender in live)


@with_fixtures
@given(st.data(), st.sampled_from([1, 7, 100, 270, 5_000, 200_000]), st.integers())
def test_no_second_holds_more_than_the_quota_over_both_lanes(
    client: redis.Redis, data: st.DataObject, quota: int, seed: int
) -> None:
    sizes = st.sampled_from(sorted({max(1, quota // 20), max(1, quota // 3), quota}))
    kinds = st.tuples(st.sampled_from(Lane), sizes, st.sampled_from([0, 0, 1, 19_999, 400_000, 3 * MICRO]))
    schedule, random = Schedule(client), Random(seed)
    senders = [
        Sender(lane, batches, quota, schedule, rest=repeat(rest).__next__, late=lambda: random.randrange(JITTER))
        for lane, batches, rest in data.draw(st.lists(kinds, min_size=2, max_size=6))
    ]
    let_live(senders, 6)
    grants = sorted((at, sender.batches) for sender in senders for at in sender.grants)
    limit = RateLimit(quota, None)
    # What was waited for is counted when it was due; it is sent when its sender has woken up.
    assert [limit.admit(batches, at / MICRO) for at, batches in grants] == [None] * len(grants)


def test_whoever_waited_longest_is_next(client: redis.Redis) -> None:
    schedule = Schedule(client)
    tickets = [schedule.ask(START, 90, 270, BACKFILL)[2] for _ in range(4)]
    order: list[int] = []
    now = START
    while len(order) < 3:
        asked = {place: schedule.ask(now, 90, 270, BACKFILL, ticket=tickets[place]) for place in (3, 2, 1)}
        order += [place for place, (_, wait, _) in asked.items() if not wait and place not in order]
        now += 10_000
    assert order == [1, 2, 3]


def test_a_live_body_moves_the_whole_line_back(client: redis.Redis) -> None:
    schedule = Schedule(client)
    schedule.ask(START, 90, 270, BACKFILL)
    (_, first, one), (_, second, other) = (schedule.ask(START, 90, 270, BACKFILL) for _ in range(2))
    assert 0 < first < second
    third = schedule.slot(START, 90, 270) - START
    # The live body is first although it came last.
    assert third == first
    assert schedule.ask(START, 90, 270, BACKFILL, ticket=one)[1] == pytest.approx(first + MICRO / 3, abs=1)
    assert schedule.ask(START, 90, 270, BACKFILL, ticket=other)[1] == pytest.approx(second + MICRO / 3, abs=MICRO / 15)


def test_a_backfill_body_that_would_wait_too_long_leaves_the_line(client: redis.Redis) -> None:
    schedule = Schedule(client)
    schedule.slot(START, 90, 270)
    _, first, _ = schedule.ask(START, 90, 270, BACKFILL)
    _, _, ticket = schedule.ask(START, 90, 270, BACKFILL)
    granted, wait, _ = schedule.ask(START, 90, 270, BACKFILL, ticket=ticket, longest_s=0.1)
    assert not granted
    assert wait > 0.1 * MICRO
    # The next one stands where it stood.
    assert schedule.ask(START, 90, 270, BACKFILL)[1] == wait
    assert first < wait


@pytest.mark.parametrize("live_rest", [None, 2.0, 1.2])
def test_the_dead_do_not_hold_up_the_line(client: redis.Redis, live_rest: float | None) -> None:
    account = Account(client, 270, 90)
    live = [] if live_rest is None else [account.sender(LIVE, rest_s=live_rest * account.body_s)]
    dead = account.senders(BACKFILL, 80)
    for sender in dead:
        sender.ends_at = int(0.5 * MICRO)
    # A line of half a minute is left behind.
    let_live(dead, 1)
    backfill = account.senders(BACKFILL, 2)
    let_live([*live, *backfill], MINUTE_S, begins_s=1)
    late = [at for sender in [*live, *backfill] for at in sender.grants if at > 35 * MICRO]
    assert len(late) * account.body_s / (MINUTE_S + 1 - 35) > 0.95
    assert any(at in late for sender in backfill for at in sender.grants)


def test_one_that_dies_while_it_waits_costs_a_body_at_most(client: redis.Redis) -> None:
    account = Account(client, 270, 90)
    backfill = account.senders(BACKFILL, 5)
    for index, sender in enumerate(backfill[:3]):
        sender.ends_at = (10 + 5 * index) * MICRO
    let_live(backfill, MINUTE_S)
    assert account.used(backfill, MINUTE_S) * MINUTE_S > 0.98 * MINUTE_S - 3 * account.body_s


def test_a_pause_holds_both_lanes_whatever_they_wait_for(client: redis.Redis) -> None:
    account = Account(client, 270, 90)
    backfill, live = account.senders(BACKFILL, 3), account.senders(LIVE, 3, rest_s=4 * account.body_s)
    pauses: list[tuple[int, int]] = []

    def rest() -> int:
        if not pauses and len(backfill[0].grants) == 5:
            began_at = backfill[0].grants[-1]
            pauses.append((began_at, began_at + 10 * MICRO))
            client.hset(account.schedule.key, "paused_until", START + pauses[0][1])
        return 0

    backfill[0].rest = rest
    let_live([*backfill, *live], MINUTE_S)
    ((began_at, ends_at),) = pauses
    for sender in [*backfill, *live]:
        assert not [at for at in sender.grants if began_at < at < ends_at]
        assert [at for at in sender.grants if at >= ends_at]


def test_a_state_that_an_older_worker_left_is_gone_on_with(client: redis.Redis) -> None:
    account = Account(client, 270, 90)
    older = account.sender(LIVE, script=EARLIER)
    let_live([older], 3)
    assert not client.hexists(account.schedule.key, "line")
    backfill = account.senders(BACKFILL, 2)
    let_live(backfill, 30, begins_s=3)
    assert backfill[0].grants[0] > older.grants[-1]
    assert account.used(backfill, 30) > 0.95


def test_older_and_newer_workers_share_the_account_side_by_side(client: redis.Redis) -> None:
    account = Account(client, 270, 90)
    older = [account.sender(lane, script=EARLIER, rest_s=2 * account.body_s) for lane in Lane]
    backfill, live = account.senders(BACKFILL, 3), account.sender(LIVE, rest_s=4 * account.body_s)
    senders = [*older, *backfill, live]
    let_live(senders, MINUTE_S)
    limit = RateLimit(270, None)
    grants = sorted(at for sender in senders for at in sender.grants)
    assert [limit.admit(90, at / MICRO) for at in grants] == [None] * len(grants)
    assert account.used(senders, MINUTE_S) > 0.95
    # An older worker's backfill is live to both.
    assert all(len(sender.grants) > 30 for sender in older)
    assert all(sender.grants for sender in senders)


def test_lost_memory_costs_a_burst_and_the_places_held(client: redis.Redis) -> None:
    account = Account(client, 270, 90)
    backfill = account.senders(BACKFILL, 4)
    lost_at: list[int] = []

    def rest() -> int:
        if not lost_at and len(backfill[0].grants) == 5:
            client.delete(account.schedule.key)
            lost_at.append(backfill[0].grants[-1])
        return 0

    backfill[0].rest = rest
    let_live(backfill, MINUTE_S)
    assert lost_at
    # What the second before the loss held is forgotten, and no more.
    assert account.used(backfill, MINUTE_S) * MINUTE_S <= MINUTE_S + 4 * account.body_s
    assert account.used(backfill, MINUTE_S) > 0.95
    bodies = [len(sender.grants) for sender in backfill]
    assert max(bodies) - min(bodies) <= 4


def test_few_figures_are_kept_of_a_line(client: redis.Redis) -> None:
    account = Account(client, 270, 90)
    let_live(account.senders(BACKFILL, 20), MINUTE_S)
    line = client.hget(account.schedule.key, "line")
    assert isinstance(line, bytes)
    assert len(line.split()) <= 20


def test_what_is_sent_again_goes_after_new_live_bodies_and_before_the_backfill(client: redis.Redis) -> None:
    schedule = Schedule(client)
    schedule.slot(START, 90, 270)
    _, first, backfill = schedule.ask(START, 90, 270, BACKFILL)
    _, again, ticket = schedule.ask(START, 90, 270, LIVE, is_again=True)
    # It came later, and the backfill body is told so when it asks again.
    assert again == first
    assert schedule.ask(START, 90, 270, BACKFILL, ticket=backfill)[1] == pytest.approx(
        first + MICRO / 3, abs=MICRO / 15
    )
    # Two that are sent again keep their order, whichever lane they are of.
    assert schedule.ask(START, 90, 270, BACKFILL, is_again=True)[1] > again
    # A new live body takes the slot.
    assert schedule.slot(START, 90, 270) == START + first
    _, wait, same = schedule.ask(START, 90, 270, LIVE, ticket=ticket, is_again=True)
    assert same == ticket
    assert wait == pytest.approx(first + MICRO / 3, abs=MICRO / 15)


def test_a_place_of_a_line_from_before_there_were_ranks_is_the_backfills(client: redis.Redis) -> None:
    schedule = Schedule(client)
    schedule.slot(START, 90, 270)
    _, _, backfill = schedule.ask(START, 90, 270, BACKFILL)
    line = client.hget(schedule.key, "line")
    assert isinstance(line, bytes)
    client.hset(schedule.key, "line", line.rpartition(b":")[0])
    assert schedule.ask(START, 90, 270, is_again=True)[1] < schedule.ask(START, 90, 270, BACKFILL, ticket=backfill)[1]


@pytest.mark.parametrize("late", [0, 50_000, 900_000])
def test_only_live_bodies_book_a_slot_for_the_body_that_follows(client: redis.Redis, late: int) -> None:
    for lane, bodies in {LIVE: 3, BACKFILL: 2}.items():
        schedule = Schedule(client)
        due_at = schedule.slot(START, 90, 270) + MICRO // 3
        assert schedule.ask(due_at + late, 90, 270, lane, following=90)[:2] == (True, 0)
        sent = client.hget(schedule.key, "sent")
        assert isinstance(sent, bytes)
        assert sum(int(entry.partition(b":")[2]) for entry in sent.split()) == 90 * bodies


def test_a_body_that_is_sent_late_moves_the_next_second(client: redis.Redis) -> None:
    schedule = Schedule(client)
    _, _, _ = schedule.ask(START, 270, 270)
    _, wait, ticket = schedule.ask(START, 270, 270)
    late = START + wait + 100_000
    assert schedule.ask(late, 270, 270, ticket=ticket)[:2] == (True, 0)
    assert schedule.slot(late, 270, 270) == pytest.approx(late + WINDOW_S * MICRO, abs=2)
