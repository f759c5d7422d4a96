"""The life of a pipeline: drafted, activated, paused, resumed, deleted; and what beat does when one is due."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

import sqlalchemy as sa

from shared import moments, schedule
from shared.errors import DeclarationInvalid, MoveNotAllowed, ProcessOutdated, SyncError
from shared.run import CLOSED, WORKING, Lane, PipelineState, RunState
from shared.store import backfills, history, reopening, requests, waiting
from shared.store import runs as run_rows
from shared.store.asked import Asked, together
from shared.store.declared import PipelineRow, get_pipeline, require_environment, to_pipeline_row
from shared.store.declared_tables import pipelines
from shared.store.tables import runs
from shared.store.waiting import Occurrence

_LOOK_AGAIN_AFTER: Final = timedelta(minutes=5)


@dataclass(frozen=True, slots=True)
class Due:
    """What one look at the schedules came to: how many pipelines were due, and the messages to send for them.

    ``put_off`` could not be read or begun; they are looked at again after a while.
    """

    pipelines: int
    asked: Asked
    put_off: tuple[str, ...] = ()


def activate(connection: sa.Connection, pipeline_id: str, *, now: datetime | None = None) -> PipelineRow:
    """Let a draft run on its schedule; its first run is due at ``start``, or now where that is past.

    Raises:
        NotFound: there is no such pipeline.
        MoveNotAllowed: it is not a draft.
        DeclarationInvalid: it declares no environment, or its schedule has ended.
    """
    row = get_pipeline(connection, pipeline_id, lock=True)
    require_draft(row)
    require_environment(connection, row)
    now = now or _now(connection)
    due = schedule.first_due(row.pipeline.schedule, now)
    if due is None and not isinstance(row.pipeline.schedule, schedule.OnDemand):
        raise DeclarationInvalid(
            f"pipeline {pipeline_id!r}: its schedule has no occurrence after now ({moments.told(now)}); move "
            "schedule.end, or make it on_demand"
        )
    return _set(connection, pipeline_id, PipelineState.ACTIVE, due)


def require_draft(row: PipelineRow) -> None:
    """Raise ``MoveNotAllowed`` unless a pipeline can be activated."""
    if row.state is not PipelineState.DRAFT:
        raise MoveNotAllowed(f"pipeline {row.pipeline.id!r} is {row.state}; only a draft can be activated")


def move(connection: sa.Connection, pipeline_id: str, state: PipelineState, *, window_chunks: int) -> Asked:
    """Bring a pipeline into a state, by the moves that lead there; nothing happens where it is in it.

    Raises:
        NotFound, MoveNotAllowed, DeclarationInvalid: as of those moves; or none leads there.
    """
    found = get_pipeline(connection, pipeline_id, lock=True).state
    if found is state:
        return Asked((), ())
    if state not in {PipelineState.ACTIVE, PipelineState.PAUSED}:
        raise MoveNotAllowed(f"pipeline {pipeline_id!r} is {found} and cannot be a draft again; pause it instead")
    if found is PipelineState.PAUSED:
        return resume(connection, pipeline_id, window_chunks=window_chunks)
    if found is PipelineState.DRAFT:
        activate(connection, pipeline_id)
    if state is PipelineState.PAUSED:
        pause(connection, pipeline_id)
    return Asked((), ())


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
    active = get_pipeline(connection, pipeline_id)
    if active.next_due_at is None:  # No occurrence comes that would start what waits.
        messages += waiting.promote(connection, active)
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
    run_rows.drop_waiting(connection, runs.c.pipeline_id == pipeline_id)
    _set(connection, pipeline_id, PipelineState.DELETED, None)


def reschedule(connection: sa.Connection, row: PipelineRow) -> None:
    """Find the next occurrence anew after an active pipeline's schedule was edited; the caller holds its lock.

    An occurrence that is due and that no beat has claimed yet stays so.
    """
    now = _now(connection)
    is_overdue = row.next_due_at is not None and row.next_due_at <= now
    if row.state is PipelineState.ACTIVE and not is_overdue:
        _set(connection, row.pipeline.id, row.state, _due_again(connection, row, now))


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
    locked = (
        connection.execute(
            sa.select(pipelines)
            .where(pipelines.c.next_due_at <= now)
            .order_by(pipelines.c.next_due_at)
            .limit(at_most)
            .with_for_update(key_share=True, skip_locked=True)
        )
        .mappings()
        .all()
    )
    covered: list[tuple[PipelineRow, schedule.Coverage]] = []
    put_off: list[str] = []
    for found in locked:
        try:
            row = to_pipeline_row(found)
        except ProcessOutdated:  # A beat of that version finds it due, too.
            put_off.append(found["id"])
            continue
        coverage = schedule.cover(row.pipeline.schedule, row.next_due_at or now, now)
        if coverage is not None:
            covered.append((row, coverage))
    _step(connection, covered, put_off, now)
    busy = _not_idle(connection, [row.pipeline.id for row, _ in covered])
    asked: list[Asked] = []
    idle: list[tuple[PipelineRow, Occurrence]] = []
    for row, coverage in sorted(covered, key=lambda pair: pair[0].pipeline.id):
        occurrence = Occurrence(coverage.due_at, coverage.missed)
        if row.pipeline.id in busy or not row.is_past_history or row.faulted_reason is not None:
            try:
                with connection.begin_nested():
                    asked.append(
                        requests.occur(
                            connection, row, occurrence, window_chunks=window_chunks, max_reopenings=max_reopenings
                        )
                    )
            except sa.exc.IntegrityError:  # It has its run already: a clock was set back.
                continue
            except SyncError:  # Its own trouble must not be that of all others.
                put_off.append(row.pipeline.id)
                _step(connection, (), [row.pipeline.id], now)
        else:
            idle.append((row, occurrence))
    return Due(len(locked), together([*asked, requests.start_all(connection, idle)]), tuple(put_off))


def _step(
    connection: sa.Connection,
    covered: Sequence[tuple[PipelineRow, schedule.Coverage]],
    put_off: Sequence[str],
    now: datetime,
) -> None:
    """Let pipelines wait for what follows; those that could not be read for another look."""
    steps = [{"due_id": row.pipeline.id, "next": coverage.next_due_at} for row, coverage in covered]
    steps += [{"due_id": pipeline_id, "next": now + _LOOK_AGAIN_AFTER} for pipeline_id in put_off]
    if steps:
        connection.execute(
            sa.update(pipelines)
            .where(pipelines.c.id == sa.bindparam("due_id"))
            .values(next_due_at=sa.bindparam("next")),
            steps,
        )


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
    """Give what a pipeline waits for after a pause or an edit; a single occurrence that passed meanwhile is due now.

    Never one that had its run: a clock may have been set back, and others may have looked after this one began.
    """
    again = row.pipeline.schedule
    last = connection.scalar(sa.select(sa.func.max(runs.c.scheduled_for)).where(runs.c.pipeline_id == row.pipeline.id))
    if isinstance(again, schedule.Once) and (last is None or (again.start is not None and last < again.start)):
        return schedule.first_due(again, now)
    return schedule.next_due(again, now if last is None else max(now, last))


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
