"""How long runs were at work, by what happened to them: the time in which nobody was to work on one is no part of it.

A run is at work from when its planning began until it is settled or given up, without the time in which it waited its
turn, was paused, or was stopped: failed, cancelled or held. What its tasks wait for in between, a free worker, the
warehouse, the feed or the quota, is part of it: no row says how long that was. What is still under way when a run is
stopped or paused ends outside of it, so that rows may only be divided by the time of a run that nothing interrupted.
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import groupby
from operator import itemgetter
from typing import Final

import sqlalchemy as sa

from shared.run import WORKING, Run, RunId
from shared.store.life_tables import run_events

_PAUSED: Final = "paused"
_RESUMED: Final = "resumed"


@dataclass(frozen=True, slots=True)
class WorkTime:
    """The time that a run was at work so far, in so many stretches."""

    lasted: timedelta
    stretches: int


def of_runs(connection: sa.Connection, found: Collection[Run]) -> Mapping[RunId, WorkTime]:
    """Give how long each of some runs was at work; one whose planning has not begun is left out."""
    began = {run.id: run.started_at for run in found if run.started_at is not None}
    if not began:
        return {}
    query = (
        sa.select(run_events.c.run_id, run_events.c.name, run_events.c.happened_at, sa.func.clock_timestamp())
        .where(run_events.c.run_id.in_(began))
        .order_by(run_events.c.run_id, run_events.c.id)
    )
    times: dict[RunId, WorkTime] = {}
    for run_id, rows in groupby(connection.execute(query), itemgetter(0)):
        events = [(name, at, now) for _, name, at, now in rows]
        times[run_id] = work_time(((name, at) for name, at, _ in events), began[run_id], events[-1][2])
    return times


def work_time(events: Iterable[tuple[str, datetime]], began_at: datetime, now: datetime) -> WorkTime:
    """Give how long a run was at work by ``now``, by the names and instants of its events, oldest first."""
    stretches: list[timedelta] = []
    since: datetime | None = None
    state = ""
    is_paused = False
    for name, at in events:
        if name in {_PAUSED, _RESUMED}:
            is_paused = name == _PAUSED
        else:
            state = name
        is_at_work = state in WORKING and not is_paused
        if is_at_work and since is None:
            since = at
        elif since is not None and not is_at_work:
            stretches.append(at - max(since, began_at))
            since = None
    if since is not None:
        stretches.append(now - max(since, began_at))
    # A stretch that ended before planning began was spent in the queue.
    worked = [stretch for stretch in stretches if stretch > timedelta()]
    return WorkTime(sum(worked, timedelta()), len(worked))
