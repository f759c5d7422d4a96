"""Runs as rows: asked for, planned, stopped, reopened, settled."""

from collections.abc import Collection, Iterable, Mapping
from typing import Any
from uuid import uuid4

import sqlalchemy as sa

from shared import findings, tracing
from shared.errors import LedgerUnbalanced, NotFound, SyncError
from shared.ledger import Ledger
from shared.run import OPEN, STOPPED, WORKING, HeldFor, Lane, PipelineState, Run, RunId, RunKind, RunState, Window
from shared.store import beginnings, claims, endings
from shared.store.declared import PipelineRow
from shared.store.declared_tables import pipelines
from shared.store.tables import runs


def create(connection: sa.Connection, row: PipelineRow, kind: RunKind, lane: Lane, **columns: Any) -> Run:
    """Record a run to be planned now; the caller holds the pipeline's lock and sends the message.

    ``columns`` are what it has beyond that: the occurrence it stands for, its backfill, a window that is known.
    """
    planned = to_be_planned(row, kind, lane, **columns)
    inserted = connection.execute(sa.insert(runs).values(planned).returning(runs))
    return to_run(inserted.mappings().one())


def to_be_planned(row: PipelineRow, kind: RunKind, lane: Lane, **columns: Any) -> dict[str, Any]:
    """Give what ``create`` records."""
    return {
        "id": uuid4(),
        "pipeline_id": row.pipeline.id,
        "generation": row.standing.generation,
        "kind": kind,
        "lane": lane,
        "mode": row.pipeline.sync_mode.type,
        "state": RunState.CREATED,
        "logical_at": sa.func.now(),
        "sent_at": sa.func.now(),
    } | columns


def get(connection: sa.Connection, run_id: RunId, *, lock: bool = False) -> Run:
    """Give one run, or raise ``NotFound``; ``lock`` keeps others from moving it until the transaction ends."""
    query = sa.select(runs).where(runs.c.id == run_id)
    if lock:
        query = query.with_for_update(key_share=True)
    row = connection.execute(query).mappings().one_or_none()
    if row is None:
        raise NotFound(f"there is no run {run_id}; `warehouse-sync runs` lists them")
    return to_run(row)


def numbers_of(connection: sa.Connection, run_ids: Collection[RunId]) -> dict[RunId, int]:
    """Give what people call some runs, in the order in which they are named."""
    if not run_ids:
        return {}
    found = connection.execute(sa.select(runs.c.id, runs.c.number).where(runs.c.id.in_(run_ids)))
    numbers = {RunId(id_): int(number) for id_, number in found}
    return {run_id: numbers[run_id] for run_id in run_ids if run_id in numbers}


def find(connection: sa.Connection, named: str) -> RunId:
    """Give the run of that number, or whose id begins so, or raise ``NotFound``; see ``beginnings.find``."""
    return RunId(beginnings.find(connection, runs.c.id, named, noun="run", number_column=runs.c.number))


def newest(connection: sa.Connection, pipeline_id: str | None = None, *, limit: int = 50) -> list[Run]:
    """Give the newest runs, of one pipeline or of all."""
    query = sa.select(runs).order_by(runs.c.created_at.desc()).limit(limit)
    if pipeline_id is not None:
        query = query.where(runs.c.pipeline_id == pipeline_id)
    return [to_run(row) for row in connection.execute(query).mappings()]


def stopped(connection: sa.Connection) -> list[Run]:
    """Give the failed and cancelled runs of pipelines that were not deleted, newest first."""
    query = (
        sa.select(runs)
        .join(pipelines, pipelines.c.id == runs.c.pipeline_id)
        .where(runs.c.state.in_(STOPPED), pipelines.c.state != PipelineState.DELETED)
        .order_by(runs.c.created_at.desc())
    )
    return [to_run(row) for row in connection.execute(query).mappings()]


def open_of(connection: sa.Connection, pipeline_id: str) -> list[Run]:
    """Give the runs that hold a window of the pipeline, oldest first, locked."""
    query = (
        sa.select(runs)
        .where(runs.c.pipeline_id == pipeline_id, runs.c.state.in_(OPEN))
        .order_by(runs.c.id)
        .with_for_update(key_share=True)
    )
    return in_order(to_run(row) for row in connection.execute(query).mappings())


def with_chunks(connection: sa.Connection, pipeline_ids: Collection[str] | None) -> list[RunId]:
    """Give the runs of some pipelines, or of all, whose chunks are still in the spool, oldest first."""
    of_them = sa.true() if pipeline_ids is None else runs.c.pipeline_id.in_(pipeline_ids)
    query = sa.select(runs.c.id).where(runs.c.spool_freed_at.is_(None), runs.c.chunks_total > 0, of_them)
    return [RunId(id_) for id_ in connection.scalars(query.order_by(runs.c.created_at))]


def in_order(found: Iterable[Run]) -> list[Run]:
    """Give runs oldest first; the parts of a backfill are recorded at one instant."""
    return sorted(found, key=lambda run: (run.created_at, run.part))


def stop(connection: sa.Connection, run_id: RunId, state: RunState, error: SyncError | None, **columns: Any) -> bool:
    """Fail or cancel a run that is being worked on; it keeps its window, and what was not sent is ``unsent``.

    ``columns`` are what its row says beyond that.
    Chunks that are being uploaded at this moment finish, and their rows move from ``unsent`` to where they end.
    Says whether the run was still being worked on; either way nobody else moves it until the transaction ends.
    """
    get(connection, run_id, lock=True)
    ended = runs.c.accepted + runs.c.rejected + runs.c.unchanged + runs.c.superseded
    result = connection.execute(
        sa.update(runs)
        .where(runs.c.id == run_id, runs.c.state.in_(WORKING))
        .values(
            state=state,
            unsent=sa.func.greatest(runs.c.extracted - ended, 0),
            ended_at=sa.func.now(),
            # A broken ledger must not keep a run from being stopped, nor upkeep from stopping others beside it.
            error_kind=sa.case(
                (ended > runs.c.extracted, LedgerUnbalanced.__name__), else_=type(error).__name__ if error else None
            ),
            error=str(error) if error else None,
            sent_at=None,
            **claims.RELEASED,
            **columns,
        )
    )
    if result.rowcount:
        _trace_end(connection, [run_id])
    return bool(result.rowcount)


def pause(connection: sa.Connection, which: sa.ColumnElement[bool]) -> None:
    """Let nothing more of some working runs be claimed; what is claimed finishes."""
    connection.execute(
        sa.update(runs)
        .where(which, runs.c.state.in_(WORKING), runs.c.paused_at.is_(None))
        .values(paused_at=sa.func.now())
    )


def close(connection: sa.Connection, run_id: RunId, state: RunState) -> None:
    """Mark a locked run settled or abandoned; the constraints refuse one that does not balance."""
    connection.execute(sa.update(runs).where(runs.c.id == run_id).values(state=state, ended_at=sa.func.now()))
    _trace_end(connection, [run_id])


def drop_waiting(connection: sa.Connection, *which: sa.ColumnElement[bool]) -> None:
    """Abandon those runs that wait: nothing of them was read."""
    dropped = connection.scalars(
        sa.update(runs)
        .where(*which, runs.c.state == RunState.WAITING)
        .values(state=RunState.ABANDONED, ended_at=sa.func.now())
        .returning(runs.c.id)
    )
    _trace_end(connection, [RunId(id_) for id_ in dropped])


def count_rows(connection: sa.Connection, run_id: RunId, *, batches: int = 0, **increments: int) -> None:
    """Add to the run's counters; where the run was stopped meanwhile, the rows come out of ``unsent``."""
    moved = sum(increments.values())
    values: dict[str, Any] = {name: runs.c[name] + count for name, count in increments.items()}
    values["batches"] = runs.c.batches + batches
    if increments.get("accepted") or increments.get("rejected"):  # Its feed answers.
        values |= {"silences": 0, "not_before": None}
    is_over = runs.c.state.in_(STOPPED | {RunState.ABANDONED})
    values["unsent"] = sa.case((is_over, runs.c.unsent - moved), else_=runs.c.unsent)
    connection.execute(sa.update(runs).where(runs.c.id == run_id).values(values))


def count_findings(connection: sa.Connection, run_id: RunId, found: Mapping[str, int]) -> None:
    """Add to what was found out about the run's rows."""
    counted = connection.scalar(sa.select(runs.c.findings).where(runs.c.id == run_id).with_for_update(key_share=True))
    connection.execute(
        sa.update(runs).where(runs.c.id == run_id).values(findings=findings.together(counted or {}, found))
    )


def _trace_end(connection: sa.Connection, run_ids: Iterable[RunId]) -> None:
    if tracing.is_on():
        for run_id in run_ids:
            endings.tell(connection, get(connection, run_id))


def to_run(row: sa.RowMapping) -> Run:
    """Give a row as the run that it is."""
    return Run(
        id=RunId(row["id"]),
        pipeline_id=row["pipeline_id"],
        generation=row["generation"],
        kind=RunKind(row["kind"]),
        lane=Lane(row["lane"]),
        mode=row["mode"],
        state=RunState(row["state"]),
        logical_at=row["logical_at"],
        window=Window(row["low"], row["high"], row["includes_null"]),
        snapshot=row["snapshot"],
        ledger=Ledger(
            extracted=row["extracted"],
            accepted=row["accepted"],
            rejected=row["rejected"],
            unchanged=row["unchanged"],
            superseded=row["superseded"],
            unsent=row["unsent"],
        ),
        slices_total=row["slices_total"],
        slices_published=row["slices_published"],
        chunks_total=row["chunks_total"],
        chunks_done=row["chunks_done"],
        reopenings=row["reopenings"],
        error_kind=row["error_kind"],
        error=row["error"],
        created_at=row["created_at"],
        started_at=row["started_at"],
        ended_at=row["ended_at"],
        scheduled_for=row["scheduled_for"],
        missed=row["missed"],
        paused_at=row["paused_at"],
        backfill_id=row["backfill_id"],
        part=row["part"],
        findings=row["findings"],
        batches=row["batches"],
        replays=None if row["replays"] is None else RunId(row["replays"]),
        accepts_rejects=row["accepts_rejects"],
        number=row["number"],
        held_at=row["held_at"],
        held_for=None if row["held_for"] is None else HeldFor(row["held_for"]),
        held_reason=row["held_reason"],
        accepts_volume=row["accepts_volume"],
    )
