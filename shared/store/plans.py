"""Plans: claimed by one planner at a time, frozen once with everything that a run needs to know."""

from collections.abc import Mapping, Sequence
from typing import Any
from uuid import uuid4

import sqlalchemy as sa

from shared.messages import Message, TaskName
from shared.run import Run, RunId, RunKind, RunState, SliceState, Token, Window
from shared.store import claims, waiting
from shared.store import runs as run_rows
from shared.store.declared import get_pipeline
from shared.store.declared_tables import pipelines
from shared.store.tables import runs, slices


def claim(connection: sa.Connection, run_id: RunId, token: Token, lease_s: float) -> Run | None:
    """Claim the planning of a run, or give ``None`` where that is no longer a legal move."""
    row = connection.execute(
        sa.update(runs)
        .where(
            runs.c.id == run_id,
            runs.c.state == RunState.CREATED,
            runs.c.paused_at.is_(None),
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
    return None if found is None else run_rows.to_run(found)


def freeze(
    connection: sa.Connection,
    run: Run,
    token: Token,
    *,
    window: Window,
    snapshot: Mapping[str, Any],
    slice_count: int,
    further_parts: Sequence[Window] = (),
) -> list[Message]:
    """Freeze window and snapshot of a claimed run and record its slices.

    The first part of an initial sync to be planned also fixes T0, where the last of all parts ends: the live lane may
    begin. ``further_parts`` of a backfill are recorded in the order in which they are to be read, each waiting for the
    one before, with the same snapshot.

    Returns the messages to send: one a slice, or, where there is nothing to read, the one that settles; and that of a
    live run which waited for T0.

    Raises:
        ClaimLost: the run was given to another planner, or was stopped; nothing was frozen.
    """
    row = get_pipeline(connection, run.pipeline_id, lock=True, even_deleted=True)
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
    for part, further in enumerate(further_parts, start=run.part + 1):
        run_rows.create(
            connection,
            row,
            run.kind,
            run.lane,
            state=RunState.WAITING,
            sent_at=None,
            generation=run.generation,
            mode=run.mode,
            logical_at=run.logical_at,
            backfill_id=run.backfill_id,
            part=part,
            low=further.low,
            high=further.high,
            includes_null=further.includes_null,
            snapshot=snapshot,
        )
    messages = _begin(connection, run, slice_count)
    if run.kind is RunKind.INITIAL:
        messages += _fix_t0(connection, run, [window, *further_parts])
    return messages


def begin_part(connection: sa.Connection, run: Run) -> list[Message]:
    """Begin a part that waited, planned as it is; the caller holds the pipeline's lock."""
    begun = connection.execute(
        sa.update(runs)
        .where(runs.c.id == run.id, runs.c.state == RunState.WAITING)
        .values(state=RunState.EXTRACTING, slices_total=1, started_at=sa.func.now())
    )
    return _begin(connection, run, 1) if begun.rowcount else []


def _begin(connection: sa.Connection, run: Run, slice_count: int) -> list[Message]:
    if not slice_count:
        return [Message(TaskName.SETTLE_RUN, run.id)]
    ids = [uuid4() for _ in range(slice_count)]
    connection.execute(
        sa.insert(slices),
        [{"id": id_, "run_id": run.id, "no": no, "state": SliceState.PENDING} for no, id_ in enumerate(ids)],
    )
    connection.execute(sa.update(slices).where(slices.c.run_id == run.id).values(sent_at=sa.func.now()))
    return [Message(TaskName.EXTRACT_SLICE, id_, run.lane) for id_ in ids]


def _fix_t0(connection: sa.Connection, run: Run, parts: Sequence[Window]) -> list[Message]:
    t0 = max((part.high for part in parts if part.high is not None), default=None)
    fixed = connection.execute(
        sa.update(pipelines)
        .where(
            pipelines.c.id == run.pipeline_id,
            pipelines.c.generation == run.generation,
            pipelines.c.history_to.is_(None),
        )
        .values(history_to=t0, watermark=t0)
    )
    if not fixed.rowcount:
        return []
    return waiting.promote(connection, get_pipeline(connection, run.pipeline_id, even_deleted=True))


def renew(connection: sa.Connection, run_id: RunId, token: Token, lease_s: float) -> None:
    """Push a planner's lease ahead, or raise ``ClaimLost``."""
    claims.renew(connection, runs, run_id, token, lease_s)


def put_off(connection: sa.Connection, run_id: RunId, token: Token, wait_s: float, why: str) -> None:
    """Give a claimed plan back, to be tried again after a while."""
    claims.require_one(
        connection.execute(
            sa.update(runs)
            .where(claims.held_by(runs, run_id, token))
            .values(not_before=claims.after(wait_s), sent_at=None, error=why, **claims.RELEASED)
        )
    )
