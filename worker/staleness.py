"""Whether a pipeline has read on as its schedule promised (pure).

Without a limit of its own a pipeline is stale once three occurrences of its schedule have passed since what it read
last, and at least an hour. So a schedule of weekdays is not stale on Monday, and a slow run is no alarm.
"""

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Final

from pydantic import TypeAdapter, ValidationError

from shared import moments, schedule
from shared.alerts import AlertName, Condition, Mark
from shared.catalog import Full, Incremental, IteratorType, SyncMode
from shared.fields import Duration
from shared.schedule import Schedule

OCCURRENCES: Final = 3
AT_LEAST: Final = timedelta(hours=1)
_SCHEDULE: Final = TypeAdapter[Schedule](Schedule)
_SYNC_MODE: Final = TypeAdapter[Incremental | Full](SyncMode)
_DURATION: Final = TypeAdapter[timedelta](Duration)
_GRAIN: Final = timedelta(seconds=1)
_DAY: Final = timedelta(days=1)
"""A DATE iterator never reads today: its watermark lies up to a day further back."""


def stale(marks: Iterable[Mark], now: datetime) -> list[Condition]:
    """Give the pipelines that are stale; one that another version declared and this one cannot read is not judged."""
    found: list[Condition] = []
    for mark in marks:
        try:
            due = stale_at(mark)
        except ValidationError:
            continue
        if due is not None and due <= now:
            found.append(_condition(mark, due))
    return found


def stale_at(mark: Mark) -> datetime | None:
    """Give the instant from which on a pipeline is stale unless it reads on, or ``None`` where it never is.

    Never is one that has read up to its ``until``, or whose schedule has ended; without a limit of its own, one that
    runs when it is triggered. A pause does not count: time begins anew when the pipeline is resumed.
    """
    declared = _SCHEDULE.validate_python(mark.schedule)
    mode = _SYNC_MODE.validate_python(mark.sync_mode)
    if isinstance(declared, schedule.Interval | schedule.Cron) and mark.next_due_at is None:
        return None
    if isinstance(mode, Incremental) and mode.until and mark.read_to and mark.read_to >= mode.until:
        return None
    last = mark.begun_at if mark.read_to is None else max(mark.read_to, mark.begun_at)
    if mark.stale_after is not None:
        return last + _DURATION.validate_python(mark.stale_after)
    behind = timedelta(0)
    if isinstance(mode, Incremental):  # A window ends so long before the occurrence that its run stands for.
        behind = declared.delay + (_DAY if mode.iterator_data_type is IteratorType.DATE else _GRAIN)
    occurrence: datetime | None = last + behind
    for _ in range(OCCURRENCES):
        occurrence = None if occurrence is None else schedule.next_due(declared, occurrence)
    return None if occurrence is None else max(occurrence, last + AT_LEAST)


def _condition(mark: Mark, due: datetime) -> Condition:
    last = "it has read nothing yet" if mark.read_to is None else f"it has read up to {moments.told(mark.read_to)}"
    return Condition(
        name=AlertName.STALE,
        subject=mark.pipeline_id,
        pipeline_id=mark.pipeline_id,
        pipeline_name=mark.pipeline_name,
        sentence=f"{last}; it should have read on by {moments.told(due)}",
        since=due,
        is_muted=mark.is_muted,
    )
