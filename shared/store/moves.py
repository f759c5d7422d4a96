"""The moves that operators and schedules ask for: request a run, reopen one, abandon one.

Each gives the messages to send once the transaction has committed.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import sqlalchemy as sa

from shared.catalog import Incremental
from shared.errors import AlreadyInProgress, DeclarationInvalid, MoveNotAllowed, SyncError
from shared.messages import Message, TaskName
from shared.run import STOPPED, WORKING, ChunkState, Lane, Run, RunId, RunKind, RunState, SliceState
from shared.store import chunks as chunk_rows
from shared.store import runs as run_rows
from shared.store import settling
from shared.store.declared import PipelineRow, get_pipeline
from shared.store.tables import chunks, pipelines, runs, slices


@dataclass(frozen=True, slots=True)
class Asked:
    """What a request came to: the runs it created or reopened, and the messages to send for them."""

    runs: tuple[RunId, ...]
    messages: tuple[Message, ...]


def request_run(connection: sa.Connection, pipeline_id: str, *, window_chunks: int, max_reopenings: int) -> Asked:
    """Ask for a run of a pipeline now.

    A failed run is reopened before anything newer is read. The first run of an incremental pipeline is its initial
    sync, on the backfill lane; from then on the live lane runs beside it. A failed run that was reopened too often
    faults its pipeline; then nothing is asked for, and the fault says why.

    Raises:
        NotFound: there is no such pipeline.
        AlreadyInProgress: a run is being worked on, and this one would have to read the same rows.
        MoveNotAllowed: the pipeline is faulted, or held by a cancelled run.
        DeclarationInvalid: the pipeline has no environment.
    """
    row = get_pipeline(connection, pipeline_id, lock=True)
    _require_runnable(row)
    holding = run_rows.open_of(connection, pipeline_id)
    live = [run for run in holding if run.lane is Lane.LIVE]
    history = [run for run in holding if run.kind is RunKind.INITIAL]
    spent = [run for run in history + live if _is_spent(run, max_reopenings)]
    if spent:
        _fault(connection, spent[0])
        return Asked((), ())
    asked: list[Asked] = []
    if isinstance(row.pipeline.sync_mode, Incremental) and row.standing.history_settled_to is None:
        if not history:
            run = run_rows.create(connection, row, RunKind.INITIAL, Lane.BACKFILL)
            asked.append(Asked((run.id,), (Message(TaskName.PLAN_RUN, run.id, run.lane),)))
        elif history[0].state is RunState.FAILED:
            asked.append(_reopen(connection, history[0], window_chunks, reopenings=history[0].reopenings + 1))
        elif row.standing.watermark is None:
            _require_idle(history[0])
        if row.standing.watermark is None:  # The live lane begins at T0, which planning the initial sync will fix.
            return _together(asked)
    if not live:
        run = run_rows.create(connection, row, RunKind.MANUAL, Lane.LIVE)
        asked.append(Asked((run.id,), (Message(TaskName.PLAN_RUN, run.id, run.lane),)))
    elif live[0].state is RunState.FAILED:
        asked.append(_reopen(connection, live[0], window_chunks, reopenings=live[0].reopenings + 1))
    elif not asked:
        _require_idle(live[0])
    return _together(asked)


def retry(connection: sa.Connection, run_id: RunId, *, window_chunks: int) -> Asked:
    """Continue a failed or cancelled run with the same window, chunks and ids, and clear its pipeline's fault.

    Chunks that were in doubt for too long are sent again: whoever retries accepts that their rows may repeat.

    Raises:
        NotFound: there is no such run.
        MoveNotAllowed: the run is neither failed nor cancelled.
    """
    run = settling.lock(connection, run_id).run
    if run.state not in STOPPED:
        raise MoveNotAllowed(f"run {run_id} is {run.state}; only a failed or cancelled run can be retried")
    _clear_fault(connection, run.pipeline_id)
    return _reopen(connection, run, window_chunks, reopenings=0, accepts_doubt=True)


def abandon(connection: sa.Connection, run_id: RunId) -> Run:
    """Give up a failed or cancelled run and free its window; give the run as it ended.

    Its accepted rows are in mParticle and will be read and sent again, under new ids, by the run that covers the
    window next. Rows not sent end as ``unsent``.

    Raises:
        NotFound: there is no such run.
        MoveNotAllowed: the run is neither failed nor cancelled, or still has uploads under way.
    """
    run = settling.lock(connection, run_id).run
    if run.state not in STOPPED:
        raise MoveNotAllowed(f"run {run_id} is {run.state}; only a failed or cancelled run can be abandoned")
    under_way = connection.scalar(
        sa.select(sa.func.count())
        .select_from(chunks)
        .where(chunks.c.run_id == run_id, chunks.c.state == ChunkState.UPLOADING)
    )
    if under_way:
        raise MoveNotAllowed(f"run {run_id} still has {under_way} chunks under way; try again in a minute")
    run_rows.close(connection, run_id, RunState.ABANDONED)
    _clear_fault(connection, run.pipeline_id)
    return run_rows.get(connection, run_id)


def reopen_corrected(
    connection: sa.Connection, pipeline_ids: Sequence[str], error_kinds: Sequence[str], *, window_chunks: int
) -> Asked:
    """Reopen the runs that failed for what an operator has just corrected, e.g. a feed's secret."""
    asked: list[Asked] = []
    for pipeline_id in sorted(pipeline_ids):
        get_pipeline(connection, pipeline_id, lock=True)
        for run in run_rows.open_of(connection, pipeline_id):
            if run.state is RunState.FAILED and run.error_kind in error_kinds:
                _clear_fault(connection, pipeline_id)
                asked.append(_reopen(connection, run, window_chunks, reopenings=0))
    return _together(asked)


def fail(connection: sa.Connection, run_id: RunId, error: SyncError) -> bool:
    """Fail a run that is being worked on; it keeps its window. Says whether it was still being worked on."""
    return run_rows.stop(connection, run_id, RunState.FAILED, error)


def fault(connection: sa.Connection, run_id: RunId, error: SyncError) -> bool:
    """Fail a run as ``fail`` does, so that only an operator's retry or abandon goes on: its pipeline is faulted."""
    pipeline_id = settling.lock(connection, run_id).run.pipeline_id
    is_failed = fail(connection, run_id, error)
    if is_failed:
        connection.execute(sa.update(pipelines).where(pipelines.c.id == pipeline_id).values(faulted_reason=str(error)))
    return is_failed


def cancel(connection: sa.Connection, run_id: RunId) -> None:
    """Stop a run for good until ``retry`` or ``abandon``; chunks under way finish, the rest stays unsent.

    Raises:
        NotFound: there is no such run.
        MoveNotAllowed: the run is not being worked on.
    """
    run = run_rows.get(connection, run_id, lock=True)
    if not run_rows.stop(connection, run_id, RunState.CANCELLED, None):
        raise MoveNotAllowed(f"run {run_id} is {run.state}; only a run that is being worked on can be cancelled")


def _require_runnable(row: PipelineRow) -> None:
    if row.pipeline.environment is None:
        raise DeclarationInvalid(
            f"pipeline {row.pipeline.id!r} declares no environment; set it to development or production, "
            "because mParticle takes batches without one for production"
        )
    if row.faulted_reason is not None:
        raise MoveNotAllowed(
            f"pipeline {row.pipeline.id!r} is faulted: {row.faulted_reason}; "
            "mend the cause, then `warehouse-sync retry` or `abandon` its run"
        )


def _require_idle(run: Run) -> None:
    if run.state in WORKING:
        raise AlreadyInProgress(f"Pipeline {run.pipeline_id} is already in progress.")
    raise MoveNotAllowed(
        f"pipeline {run.pipeline_id!r} is held by {run.state} run {run.id}, which keeps its window; "
        f"`warehouse-sync retry {run.id}` continues it, `warehouse-sync abandon {run.id}` frees the window"
    )


def _is_spent(run: Run, max_reopenings: int) -> bool:
    return run.state is RunState.FAILED and run.reopenings >= max_reopenings


def _fault(connection: sa.Connection, run: Run) -> None:
    reason = f"run {run.id} failed again after {run.reopenings} reopenings, last with: {run.error}"
    connection.execute(sa.update(pipelines).where(pipelines.c.id == run.pipeline_id).values(faulted_reason=reason))


def _clear_fault(connection: sa.Connection, pipeline_id: str) -> None:
    connection.execute(sa.update(pipelines).where(pipelines.c.id == pipeline_id).values(faulted_reason=None))


def _reopen(
    connection: sa.Connection, run: Run, window_chunks: int, *, reopenings: int, accepts_doubt: bool = False
) -> Asked:
    if run.snapshot is None:
        state = RunState.CREATED
    elif run.slices_published < run.slices_total:
        state = RunState.EXTRACTING
    else:
        state = RunState.UPLOADING
    connection.execute(
        sa.update(runs)
        .where(runs.c.id == run.id)
        .values(
            state=state,
            unsent=0,
            error=None,
            error_kind=None,
            ended_at=None,
            not_before=None,
            deaths=0,
            reopenings=reopenings,
            sent_at=sa.func.now(),
            resends=0,
        )
    )
    connection.execute(
        sa.update(chunks)
        .where(chunks.c.run_id == run.id, chunks.c.state.in_((ChunkState.READY, ChunkState.FAILED)))
        .values(
            state=ChunkState.READY,
            deaths=0,
            not_before=None,
            sent_at=None,
            resends=0,
            in_doubt_since=None if accepts_doubt else chunks.c.in_doubt_since,
        )
    )
    pending = connection.scalars(
        sa.update(slices)
        .where(slices.c.run_id == run.id, slices.c.state == SliceState.PENDING)
        .values(deaths=0, not_before=None, sent_at=sa.func.now(), resends=0)
        .returning(slices.c.id)
    ).all()
    if state is RunState.CREATED:
        messages = [Message(TaskName.PLAN_RUN, run.id, run.lane)]
    elif run.is_complete:
        messages = [Message(TaskName.SETTLE_RUN, run.id)]
    else:
        messages = [Message(TaskName.EXTRACT_SLICE, id_, run.lane) for id_ in pending]
        messages += chunk_rows.dispatch(connection, run.id, run.lane, limit=window_chunks)
    return Asked((run.id,), tuple(messages))


def _together(asked: Sequence[Asked]) -> Asked:
    return Asked(
        tuple(run for one in asked for run in one.runs), tuple(message for one in asked for message in one.messages)
    )
