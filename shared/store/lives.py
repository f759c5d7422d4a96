"""The life of a pipeline: drafted, activated, paused, resumed, deleted; and what beat does when one is due."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa

from shared import schedule
from shared.errors import DeclarationInvalid, MoveNotAllowed
from shared.run import CLOSED, WORKING, Lane, PipelineState, RunState
from shared.store import backfills, history, reopening, requests
from shared.store import runs as run_rows
from shared.store.asked import Asked, together
from shared.store.declared import PipelineRow, get_pipeline, require_environment, to_pipeline_row
from shared.store.tables import pipelines, runs
from shared.store.waiting import Occurrence


@dataclass(frozen=True, slots=True)
class Due:
    """What one look at the schedules came to: how many pipelines were due, and the messages to send for them."""

    pipelines: int
    asked: Asked


def activate(connection: sa.Connection, pipeline_id: str, *, now: datetime | None = None) -> PipelineRow:
    """Let a draft run on its schedule; its first run is due at ``start``, or now where that is past.

    Raises:
        NotFound: there is no such pipeline.
        MoveNotAllowed: it is not a draft.
        DeclarationInvalid: it declares no environment, or its schedule has ended.
    """
    row = get_pipeline(connection, pipeline_id, lock=True)
    if row.state is not PipelineState.DRAFT:
        raise MoveNotAllowed(f"pipeline {pipeline_id!r} is {row.state}; only a draft can be activated")
    require_environment(connection, row)
    now = now or _now(connection)
    due = schedule.first_due(row.pipeline.schedule, now)
    if due is None and not isinstance(row.pipeline.schedule, schedule.OnDemand):
        raise DeclarationInvalid(
            f"pipeline {pipeline_id!r}: its schedule has no occurrence after now ({now:%Y-%m-%d %H:%M} UTC); move "
            "schedule.end, or make it on_demand"
        )
    return _set(connection, pipeline_id, PipelineState.ACTIVE, due)


def pause(connection: sa.Connection, pipeline_id: str) -> PipelineRow:
    """Start no new run of a pipeline and claim nothing more of those that are open; what is claimed finishes.

    Raises:
        NotFound: there is no such pipeline.
        MoveNotAllowed: it is not active.
    """
    row = get_pipeline(connection, pipeline_id, lock=True)
    if row.state is not PipelineState.ACTIVE:
        raise MoveNotAllowed(f"pipeline {pipeline_id!r} is {row.state}; only an active one can be paused")
    run_rows.pause(connection, runs.c.pipeline_id == pipeline_id)
    return _set(connection, pipeline_id, PipelineState.PAUSED, None)


def resume(connection: sa.Connection, pipeline_id: str, *, window_chunks: int, now: datetime | None = None) -> Asked:
    """Let a paused pipeline go on: open runs at once, new ones from the next occurrence of its schedule on.

    Raises:
        NotFound: there is no such pipeline.
        MoveNotAllowed: it is not paused.
    """
    row = get_pipeline(connection, pipeline_id, lock=True)
    if row.state is not PipelineState.PAUSED:
        raise MoveNotAllowed(f"pipeline {pipeline_id!r} is {row.state}; only a paused one can be resumed")
    _set(connection, pipeline_id, PipelineState.ACTIVE, _due_again(connection, row, now or _now(connection)))
    messages = reopening.unpause(
        connection,
        sa.and_(runs.c.pipeline_id == pipeline_id, history.is_not_paused_itself()),
        window_chunks=window_chunks,
    )
    for backfill in backfills.newest(connection, pipeline_id):
        messages += history.promote_part(connection, backfill.id)
    return Asked((), tuple(messages))


def delete(connection: sa.Connection, pipeline_id: str) -> None:
    """Cancel what is open and let nothing start any more; the id is never used again, runs and rejects stay.

    Rows that are not sent end as ``unsent``. Chunks under way finish; upkeep closes their runs.

    Raises:
        NotFound: there is no such pipeline.
    """
    get_pipeline(connection, pipeline_id, lock=True)
    for run in run_rows.open_of(connection, pipeline_id):
        if run.state in WORKING:
            run_rows.stop(connection, run.id, RunState.CANCELLED, None)
    connection.execute(
        sa.update(runs)
        .where(runs.c.pipeline_id == pipeline_id, runs.c.state == RunState.WAITING)
        .values(state=RunState.ABANDONED, ended_at=sa.func.now())
    )
    _set(connection, pipeline_id, PipelineState.DELETED, None)


def reschedule(connection: sa.Connection, row: PipelineRow) -> None:
    """Find the next occurrence anew after an active pipeline's schedule was edited; the caller holds its lock."""
    if row.state is PipelineState.ACTIVE:
        _set(connection, row.pipeline.id, row.state, _due_again(connection, row, _now(connection)))


def claim_due(
    connection: sa.Connection,
    *,
    at_most: int,
    window_chunks: int,
    max_reopenings: int,
    now: datetime | None = None,
) -> Due:
    """Claim pipelines that are due, as many beats at once as like to, and record what each occurrence asks for.

    An occurrence and the step to the next one are one transaction. Occurrences that were missed are covered by the
    run of the latest one, which says how many they were. ``now`` is the store's own time unless told otherwise.
    """
    now = now or _now(connection)
    due = [
        to_pipeline_row(row)
        for row in connection.execute(
            sa.select(pipelines)
            .where(pipelines.c.next_due_at <= now)
            .order_by(pipelines.c.next_due_at)
            .limit(at_most)
            .with_for_update(key_share=True, skip_locked=True)
        ).mappings()
    ]
    covered = [
        (row, coverage)
        for row in due
        if (coverage := schedule.cover(row.pipeline.schedule, row.next_due_at or now, now)) is not None
    ]
    if covered:
        connection.execute(
            sa.update(pipelines)
            .where(pipelines.c.id == sa.bindparam("due_id"))
            .values(next_due_at=sa.bindparam("next")),
            [{"due_id": row.pipeline.id, "next": coverage.next_due_at} for row, coverage in covered],
        )
    busy = _not_idle(connection, [row.pipeline.id for row in due])
    asked: list[Asked] = []
    idle: list[tuple[PipelineRow, Occurrence]] = []
    for row, coverage in sorted(covered, key=lambda pair: pair[0].pipeline.id):
        occurrence = Occurrence(coverage.due_at, coverage.missed)
        if row.pipeline.id in busy or not row.is_past_history or row.faulted_reason is not None:
            asked.append(
                requests.occur(connection, row, occurrence, window_chunks=window_chunks, max_reopenings=max_reopenings)
            )
        else:
            idle.append((row, occurrence))
    return Due(len(due), together([*asked, requests.start_all(connection, idle)]))


def _not_idle(connection: sa.Connection, pipeline_ids: Sequence[str]) -> frozenset[str]:
    """Say which pipelines have a run on their live lane that is not closed."""
    return frozenset(
        connection.scalars(
            sa.select(runs.c.pipeline_id).where(
                runs.c.pipeline_id.in_(pipeline_ids), runs.c.lane == Lane.LIVE, runs.c.state.not_in(CLOSED)
            )
        )
    )


def _due_again(connection: sa.Connection, row: PipelineRow, now: datetime) -> datetime | None:
    """Give what a pipeline waits for after a pause or an edit; a single occurrence that passed meanwhile is due now."""
    declared_schedule = row.pipeline.schedule
    if isinstance(declared_schedule, schedule.Once) and not run_rows.newest(connection, row.pipeline.id, limit=1):
        return schedule.first_due(declared_schedule, now)
    return schedule.next_due(declared_schedule, now)


def _now(connection: sa.Connection) -> datetime:
    now: datetime = connection.execute(sa.select(sa.func.now())).scalar_one()
    return now


def _set(
    connection: sa.Connection, pipeline_id: str, state: PipelineState, next_due_at: datetime | None
) -> PipelineRow:
    connection.execute(
        sa.update(pipelines).where(pipelines.c.id == pipeline_id).values(state=state, next_due_at=next_due_at)
    )
    return get_pipeline(connection, pipeline_id, even_deleted=True)
