"""What runs would read and send, and when, from counts, a sample and a schedule (pure)."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import islice, pairwise
from typing import Final

from console.reviewed import Reading, Reads
from shared.errors import SyncError
from shared.probe import Answer
from shared.schedule import Schedule, count_due, next_due

DUE_SHOWN: Final = 5
_DAY: Final = timedelta(days=1)
_MONTH_DAYS: Final = 30


@dataclass(frozen=True, slots=True)
class Sampled:
    """How many batches some rows became, and the quota of the feed that they would go to."""

    rows: int
    batches: int
    batches_per_s: float

    def batches_of(self, rows: int) -> int | None:
        """Estimate how many batches so many rows become; ``None`` where no row was read."""
        return math.ceil(rows * self.batches / self.rows) if self.rows else None

    @property
    def words(self) -> str:
        """How such an estimate is called."""
        return f"estimated from a sample of {self.rows} rows"


def due_times(schedule: Schedule, first: datetime | None, now: datetime) -> tuple[datetime, ...]:
    """Give the next times that a run is due: ``first``, and what follows it and now."""
    return tuple(islice(_due(schedule, first, now), DUE_SHOWN))


def interval_of(due: tuple[datetime, ...]) -> timedelta | None:
    """Give how far apart runs are due, the last that are known; the first may lie off the grid."""
    gaps = [later - earlier for earlier, later in pairwise(due[1:])]
    return gaps[-1] if gaps else None


def reading(
    reads: Reads, counted: Answer | SyncError, costed: Answer | SyncError, sampled: Sampled | SyncError
) -> Reading:
    """Put together what is known of one run; each thing that is not known costs a sentence and nothing else."""
    unknown = []
    window = next((one for one in (counted, costed) if isinstance(one, Answer)), Answer())
    rows = null_rows = scanned_bytes = batches = takes_s = estimated = None
    if isinstance(counted, Answer):
        rows, null_rows = counted.row_count, counted.null_count
    else:
        unknown.append(f"rows: {counted}")
    if isinstance(costed, Answer):
        scanned_bytes = costed.scanned_bytes
        if scanned_bytes is None:
            unknown.append("bytes: this warehouse does not tell beforehand what a query reads")
    else:
        unknown.append(f"bytes: {costed}")
    if isinstance(sampled, SyncError):
        unknown.append(f"batches: there is no sample to estimate them from: {sampled}")
    elif not sampled.rows:
        unknown.append("batches: the query returned no row to estimate them from")
    elif rows is not None:
        batches = sampled.batches_of(rows)
        estimated = sampled.words
        takes_s = None if batches is None else batches / sampled.batches_per_s
    return Reading(
        reads=reads,
        low=window.low,
        high=window.high,
        rows=rows,
        null_rows=null_rows,
        scanned_bytes=scanned_bytes,
        batches=batches,
        takes_s=takes_s,
        estimated=estimated,
        unknown=tuple(unknown),
    )


def warn_of_full(each: Reading, schedule: Schedule, now: datetime) -> str:
    """Say what it costs to read everything each time: a run, and a day and a month of the schedule."""
    begins = "sync mode full reads and sends every row each time"
    if each.batches is None:
        return f"{begins}; how many batches a run costs could not be found out"
    a_run = f"{begins}: a run costs about {each.batches:,} batches"
    if each.rows is not None:
        a_run += f" ({each.rows:,} rows)"
    in_a_month = count_due(schedule, now, now + _MONTH_DAYS * _DAY)
    if not in_a_month:
        return f"{a_run}, {each.estimated}"
    in_a_day = count_due(schedule, now, now + _DAY)
    a_day = f"{in_a_day * each.batches:,} batches a day ({in_a_day:,} runs), " if in_a_day else ""
    return (
        f"{a_run}; its schedule makes {a_day}{in_a_month * each.batches:,} batches in {_MONTH_DAYS} days "
        f"({in_a_month:,} runs), {each.estimated}"
    )


def _due(schedule: Schedule, first: datetime | None, now: datetime) -> Iterator[datetime]:
    due = first
    while due is not None:
        yield due
        due = next_due(schedule, max(due, now))
