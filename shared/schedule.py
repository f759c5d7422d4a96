"""Schedules: what an operator declares of them, and when a pipeline is next due (pure).

An occurrence is an instant at which a run is due. Each follows from what was declared and never from the one before:
the months after 31 January are 28 or 29 February and then 31 March. The first may lie off that grid, because a
pipeline whose ``start`` has passed begins when it is activated. Everything is UTC, so no hour is skipped or repeated.

A caller keeps one instant, the occurrence that a pipeline waits for. ``first_due`` gives it at activation, ``cover``
says what a run that begins now stands for and what to wait for next, and ``next_due`` gives it anew after a pause or
an edit.
"""

from bisect import bisect_right
from calendar import monthrange
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from enum import StrEnum
from typing import Annotated, Final, Literal, Self, assert_never

from cronsim import CronSim, CronSimError
from pydantic import AfterValidator, AwareDatetime, Field, model_validator

from shared.fields import Declared, Duration
from shared.moments import told_exactly

_TICK: Final = timedelta(microseconds=1)
_YEARS: Final = range(1970, 3000)
"""Other years are slips of the pen, and next to the last that Python knows nothing could be computed."""
_ANY_DAY: Final = datetime(2000, 1, 1, tzinfo=UTC)


def _in_utc(instant: datetime) -> datetime:
    if instant.year not in _YEARS:
        raise ValueError(
            f"expected an instant of the years {_YEARS[0]} to {_YEARS[-1]}, such as 2026-01-31T06:00:00Z, got one "
            f"of {instant.year}"
        )
    return instant.astimezone(UTC)


def _fires(expression: str) -> str:
    fields = expression.split()
    expected = (
        "expected five fields (minute, hour, day of month, month, day of week; UTC) such as '30 6 * * MON-FRI', "
        f"got {expression!r}"
    )
    if len(fields) != 5:  # noqa: PLR2004 - cronsim would take a sixth for seconds
        raise ValueError(f"{expected}: {len(fields)} fields")
    try:
        found = _match_after(expression, _ANY_DAY)
    except CronSimError as error:
        cause = str(error).lower()
        raise ValueError(
            f"{expected}: {cause}{', or none of its months has that day' if 'day-of-month' in cause else ''}"
        ) from None
    if found is None:
        raise ValueError(f"{expected}, which never fires: no day is both that day of month and that day of week")
    return " ".join(fields)


Instant = Annotated[AwareDatetime, AfterValidator(_in_utc)]
Expression = Annotated[str, Field(max_length=256), AfterValidator(_fires)]
Delay = Annotated[
    Duration,
    Field(description="how far behind now a window ends; rows commit late. 5m, 90s, 1h, 1d or PT5M"),
]
_DELAY: Final = timedelta(minutes=5)


class Frequency(StrEnum):
    """How often an interval comes round; in any case, since mParticle's pages say ``Hourly``."""

    HOURLY = "hourly"
    DAILY = "daily"
    WEEKLY = "weekly"
    MONTHLY = "monthly"

    @classmethod
    def _missing_(cls, value: object) -> "Frequency | None":
        return next((one for one in cls if isinstance(value, str) and one.value == value.lower()), None)


class Interval(Declared):
    """Due at ``start`` and every hour, day, week or month from it."""

    type: Literal["interval"] = "interval"
    frequency: Frequency
    start: Instant = Field(description="the anchor of all occurrences")
    end: Instant | None = Field(None, description="nothing is due after this; an occurrence at it still is")
    delay: Delay = _DELAY

    @model_validator(mode="after")
    def _ends_after_it_starts(self) -> Self:
        _refuse_end(self.start, self.end)
        return self


class Cron(Declared):
    """Due whenever a cron expression says so, in UTC; an extension to mParticle's types."""

    type: Literal["cron"] = "cron"
    expression: Expression = Field(description="minute, hour, day of month, month, day of week")
    start: Instant | None = Field(None, description="nothing is due before this")
    end: Instant | None = Field(None, description="nothing is due after this; an occurrence at it still is")
    delay: Delay = _DELAY

    @model_validator(mode="after")
    def _fires_before_it_ends(self) -> Self:
        _refuse_end(self.start, self.end)
        if self.start is not None and next_due(self, self.start - _TICK) is None:
            ends = None if self.end is None else told_exactly(self.end)
            raise ValueError(f"end: expected one that leaves time for {self.expression!r} to fire, got {ends}")
        return self


class Once(Declared):
    """Due one time: at ``start``, or at activation."""

    type: Literal["once"] = "once"
    start: Instant | None = Field(None, description="unset or past: at activation")
    delay: Delay = _DELAY


class OnDemand(Declared):
    """Runs when triggered."""

    type: Literal["on_demand"] = "on_demand"
    delay: Delay = _DELAY


Schedule = Annotated[Interval | Cron | Once | OnDemand, Field(discriminator="type")]


@dataclass(frozen=True, slots=True)
class Coverage:
    """What a run stands for: the occurrence ``due_at`` and, with it, the ``missed`` ones before.

    ``next_due_at`` is what its pipeline waits for next, None where nothing follows.
    """

    due_at: datetime
    missed: int
    next_due_at: datetime | None


def first_due(schedule: Schedule, activated_at: datetime) -> datetime | None:
    """Give the first occurrence of a pipeline that is activated now, in UTC, or None where there is none.

    Intervals and ``once`` whose start has passed begin at once: at ``activated_at``. A cron expression begins with its
    first match after activation, and not before its start.
    """
    activated = _aware(activated_at)
    match schedule:
        case Interval() | Once():
            started = schedule.start is None or schedule.start < activated
            return _unless_ended(schedule, activated if started else schedule.start)
        case Cron() | OnDemand():
            return next_due(schedule, activated)
        case _:
            assert_never(schedule)


def next_due(schedule: Schedule, after: datetime) -> datetime | None:
    """Give the first occurrence strictly after an instant, in UTC, or None where there is none.

    Only what was declared counts here: an activation is no occurrence.
    """
    moment = _aware(after)
    match schedule:
        case Interval():
            found: datetime | None = _occurrence(schedule, _number(schedule, moment) + 1)
        case Cron():
            begin = moment if schedule.start is None else max(moment, schedule.start - _TICK)
            found = _match_after(schedule.expression, begin)
        case Once():
            found = schedule.start if schedule.start is not None and schedule.start > moment else None
        case OnDemand():
            found = None
        case _:
            assert_never(schedule)
    return _unless_ended(schedule, found)


def cover(schedule: Schedule, due: datetime, now: datetime) -> Coverage | None:
    """Say what a run that begins now stands for, given the occurrence that its pipeline waits for.

    It stands for the latest occurrence that has passed and covers all since ``due``, which counts as one wherever it
    lies. Covering in any jumps of the clock thus gives every occurrence once; where the clock has gone back to before
    ``due``, nothing is due: None.

    The cost does not grow with what was missed; for a cron expression, it grows with the days that have passed.
    """
    waited_for, moment = _aware(due), _aware(now)
    if moment < waited_for:
        return None
    end = _end(schedule)
    latest = _latest(schedule, moment if end is None else min(moment, end))
    if latest is None or latest <= waited_for:
        return Coverage(waited_for, 0, next_due(schedule, moment))
    return Coverage(latest, _count(schedule, waited_for, latest), next_due(schedule, moment))


def _aware(instant: datetime) -> datetime:
    if instant.tzinfo is None:
        raise ValueError("an instant has a zone; this one is naive")
    return instant.astimezone(UTC)


def _refuse_end(start: datetime | None, end: datetime | None) -> None:
    if start is not None and end is not None and end <= start:
        raise ValueError(f"end: expected an instant after start ({told_exactly(start)}), got {told_exactly(end)}")


def _end(schedule: Schedule) -> datetime | None:
    return schedule.end if isinstance(schedule, Interval | Cron) else None


def _unless_ended(schedule: Schedule, occurrence: datetime | None) -> datetime | None:
    end = _end(schedule)
    return None if occurrence is None or (end is not None and occurrence > end) else occurrence


def _latest(schedule: Schedule, at: datetime) -> datetime | None:
    """Give the last occurrence at or before an instant."""
    match schedule:
        case Interval():
            number = _number(schedule, at)
            return None if number < 0 else _occurrence(schedule, number)
        case Cron():
            # cronsim looks strictly before an instant, in whole seconds.
            found = next(CronSim(schedule.expression, at + _TICK, reverse=True), None)
            return None if found is None or (schedule.start is not None and found < schedule.start) else found
        case Once():
            return schedule.start if schedule.start is not None and schedule.start <= at else None
        case OnDemand():
            return None
        case _:
            assert_never(schedule)


def count_due(schedule: Schedule, after: datetime, until: datetime) -> int:
    """Count the occurrences after an instant and up to another."""
    end = _end(schedule)
    return _count(schedule, after, until if end is None else max(after, min(until, end)))


def _count(schedule: Schedule, after: datetime, until: datetime) -> int:
    """Count the occurrences after an instant and up to another, both included in what was declared."""
    match schedule:
        case Interval():
            return _number(schedule, until) - _number(schedule, after)
        case Cron():
            begin = after if schedule.start is None else max(after, schedule.start - _TICK)
            return _matches_between(schedule.expression, begin, until)
        case Once() | OnDemand():
            return int(next_due(schedule, after) is not None)
        case _:
            assert_never(schedule)


_PERIODS: Final = {
    Frequency.HOURLY: timedelta(hours=1),
    Frequency.DAILY: timedelta(days=1),
    Frequency.WEEKLY: timedelta(weeks=1),
}


def _number(interval: Interval, at: datetime) -> int:
    """Give the number of the last occurrence at or before an instant: 0 is the start, -1 where none is."""
    if at < interval.start:
        return -1
    if interval.frequency is not Frequency.MONTHLY:
        return (at - interval.start) // _PERIODS[interval.frequency]
    months = (at.year - interval.start.year) * 12 + at.month - interval.start.month
    return months if _occurrence(interval, months) <= at else months - 1


def _occurrence(interval: Interval, number: int) -> datetime:
    """Give the occurrence of a number; a month that lacks the anchor's day has it on its last."""
    if interval.frequency is not Frequency.MONTHLY:
        return interval.start + number * _PERIODS[interval.frequency]
    year, month = divmod(interval.start.year * 12 + interval.start.month - 1 + number, 12)
    day = min(interval.start.day, monthrange(year, month + 1)[1])
    return interval.start.replace(year=year, month=month + 1, day=day)


def _match_after(expression: str, after: datetime) -> datetime | None:
    # cronsim gives up after 50 years; the rarest days there are, 29 February on one weekday, come within 40.
    return next(CronSim(expression, after), None)


def _matches_between(expression: str, after: datetime, until: datetime) -> int:
    """Count the matches after one instant and up to another, by whole days: all that match are alike."""
    cron = CronSim(expression, after)
    minutes = sorted(hour * 60 + minute for hour in cron.hours for minute in cron.minutes)

    def matches(day: date) -> bool:
        return day.month in cron.months and cron.match_day(day)

    def passed(instant: datetime) -> int:
        return bisect_right(minutes, instant.hour * 60 + instant.minute) if matches(instant.date()) else 0

    days = (after.date() + timedelta(days) for days in range((until.date() - after.date()).days))
    return len(minutes) * sum(map(matches, days)) + passed(until) - passed(after)
