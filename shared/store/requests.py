"""What schedules and triggers ask for: a run of a pipeline, now or as soon as nothing is in its way.

An occurrence of a schedule is never dropped. It becomes a run, or reopens the one that failed and waits behind it, or
is coalesced into the run that waits already. A trigger that would have to wait is refused instead: somebody is there to
be told.
"""

from collections.abc import Sequence

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from shared.catalog import Incremental
from shared.errors import AlreadyInProgress, MoveNotAllowed, TooManyRejected
from shared.messages import Message, TaskName
from shared.notices import NoticeName
from shared.run import WORKING, Lane, Run, RunId, RunKind, RunState
from shared.store import declared, history, notices, reopening, waiting
from shared.store import runs as run_rows
from shared.store.asked import Asked, together
from shared.store.declared import PipelineRow, get_pipeline
from shared.store.declared_tables import pipelines
from shared.store.tables import runs
from shared.store.waiting import Occurrence

_TRIGGER = Occurrence()


def trigger(connection: sa.Connection, pipeline_id: str, *, window_chunks: int, max_reopenings: int) -> Asked:
    """Ask for a run of a pipeline now; it works on active and paused pipelines, whatever their schedule.

    A failed run is reopened before anything newer is read. The first run of an incremental pipeline is its initial
    sync, on the backfill lane; from T0 on the live lane runs beside it.

    Raises:
        NotFound: there is no such pipeline.
        AlreadyInProgress: a run is being worked on, and this one would have to read the same rows.
        MoveNotAllowed: the pipeline is a draft, deleted, faulted, or held by a cancelled run. A failed run that was
            reopened too often faults its pipeline; ``Asked.runs`` is then empty, and the fault says why.
        DeclarationInvalid: the pipeline has no environment.
    """
    row = get_pipeline(connection, pipeline_id, lock=True)
    _require_runnable(connection, row)
    return _begin(connection, row, _TRIGGER, window_chunks=window_chunks, max_reopenings=max_reopenings)


def occur(
    connection: sa.Connection, row: PipelineRow, occurrence: Occurrence, *, window_chunks: int, max_reopenings: int
) -> Asked:
    """Do what an occurrence of an active pipeline's schedule asks for; the caller holds the pipeline's lock."""
    if row.faulted_reason is not None:
        waiting.put_in_line(connection, row, occurrence)
        return Asked((), ())
    return _begin(connection, row, occurrence, window_chunks=window_chunks, max_reopenings=max_reopenings)


def start_all(connection: sa.Connection, idle: Sequence[tuple[PipelineRow, Occurrence]]) -> Asked:
    """Start a live run for each occurrence of pipelines whose live lane is free, all at once; their locks are held."""
    if not idle:
        return Asked((), ())
    planned = [run_rows.to_be_planned(row, one.kind, Lane.LIVE, **one.columns) for row, one in idle]
    # One that has its run already, because a clock was set back, does not keep the others from theirs.
    started = connection.scalars(insert(runs).values(planned).on_conflict_do_nothing().returning(runs.c.id)).all()
    return Asked(
        tuple(RunId(id_) for id_ in started), tuple(Message(TaskName.PLAN_RUN, id_, Lane.LIVE) for id_ in started)
    )


def _begin(
    connection: sa.Connection, row: PipelineRow, occurrence: Occurrence, *, window_chunks: int, max_reopenings: int
) -> Asked:
    holding = run_rows.open_of(connection, row.pipeline.id)
    live = next((run for run in holding if run.lane is Lane.LIVE), None)
    if live is not None and _is_spent(live, max_reopenings):
        return _fault(connection, row, live, occurrence)
    past: list[Asked] = []
    if isinstance(row.pipeline.sync_mode, Incremental) and not row.standing.is_history_settled:
        initial = [run for run in holding if run.kind is RunKind.INITIAL]
        begun = history.begin_initial(connection, row, initial, occurrence)
        if begun:
            past.append(begun)
        for run in initial:
            if reopening.is_overtaken(run) or history.stands_still(connection, run):
                continue  # The live lane goes on; an operator decides on the part.
            if run.state is RunState.FAILED and not _is_spent(run, max_reopenings):
                past.append(reopening.reopen(connection, run, window_chunks, reopenings=run.reopenings + 1))
            elif row.standing.watermark is None and _is_spent(run, max_reopenings):
                return _fault(connection, row, run, occurrence)
        if row.standing.watermark is None:  # The live lane begins at T0, which planning the initial sync will fix.
            if begun is None:
                _wait_or_refuse(connection, row, occurrence, None if past else initial[0])
            return together(past)
    return together([*past, _live(connection, row, live, occurrence, window_chunks, is_asked=bool(past))])


def _live(
    connection: sa.Connection,
    row: PipelineRow,
    live: Run | None,
    occurrence: Occurrence,
    window_chunks: int,
    *,
    is_asked: bool,
) -> Asked:
    """Start, reopen or wait for the live lane's run."""
    if live is None:
        waits = waiting.find(connection, row.pipeline.id)
        if waits is None:
            run = run_rows.create(connection, row, occurrence.kind, Lane.LIVE, **occurrence.columns)
            return Asked((run.id,), (Message(TaskName.PLAN_RUN, run.id, run.lane),))
        waiting.put_in_line(connection, row, occurrence)
        return Asked((waits.id,), tuple(waiting.start(connection, row, waits)))
    if live.state is RunState.FAILED:
        if occurrence.scheduled_for is not None:
            waiting.put_in_line(connection, row, occurrence)
        return reopening.reopen(connection, live, window_chunks, reopenings=live.reopenings + 1)
    _wait_or_refuse(connection, row, occurrence, None if is_asked else live)
    return Asked((), ())


def _wait_or_refuse(connection: sa.Connection, row: PipelineRow, occurrence: Occurrence, holder: Run | None) -> None:
    """Put an occurrence in line; refuse a trigger, unless it has asked for something already."""
    if occurrence.scheduled_for is not None:
        waiting.put_in_line(connection, row, occurrence)
    elif holder is not None:
        _require_idle(holder)


def _require_runnable(connection: sa.Connection, row: PipelineRow) -> None:
    pipeline_id = row.pipeline.id
    row.require_begun()
    declared.require_environment(connection, row)
    if row.faulted_reason is not None:
        raise MoveNotAllowed(
            f"pipeline {pipeline_id!r} is faulted: {row.faulted_reason}; "
            "mend the cause, then `warehouse-sync retry` or `abandon` its run"
        )


def _require_idle(run: Run) -> None:
    if run.paused_at is not None:
        raise AlreadyInProgress(
            f"Pipeline {run.pipeline_id} is already in progress: run {run.number} is paused with it; "
            f"`warehouse-sync resume {run.pipeline_id}` lets it go on"
        )
    if run.state in WORKING:
        raise AlreadyInProgress(f"Pipeline {run.pipeline_id} is already in progress.")
    if run.is_held:
        raise MoveNotAllowed(
            f"pipeline {run.pipeline_id!r} waits for a decision about run {run.number}: {run.held_reason}; "
            f"`warehouse-sync approve {run.number}` lets it go on, `warehouse-sync abandon {run.number}` frees its "
            "window"
        )
    raise MoveNotAllowed(
        f"pipeline {run.pipeline_id!r} is held by {run.state} run {run.number}, which keeps its window; "
        f"`warehouse-sync retry {run.number}` continues it, `warehouse-sync abandon {run.number}` frees the window"
    )


def _is_spent(run: Run, max_reopenings: int) -> bool:
    """Say whether a run may not be reopened by itself: it failed too often, or for what reopening cannot change."""
    is_judged = run.error_kind == TooManyRejected.__name__
    return run.state is RunState.FAILED and (is_judged or run.reopenings >= max_reopenings)


def _fault(connection: sa.Connection, row: PipelineRow, run: Run, occurrence: Occurrence) -> Asked:
    reason = f"run {run.number} failed again after {run.reopenings} reopenings, last with: {run.error}"
    if run.error_kind == TooManyRejected.__name__:
        reason = str(run.error)
    connection.execute(sa.update(pipelines).where(pipelines.c.id == run.pipeline_id).values(faulted_reason=reason))
    if occurrence.scheduled_for is None:
        notices.add(connection, row.pipeline.id, NoticeName.REQUEST_REFUSED, f"the pipeline is faulted: {reason}")
    else:
        waiting.put_in_line(connection, row, occurrence)
    return Asked((), ())
