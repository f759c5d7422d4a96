"""What runs would cost, from counts and samples."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from console.forecast import DUE_SHOWN, Sampled, due_times, interval_of, reading, warn_of_full
from console.reviewed import Reading, Reads
from shared.errors import QueryTimedOut
from shared.probe import Answer
from shared.schedule import Cron, Frequency, Interval, Once, OnDemand, count_due, first_due, next_due

START = datetime(2026, 1, 31, 6, tzinfo=UTC)
DAILY = Interval(frequency=Frequency.DAILY, start=START)


@given(st.integers(0, 10**9), st.integers(1, 100), st.integers(0, 100))
def test_an_estimate_is_no_less_than_the_samples_own_ratio(rows: int, sample: int, batches: int) -> None:
    estimated = Sampled(sample, batches, 270).batches_of(rows)
    assert estimated is not None
    assert estimated - 1 < rows * batches / sample <= estimated or estimated == pytest.approx(rows * batches / sample)


def test_an_empty_sample_estimates_nothing() -> None:
    found = reading(Reads.FIRST_SYNC, Answer(row_count=7), Answer(scanned_bytes=1), Sampled(0, 0, 270))
    assert (found.rows, found.batches, found.estimated) == (7, None, None)
    assert found.unknown == ("batches: the query returned no row to estimate them from",)


def test_each_thing_that_is_not_known_costs_a_sentence() -> None:
    slow = QueryTimedOut("it is slow")
    assert len(reading(Reads.FIRST_SYNC, slow, slow, slow).unknown) == 3
    only_cost = reading(Reads.FIRST_SYNC, slow, Answer(high=START, scanned_bytes=5), Sampled(5, 5, 270))
    assert (only_cost.high, only_cost.scanned_bytes, only_cost.batches) == (START, 5, None)


@pytest.mark.parametrize(
    ("schedule", "apart"),
    [
        (DAILY, timedelta(days=1)),
        (Interval(frequency=Frequency.MONTHLY, start=START), None),
        (Cron(expression="*/10 * * * *"), timedelta(minutes=10)),
    ],
)
def test_due_times_follow_the_schedule(schedule: Interval | Cron, apart: timedelta | None) -> None:
    now = START + timedelta(days=40, seconds=1)
    first = first_due(schedule, now)
    due = due_times(schedule, first, now)
    assert len(due) == DUE_SHOWN
    assert due[0] == first
    assert list(due) == sorted(set(due))
    assert due[1] == next_due(schedule, due[0])
    assert apart is None or interval_of(due) == apart


def test_a_run_that_is_overdue_is_followed_by_what_comes_after_now() -> None:
    now = START + timedelta(days=3, hours=1)
    assert due_times(DAILY, START, now)[:2] == (START, START + timedelta(days=4))


def test_what_is_never_due_again_has_no_interval() -> None:
    assert due_times(OnDemand(), None, START) == ()
    assert due_times(Once(), START, START) == (START,)
    assert interval_of((START,)) is None


def test_occurrences_are_counted_up_to_the_schedules_end() -> None:
    ends = DAILY.model_copy(update={"end": START + timedelta(days=2)})
    assert count_due(DAILY, START, START + timedelta(days=30)) == 30
    assert count_due(ends, START, START + timedelta(days=30)) == 2
    assert count_due(ends, START + timedelta(days=9), START + timedelta(days=30)) == 0


def test_a_full_sync_on_demand_costs_what_a_run_costs() -> None:
    each = Reading(Reads.FIRST_SYNC, rows=10, batches=20, estimated="estimated from a sample of 5 rows")
    warning = warn_of_full(each, OnDemand(), START)
    assert "about 20 batches (10 rows), estimated from a sample of 5 rows" in warning
    assert "30 days" not in warning
    assert "20 batches a day (1 runs), 600 batches in 30 days" in warn_of_full(each, DAILY, START)
