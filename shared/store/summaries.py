"""Pipelines as people look at them: what was declared, where it stands, and what its runs come to.

However many pipelines there are, they take the same few queries.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import distinct_on

from shared.catalog import ServiceProvider
from shared.run import STOPPED, WORKING, PipelineState, Run, RunId, RunKind, RunState
from shared.store import declared, run_lists, work_times
from shared.store.declared import PipelineRow
from shared.store.declared_tables import connections, feeds, pipelines
from shared.store.history_tables import backfills
from shared.store.records import Record, to_record
from shared.store.tables import runs
from shared.store.work_times import WorkTime

_RECENT: Final = 5


@dataclass(frozen=True, slots=True)
class History:
    """How far an initial sync is: its parts, rows whose end is known, and rows that were counted beforehand."""

    parts: int
    settled_parts: int
    ended_rows: int
    expected_rows: int | None


@dataclass(frozen=True, slots=True)
class Summary:
    """One pipeline at one instant; ``recent`` runs are its newest, ``open`` ones are at work, wait or are stopped.

    ``worked`` says of both how long they were at work.
    """

    row: PipelineRow
    record: Record
    service_provider: ServiceProvider
    api_key: str
    seen_at: datetime
    recent: Sequence[Run] = ()
    open: Sequence[Run] = ()
    history: History | None = None
    why_they_wait: Mapping[RunId, str] = field(default_factory=dict)
    worked: Mapping[RunId, WorkTime] = field(default_factory=dict)

    @property
    def running(self) -> list[Run]:
        """Runs that are at work, or wait for one that is, oldest first."""
        return [run for run in self.open if run.state in WORKING | {RunState.WAITING}]

    @property
    def stopped(self) -> list[Run]:
        """Runs that wait for an operator, and hold what they would read until then."""
        return [run for run in self.open if run.state in STOPPED]


def of(connection: sa.Connection, pipeline_id: str) -> Summary:
    """Give one pipeline's summary, or raise ``NotFound``."""
    declared.get_pipeline(connection, pipeline_id)
    (found,) = _summaries(connection, pipelines.c.id == pipeline_id)
    return found


def of_all(connection: sa.Connection, provider: ServiceProvider | None = None) -> list[Summary]:
    """Give the summaries of all pipelines by id, or of those whose connections are of one provider."""
    return _summaries(connection, sa.true() if provider is None else provider == _PROVIDER)


_PROVIDER: Final = connections.c.document["service_provider"].astext


def _summaries(connection: sa.Connection, which: sa.ColumnElement[bool]) -> list[Summary]:
    query = (
        sa.select(
            pipelines,
            _PROVIDER.label("service_provider"),
            feeds.c.document["api_key"].astext.label("api_key"),
            sa.func.now().label("seen_at"),
        )
        .join(connections, connections.c.id == pipelines.c.connection_id)
        .join(feeds, feeds.c.id == pipelines.c.feed_id)
        .where(pipelines.c.state != PipelineState.DELETED, which)
        .order_by(pipelines.c.id)
    )
    rows = connection.execute(query).mappings().all()
    ids = [row["id"] for row in rows]
    recent = run_lists.newest_of_each(connection, ids, limit=_RECENT)
    still_open = run_lists.open_of_each(connection, ids)
    working = [run.id for found in still_open.values() for run in found if run.state in WORKING]
    why = run_lists.why_they_wait(connection, working)
    shown = {run.id: run for of_one in (*recent.values(), *still_open.values()) for run in of_one}
    worked = work_times.of_runs(connection, shown.values())
    histories = _histories(connection, ids)
    return [_summary(row, recent, still_open, why, worked, histories) for row in rows]


def _summary(
    row: sa.RowMapping,
    recent: Mapping[str, list[Run]],
    still_open: Mapping[str, list[Run]],
    why: Mapping[RunId, str],
    worked: Mapping[RunId, WorkTime],
    histories: Mapping[str, History],
) -> Summary:
    pipeline_id = row["id"]
    shown = (*recent.get(pipeline_id, ()), *still_open.get(pipeline_id, ()))
    return Summary(
        row=declared.to_pipeline_row(row),
        record=to_record(row),
        service_provider=ServiceProvider(row["service_provider"]),
        api_key=row["api_key"],
        seen_at=row["seen_at"],
        recent=recent.get(pipeline_id, ()),
        open=still_open.get(pipeline_id, ()),
        history=histories.get(pipeline_id),
        why_they_wait={run.id: why[run.id] for run in still_open.get(pipeline_id, ()) if run.id in why},
        worked={run.id: worked[run.id] for run in shown if run.id in worked},
    )


def _histories(connection: sa.Connection, ids: Collection[str]) -> dict[str, History]:
    """Give how far the initial syncs of the present generations are; an abandoned part counts once it is read anew."""
    settled = sa.func.count().filter(runs.c.state == RunState.SETTLED)
    ended = runs.c.accepted + runs.c.rejected + runs.c.unchanged + runs.c.superseded + runs.c.unsent
    of_now = sa.and_(pipelines.c.id == runs.c.pipeline_id, pipelines.c.generation == runs.c.generation)
    parts = (
        sa.select(runs.c.pipeline_id, sa.func.count(), settled, sa.func.sum(ended))
        .join(pipelines, of_now)
        .where(runs.c.pipeline_id.in_(ids), runs.c.kind == RunKind.INITIAL, runs.c.state != RunState.ABANDONED)
        .group_by(runs.c.pipeline_id)
    )
    counted: sa.Select[Any] = (
        sa.select(backfills.c.pipeline_id, backfills.c.expected_rows)
        .where(backfills.c.pipeline_id.in_(ids), backfills.c.kind == RunKind.INITIAL)
        .ext(distinct_on(backfills.c.pipeline_id))
        .order_by(backfills.c.pipeline_id, backfills.c.created_at.desc())
    )
    expected = {row.pipeline_id: row.expected_rows for row in connection.execute(counted)}
    return {
        pipeline_id: History(count, done, int(rows), expected.get(pipeline_id))
        for pipeline_id, count, done, rows in connection.execute(parts)
    }
