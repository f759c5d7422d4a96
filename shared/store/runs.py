"""Runs as rows: asked for, planned, stopped, reopened, settled."""

from collections.abc import Mapping
from typing import Any
from uuid import uuid4

import sqlalchemy as sa

from shared.errors import LedgerUnbalanced, NotFound, SyncError
from shared.messages import Message, TaskName
from shared.run import (
    OPEN,
    STOPPED,
    WORKING,
    ChunkState,
    Lane,
    Ledger,
    Run,
    RunId,
    RunKind,
    RunState,
    SliceState,
    Token,
    Window,
)
from shared.store import claims
from shared.store.declared import PipelineRow, get_pipeline
from shared.store.tables import chunks, pipelines, runs, slices


def create(connection: sa.Connection, row: PipelineRow, kind: RunKind, lane: Lane) -> Run:
    """Record a run to be planned now; the caller holds the pipeline's lock and sends the message."""
    inserted = connection.execute(
        sa.insert(runs)
        .values(
            id=uuid4(),
            pipeline_id=row.pipeline.id,
            generation=row.standing.generation,
            kind=kind,
            lane=lane,
            mode=row.pipeline.sync_mode.type,
            logical_at=sa.func.now(),
            sent_at=sa.func.now(),
        )
        .returning(runs)
    )
    return _run(inserted.mappings().one())


def get(connection: sa.Connection, run_id: RunId, *, lock: bool = False) -> Run:
    """Give one run, or raise ``NotFound``; ``lock`` keeps others from moving it until the transaction ends."""
    query = sa.select(runs).where(runs.c.id == run_id)
    if lock:
        query = query.with_for_update(key_share=True)
    row = connection.execute(query).mappings().one_or_none()
    if row is None:
        raise NotFound(f"there is no run {run_id}; `warehouse-sync runs` lists them")
    return _run(row)


def find(connection: sa.Connection, beginning: str) -> RunId:
    """Give the run whose id begins so, or raise ``NotFound`` where none or several do."""
    text_id = sa.cast(runs.c.id, sa.Text)
    found = connection.scalars(
        sa.select(runs.c.id).where(text_id.startswith(beginning.lower(), autoescape=True)).limit(2)
    ).all()
    if len(found) != 1:
        raise NotFound(
            f"{'several runs begin' if found else 'no run begins'} with {beginning!r}; `warehouse-sync runs` lists them"
        )
    return RunId(found[0])


def why_it_waits(connection: sa.Connection, run_id: RunId) -> str | None:
    """Give what the run's planning, slices or chunks last said when they were put off, or ``None``."""
    asked = (
        sa.select(runs.c.error.label("why")).where(runs.c.id == run_id, runs.c.state == RunState.CREATED),
        sa.select(slices.c.held_reason).where(slices.c.run_id == run_id, slices.c.state == SliceState.PENDING),
        # Only a chunk that was tried can say why; those few are indexed, the many that nobody tried yet are not read.
        sa.select(chunks.c.error).where(
            chunks.c.run_id == run_id, chunks.c.state == ChunkState.READY, chunks.c.in_doubt_since.is_not(None)
        ),
    )
    told = sa.union_all(*asked).subquery()
    return connection.scalar(sa.select(told.c.why).where(told.c.why.is_not(None)).limit(1))


def newest(connection: sa.Connection, pipeline_id: str | None = None, *, limit: int = 50) -> list[Run]:
    """Give the newest runs, of one pipeline or of all."""
    query = sa.select(runs).order_by(runs.c.created_at.desc()).limit(limit)
    if pipeline_id is not None:
        query = query.where(runs.c.pipeline_id == pipeline_id)
    return [_run(row) for row in connection.execute(query).mappings()]


def open_of(connection: sa.Connection, pipeline_id: str) -> list[Run]:
    """Give the runs that hold a window of the pipeline, oldest first, locked."""
    query = (
        sa.select(runs)
        .where(runs.c.pipeline_id == pipeline_id, runs.c.state.in_(OPEN))
        .order_by(runs.c.id)
        .with_for_update(key_share=True)
    )
    return sorted((_run(row) for row in connection.execute(query).mappings()), key=lambda run: run.created_at)


def claim_plan(connection: sa.Connection, run_id: RunId, token: Token, lease_s: float) -> Run | None:
    """Claim the planning of a run, or give ``None`` where that is no longer a legal move."""
    row = connection.execute(
        sa.update(runs)
        .where(
            runs.c.id == run_id,
            runs.c.state == RunState.CREATED,
            runs.c.token.is_(None),
            claims.is_due(runs),
        )
        .values(
            token=token,
            lease_until=claims.after(lease_s),
            claimant=claims.this_process(),
            started_at=sa.func.coalesce(runs.c.started_at, sa.func.now()),
        )
        .returning(runs)
    )
    found = row.mappings().one_or_none()
    return None if found is None else _run(found)


def freeze(
    connection: sa.Connection,
    run: Run,
    token: Token,
    *,
    window: Window,
    snapshot: Mapping[str, Any],
    slice_count: int,
) -> list[Message]:
    """Freeze window and snapshot of a claimed run and record its slices; an initial run also fixes T0.

    Returns the messages to send: one a slice, or, where there is nothing to read, the one that settles.

    Raises:
        ClaimLost: the run was given to another planner, or was stopped; nothing was frozen.
    """
    if run.kind is RunKind.INITIAL:
        get_pipeline(connection, run.pipeline_id, lock=True)
    claims.require_one(
        connection.execute(
            sa.update(runs)
            .where(claims.held_by(runs, run.id, token), runs.c.state == RunState.CREATED)
            .values(
                state=RunState.EXTRACTING if slice_count else RunState.UPLOADING,
                low=window.low,
                high=window.high,
                includes_null=window.includes_null,
                snapshot=snapshot,
                slices_total=slice_count,
                deaths=0,
                error=None,
                **claims.RELEASED,
            )
        )
    )
    if run.kind is RunKind.INITIAL:
        connection.execute(
            sa.update(pipelines)
            .where(
                pipelines.c.id == run.pipeline_id,
                pipelines.c.generation == run.generation,
                pipelines.c.history_to.is_(None),
            )
            .values(history_to=window.high, watermark=window.high)
        )
    if not slice_count:
        return [Message(TaskName.SETTLE_RUN, run.id)]
    ids = [uuid4() for _ in range(slice_count)]
    connection.execute(
        sa.insert(slices),
        [{"id": id_, "run_id": run.id, "no": no, "state": SliceState.PENDING} for no, id_ in enumerate(ids)],
    )
    connection.execute(sa.update(slices).where(slices.c.run_id == run.id).values(sent_at=sa.func.now()))
    return [Message(TaskName.EXTRACT_SLICE, id_, run.lane) for id_ in ids]


def renew_plan(connection: sa.Connection, run_id: RunId, token: Token, lease_s: float) -> None:
    """Push a planner's lease ahead, or raise ``ClaimLost``."""
    claims.renew(connection, runs, run_id, token, lease_s)


def put_off_plan(connection: sa.Connection, run_id: RunId, token: Token, wait_s: float, why: str) -> None:
    """Give a claimed plan back, to be tried again after a while."""
    claims.require_one(
        connection.execute(
            sa.update(runs)
            .where(claims.held_by(runs, run_id, token))
            .values(not_before=claims.after(wait_s), sent_at=None, error=why, **claims.RELEASED)
        )
    )


def stop(connection: sa.Connection, run_id: RunId, state: RunState, error: SyncError | None) -> bool:
    """Fail or cancel a run that is being worked on; it keeps its window, and what was not sent is ``unsent``.

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
        )
    )
    return bool(result.rowcount)


def close(connection: sa.Connection, run_id: RunId, state: RunState) -> None:
    """Mark a locked run settled or abandoned; the constraints refuse one that does not balance."""
    connection.execute(sa.update(runs).where(runs.c.id == run_id).values(state=state, ended_at=sa.func.now()))


def count_rows(connection: sa.Connection, run_id: RunId, **increments: int) -> None:
    """Add to the run's counters; where the run was stopped meanwhile, the rows come out of ``unsent``."""
    moved = sum(increments.values())
    values: dict[str, Any] = {name: runs.c[name] + count for name, count in increments.items()}
    is_over = runs.c.state.in_(STOPPED | {RunState.ABANDONED})
    values["unsent"] = sa.case((is_over, runs.c.unsent - moved), else_=runs.c.unsent)
    connection.execute(sa.update(runs).where(runs.c.id == run_id).values(values))


def _run(row: sa.RowMapping) -> Run:
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
    )
