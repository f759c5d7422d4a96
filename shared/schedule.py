"""Provisional."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

from pydantic import AwareDatetime, Field

from shared.fields import Declared


class OnDemand(Declared):
    """Runs when triggered."""

    type: Literal["on_demand"] = "on_demand"
    delay: timedelta = Field(timedelta(minutes=5), ge=timedelta(0))


class Hourly(Declared):
    """Provisional."""

    type: Literal["interval"] = "interval"
    frequency: Literal["hourly"] = "hourly"
    start: AwareDatetime
    delay: timedelta = Field(timedelta(minutes=5), ge=timedelta(0))


Schedule = OnDemand | Hourly


@dataclass(frozen=True)
class Coverage:
    """Provisional."""

    due_at: datetime
    missed: int
    next_due_at: datetime | None


def is_timed(schedule: Schedule) -> bool:
    """Provisional."""
    return not isinstance(schedule, OnDemand)


def first_due(schedule: Schedule, activated_at: datetime) -> datetime | None:
    """Provisional."""
    return None if isinstance(schedule, OnDemand) else max(schedule.start, activated_at)


def next_due(schedule: Schedule, after: datetime) -> datetime | None:
    """Provisional."""
    if isinstance(schedule, OnDemand):
        return None
    hour = timedelta(hours=1)
    return schedule.start + ((after - schedule.start) // hour + 1) * hour


def cover(schedule: Schedule, due: datetime, now: datetime) -> Coverage:
    """Provisional."""
    missed = 0
    while (following := next_due(schedule, due)) is not None and following <= now:
        due, missed = following, missed + 1
    return Coverage(due, missed, next_due(schedule, due))
