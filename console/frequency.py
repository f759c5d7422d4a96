"""A schedule in words, as a page shows it: ``every hour at :15 UTC`` (pure)."""

from typing import assert_never

from shared import moments
from shared.schedule import Cron, Frequency, Interval, Once, OnDemand, Schedule


def in_words(schedule: Schedule) -> str:
    """Say how often a pipeline is due."""
    match schedule:
        case Interval():
            return _interval(schedule)
        case Cron():
            return f"whenever {schedule.expression} says so (UTC)"
        case Once():
            return (
                "once, when it is activated" if schedule.start is None else f"once, at {moments.told(schedule.start)}"
            )
        case OnDemand():
            return "on demand"
        case _:
            assert_never(schedule)


def _interval(interval: Interval) -> str:
    start = interval.start
    match interval.frequency:
        case Frequency.HOURLY:
            return f"every hour at :{start:%M} UTC"
        case Frequency.DAILY:
            return f"every day at {start:%H:%M} UTC"
        case Frequency.WEEKLY:
            return f"every {start:%A} at {start:%H:%M} UTC"
        case Frequency.MONTHLY:
            shorter = ", or the last of a shorter month" if start.day > 28 else ""  # noqa: PLR2004 - each month has 28
            return f"every month on day {start.day}{shorter}, at {start:%H:%M} UTC"
        case _:
            assert_never(interval.frequency)
