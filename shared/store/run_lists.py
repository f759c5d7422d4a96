"""Runs in numbers: pages of them, the newest and the open ones of many pipelines, each by one query.

A run's snapshot may hold a data plan of a megabyte. Whoever lists runs does not need it, so here it is ``None``.
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Final

import sqlalchemy as sa

from shared.run import OPEN, ChunkState, Lane, Run, RunId, RunState, SliceState
from shared.store.runs import to_run
from shared.store.tables import chunks, runs, slices

_LISTED: Final = (*(column for column in runs.c if column is not runs.c.snapshot), sa.null().label("snapshot"))
LOGICAL_AT: Final = sa.func.coalesce(runs.c.scheduled_for, runs.c.logical_at)
"""The occurrence that a run stands for, or else when it was asked for."""


@dataclass(frozen=True, slots=True)
class RunPlace:
    """Where a run stands among all, newest first."""

    created_at: datetime
    number: int


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which runs are listed: all, or those of a pipeline, in some states, of a time (``since`` inclusive)."""

    pipeline_id: str | None = None
    states: Collection[RunState] = ()
    since: datetime | None = None
    until: datetime | None = None


def newest(
    connection: sa.Connection, wanted: Wanted, *, before: RunPlace | None = None, offset: int = 0, limit: int
) -> list[Run]:
    """Give runs, newest first: those behind a place, or after so many."""
    query = sa.select(*_LISTED).order_by(runs.c.created_at.desc(), runs.c.number.desc()).limit(limit).offset(offset)
    if wanted.pipeline_id is not None:
        query = query.where(runs.c.pipeline_id == wanted.pipeline_id)
    if wanted.states:
        query = query.where(runs.c.state.in_(wanted.states))
    if wanted.since is not None:
        query = query.where(wanted.since <= LOGICAL_AT)
    if wanted.until is not None:
        query = query.where(wanted.until > LOGICAL_AT)
    if before is not None:
        place = sa.tuple_(sa.literal(before.created_at), sa.literal(before.number))
        query = query.where(sa.tuple_(runs.c.created_at, runs.c.number) < place)
    return [to_run(row) for row in connection.execute(query).mappings()]


def newest_of_each(connection: sa.Connection, pipeline_ids: Collection[str], *, limit: int) -> dict[str, list[Run]]:
    """Give the newest runs of each of some pipelines, newest first."""
    known = sa.select(sa.func.unnest(sa.cast(list(pipeline_ids), sa.ARRAY(sa.Text))).label("id")).subquery()
    theirs = (
        sa.select(*_LISTED)
        .where(runs.c.pipeline_id == known.c.id)
        .order_by(runs.c.created_at.desc(), runs.c.number.desc())
        .limit(limit)
        .lateral("theirs")
    )
    query = (
        sa.select(theirs)
        .select_from(known.join(theirs, sa.true()))
        .order_by(theirs.c.created_at.desc(), theirs.c.number.desc())
    )
    return _by_pipeline(to_run(row) for row in connection.execute(query).mappings())


def open_of_each(connection: sa.Connection, pipeline_ids: Collection[str]) -> dict[str, list[Run]]:
    """Give the runs of each of some pipelines that are at work, stopped, or wait on the live lane, oldest first.

    Of history, the parts that have not begun are left out: there may be a thousand.
    """
    waits = sa.and_(runs.c.state == RunState.WAITING, runs.c.lane == Lane.LIVE)
    query = (
        sa.select(*_LISTED)
        .where(runs.c.pipeline_id.in_(pipeline_ids), sa.or_(runs.c.state.in_(OPEN), waits))
        .order_by(runs.c.created_at, runs.c.number)
    )
    return _by_pipeline(to_run(row) for row in connection.execute(query).mappings())


def why_they_wait(connection: sa.Connection, run_ids: Collection[RunId]) -> Mapping[RunId, str]:
    """Give what the planning, slices or chunks of some runs last said when they were put off, where any was."""
    if not run_ids:
        return {}
    asked = (
        sa.select(runs.c.id, runs.c.error.label("why")).where(runs.c.id.in_(run_ids), runs.c.state == RunState.CREATED),
        sa.select(slices.c.run_id, slices.c.held_reason).where(
            slices.c.run_id.in_(run_ids), slices.c.state == SliceState.PENDING
        ),
        # Only a chunk that was tried can say why; those few are indexed, the many that nobody tried yet are not read.
        sa.select(chunks.c.run_id, chunks.c.error).where(
            chunks.c.run_id.in_(run_ids), chunks.c.state == ChunkState.READY, chunks.c.in_doubt_since.is_not(None)
        ),
    )
    told = sa.union_all(*asked).subquery()
    query = sa.select(told.c.id, sa.func.min(told.c.why)).where(told.c.why.is_not(None)).group_by(told.c.id)
    return {RunId(run_id): why for run_id, why in connection.execute(query)}


def _by_pipeline(found: Iterable[Run]) -> dict[str, list[Run]]:
    sorted_in: dict[str, list[Run]] = {}
    for run in found:
        sorted_in.setdefault(run.pipeline_id, []).append(run)
    return sorted_in
