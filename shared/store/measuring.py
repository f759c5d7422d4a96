"""What stands at this moment, of all pipelines together: the same few queries however many there are."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import sqlalchemy as sa

from shared.run import OPEN, Lane, PipelineState, RunState
from shared.store.alert_tables import alerts
from shared.store.declared_tables import feeds, pipelines
from shared.store.tables import runs

STATES: Final = tuple(state for state in RunState if state in OPEN | {RunState.WAITING})
"""Of runs that are not over."""


@dataclass(frozen=True, slots=True)
class StandingPipeline:
    """One pipeline that was not deleted; ``lag_s`` is how far its watermark lies behind now."""

    id: str
    state: PipelineState
    is_faulted: bool
    lag_s: float | None


def standing(connection: sa.Connection) -> list[StandingPipeline]:
    """Give every pipeline that was not deleted, by id."""
    lag = sa.extract("epoch", sa.func.now() - pipelines.c.watermark)
    query = (
        sa.select(pipelines.c.id, pipelines.c.state, pipelines.c.faulted_reason.is_not(None).label("faulted"), lag)
        .where(pipelines.c.state != PipelineState.DELETED)
        .order_by(pipelines.c.id)
    )
    return [
        StandingPipeline(id_, PipelineState(state), bool(faulted), None if lag_s is None else float(lag_s))
        for id_, state, faulted, lag_s in connection.execute(query)
    ]


def ids() -> sa.Select[tuple[str]]:
    """Give the query for the ids of the pipelines that were not deleted."""
    return sa.select(pipelines.c.id).where(pipelines.c.state != PipelineState.DELETED)


def open_runs(connection: sa.Connection) -> Mapping[tuple[RunState, Lane], int]:
    """Count the runs that are not over by state and lane, those of none included."""
    counts = {(state, lane): 0 for state in STATES for lane in Lane}
    query = (
        sa.select(runs.c.state, runs.c.lane, sa.func.count())
        .where(runs.c.state.in_(STATES))
        .group_by(runs.c.state, runs.c.lane)
    )
    return counts | {(RunState(state), Lane(lane)): count for state, lane, count in connection.execute(query)}


def quotas(connection: sa.Connection) -> Mapping[str, float]:
    """Give the quota of each account in batches per second, by group; the least of what its feeds declare."""
    group = feeds.c.document["quota_group"].astext
    quota = sa.cast(feeds.c.document["batches_per_s"].astext, sa.Float)
    query = sa.select(group, sa.func.min(quota)).group_by(group).order_by(group)
    return {name: float(least) for name, least in connection.execute(query)}


def open_alerts(connection: sa.Connection) -> dict[str, int]:
    """Count the alerts that are open, by name."""
    query = sa.select(alerts.c.name, sa.func.count()).where(alerts.c.recovered_at.is_(None)).group_by(alerts.c.name)
    return {str(name): int(count) for name, count in connection.execute(query)}
