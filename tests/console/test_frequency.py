"""Schedules in words."""

from datetime import UTC, datetime

import pytest

from console.frequency import in_words
from shared.schedule import Cron, Frequency, Interval, Once, OnDemand, Schedule

START = datetime(2026, 1, 31, 6, 15, tzinfo=UTC)


@pytest.mark.parametrize(
    ("schedule", "words"),
    [
        (Interval(frequency=Frequency.HOURLY, start=START), "every hour at :15 UTC"),
        (Interval(frequency=Frequency.DAILY, start=START), "every day at 06:15 UTC"),
        (Interval(frequency=Frequency.WEEKLY, start=START), "every Saturday at 06:15 UTC"),
        (
            Interval(frequency=Frequency.MONTHLY, start=START),
            "every month on day 31, or the last of a shorter month, at 06:15 UTC",
        ),
        (
            Interval(frequency=Frequency.MONTHLY, start=START.replace(day=28)),
            "every month on day 28, at 06:15 UTC",
        ),
        (Cron(expression="30 6 * * MON-FRI"), "whenever 30 6 * * MON-FRI says so (UTC)"),
        (Once(), "once, when it is activated"),
        (Once(start=START), "once, at 2026-01-31 06:15:00 UTC"),
        (OnDemand(), "on demand"),
    ],
)
def test_a_schedule_is_said_as_people_say_it(schedule: Schedule, words: str) -> None:
    assert in_words(schedule) == words
