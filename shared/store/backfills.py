"""Backfills as rows: what was asked for, and the runs that are its parts. An initial sync is one of them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import uuid4

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import distinct_on

from shared.errors import NotFound
from shared.run import OPEN, STOPPED, WORKING, BackfillId, Run, RunKind, RunState
from shared.store import beginnings
from shared.store import runs as run_rows
from shared.store.declared import PipelineRow
from shared.store.history_tables import backfills
from shared.store.tables import runs


@dataclass(frozen=True, slots=True)
class Backfill:
    """What was asked for: the initial sync, or rows from ``low`` to ``high`` once more.

    ``expected_rows`` were counted before it began, or are ``None``.
    """

    id: BackfillId
    pipeline_id: str
    kind: RunKind
    low: datetime | None
    high: datetime | None
    parts: int
    newest_first: bool
    expected_rows: int | None
    paused_at: datetime | None
    cancelled_at: datetime | None
    created_at: datetime

    @property
    def stands_still(self) -> bool:
        """Whether an operator has paused or cancelled it."""
        return self.paused_at is not None or self.cancelled_at is not None


def record(connection: sa.Connection, row: PipelineRow, **columns: object) -> BackfillId:
    """Record what was asked for, in the pipeline's present generation."""
    backfill_id = BackfillId(uuid4())
    connection.execute(
        sa.insert(backfills).values(
            id=backfill_id, pipeline_id=row.pipeline.id, generation=row.standing.generation, **columns
        )
    )
    return backfill_id


def get(connection: sa.Connection, backfill_id: BackfillId) -> Backfill:
    """Give one backfill, or raise ``NotFound``."""
    row = connection.execute(sa.select(backfills).where(backfills.c.id == backfill_id)).mappings().one_or_none()
    if row is None:
        raise NotFound(f"there is no backfill {backfill_id}; `warehouse-sync backfills` lists them")
    return _backfill(row)


def to_be_cut(connection: sa.Connection, run: Run) -> Backfill | None:
    """Give the backfill of a run that is planned as its first part and before any other; it has yet to be cut."""
    if run.backfill_id is None or any(part.id != run.id for part in parts_of(connection, run.backfill_id)):
        return None
    return get(connection, run.backfill_id)


def expect(connection: sa.Connection, backfill_id: BackfillId, rows: int) -> None:
    """Keep how many rows a backfill will read."""
    connection.execute(sa.update(backfills).where(backfills.c.id == backfill_id).values(expected_rows=rows))


def find(connection: sa.Connection, beginning: str) -> BackfillId:
    """Give the backfill whose id begins so, or raise ``NotFound`` where none or several do."""
    return BackfillId(beginnings.find(connection, backfills.c.id, beginning, noun="backfill"))


def newest(
    connection: sa.Connection, pipeline_id: str | None = None, *, limit: int = 20, after: BackfillId | None = None
) -> list[Backfill]:
    """Give the newest backfills, initial syncs included; with ``after`` those before that one."""
    place = (backfills.c.created_at, backfills.c.id)
    query = sa.select(backfills).order_by(*(part.desc() for part in place)).limit(limit)
    if pipeline_id is not None:
        query = query.where(backfills.c.pipeline_id == pipeline_id)
    if after is not None:
        query = query.where(sa.tuple_(*place) < sa.select(*place).where(backfills.c.id == after).scalar_subquery())
    return [_backfill(row) for row in connection.execute(query).mappings()]


def same_under_way(
    connection: sa.Connection,
    pipeline_id: str,
    *,
    low: datetime | None,
    high: datetime | None,
    parts: int,
    newest_first: bool,
) -> Backfill | None:
    """Give the backfill that was asked for in these words and is still being read; ``high`` may be left open.

    One that an operator has cancelled is not being read, nor is one whose part has failed.
    """
    query = (
        sa.select(backfills)
        .where(
            backfills.c.pipeline_id == pipeline_id,
            backfills.c.kind == RunKind.BACKFILL,
            backfills.c.cancelled_at.is_(None),
            backfills.c.low.is_not_distinct_from(low),
            backfills.c.parts == parts,
            backfills.c.newest_first == newest_first,
            sa.exists().where(runs.c.backfill_id == backfills.c.id, runs.c.state.in_(WORKING | {RunState.WAITING})),
            ~sa.exists().where(runs.c.backfill_id == backfills.c.id, runs.c.state.in_(STOPPED)),
        )
        .order_by(backfills.c.created_at.desc())
        .limit(1)
    )
    if high is not None:
        query = query.where(backfills.c.high == high)
    row = connection.execute(query).mappings().one_or_none()
    return None if row is None else _backfill(row)


def parts_of(connection: sa.Connection, backfill_id: BackfillId) -> list[Run]:
    """Give the newest run of each part, in the order in which the parts are read."""
    return _newest_of_each_part(connection, runs.c.backfill_id == backfill_id)


def parts_of_all(connection: sa.Connection, backfill_ids: Sequence[BackfillId]) -> Mapping[BackfillId, Sequence[Run]]:
    """Give the newest run of each part of some backfills, as ``parts_of`` does of one."""
    found: dict[BackfillId, list[Run]] = {backfill_id: [] for backfill_id in backfill_ids}
    for run in _newest_of_each_part(connection, runs.c.backfill_id.in_(backfill_ids), among=(runs.c.backfill_id,)):
        if run.backfill_id is not None:
            found[run.backfill_id].append(run)
    return found


def initial_parts(connection: sa.Connection, row: PipelineRow) -> list[Run]:
    """Give the newest run of each part of the initial sync of a pipeline's present generation, in order."""
    return _newest_of_each_part(
        connection,
        runs.c.pipeline_id == row.pipeline.id,
        runs.c.generation == row.standing.generation,
        runs.c.kind == RunKind.INITIAL,
    )


def next_part(connection: sa.Connection, backfill_id: BackfillId) -> Run | None:
    """Give the part that is to begin next, or ``None`` where one is open or none waits."""
    of_it = runs.c.backfill_id == backfill_id
    if connection.scalar(sa.select(sa.exists().where(of_it, runs.c.state.in_(OPEN)))):
        return None
    waits = sa.select(runs).where(of_it, runs.c.state == RunState.WAITING).order_by(runs.c.part).limit(1)
    row = connection.execute(waits).mappings().one_or_none()
    return None if row is None else run_rows.to_run(row)


def _backfill(row: sa.RowMapping) -> Backfill:
    return Backfill(
        id=BackfillId(row["id"]),
        pipeline_id=row["pipeline_id"],
        kind=RunKind(row["kind"]),
        low=row["low"],
        high=row["high"],
        parts=row["parts"],
        newest_first=row["newest_first"],
        expected_rows=row["expected_rows"],
        paused_at=row["paused_at"],
        cancelled_at=row["cancelled_at"],
        created_at=row["created_at"],
    )


def _newest_of_each_part(
    connection: sa.Connection, *which: sa.ColumnElement[bool], among: tuple[sa.Column[Any], ...] = ()
) -> list[Run]:
    """Give the newest run of each part, in order; parts are told apart by their number, and by ``among`` before."""
    part = (*among, runs.c.part)
    query = (
        sa.select(runs)
        .where(*which)
        .ext(distinct_on(*part))
        .order_by(*part, runs.c.state == RunState.ABANDONED, runs.c.created_at.desc())
    )
    return [run_rows.to_run(row) for row in connection.execute(query).mappings()]
