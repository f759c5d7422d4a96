"""The moves of a run that is open: fail, cancel, retry, approve, abandon it.

Each gives the messages to send once the transaction has committed.
"""

from collections.abc import Sequence

import sqlalchemy as sa

from shared.errors import MoveNotAllowed, SyncError, TooManyRejected
from shared.run import STOPPED, ChunkState, HeldFor, RunId, RunState
from shared.store import history, holds, reopening, settling
from shared.store import runs as run_rows
from shared.store.asked import Asked, together
from shared.store.declared import get_pipeline
from shared.store.declared_tables import pipelines
from shared.store.tables import chunks, runs


def retry(connection: sa.Connection, run_id: RunId, *, window_chunks: int, accepts_rejects: bool = False) -> Asked:
    """Continue a failed or cancelled run with the same window, chunks and ids, and clear its pipeline's fault.

    Chunks that were in doubt for too long are sent again: whoever retries accepts that their rows may repeat. Who
    ``accepts_rejects`` takes the run's rejected rows as they are, and all that are still to come. To retry a run that
    is held is to approve it.

    Raises:
        NotFound: there is no such run.
        MoveNotAllowed: the run is neither failed nor cancelled; or too many of its rows were rejected, which retrying
            alone does not change.
    """
    run = settling.lock(connection, run_id).run
    if run.state not in STOPPED:
        raise MoveNotAllowed(f"run {run.number} is {run.state}; only a failed or cancelled run can be retried")
    if accepts_rejects:
        connection.execute(sa.update(runs).where(runs.c.id == run_id).values(accepts_rejects=True))
    elif run.error_kind == TooManyRejected.__name__:
        raise MoveNotAllowed(f"{run.error}. Retrying it alone changes nothing: what is rejected stays so")
    if run.held_for is HeldFor.VOLUME_UNUSUAL:
        connection.execute(sa.update(runs).where(runs.c.id == run_id).values(accepts_volume=True))
    _clear_fault(connection, run.pipeline_id)
    asked = reopening.reopen(connection, run, window_chunks, reopenings=0, accepts_doubt=True)
    if run.backfill_id is not None and not asked.runs:  # A part that had not begun is back in line.
        return Asked((run.id,), tuple(history.let_go_on(connection, run.backfill_id)))
    return together([asked, Asked((), tuple(settling.promote(connection, run)))])


def approve(connection: sa.Connection, run_id: RunId, *, window_chunks: int) -> Asked:
    """Let a run that is held go on as ``retry`` does; it is not asked about its number of rows again.

    Raises:
        NotFound: there is no such run.
        MoveNotAllowed: it is not held; or what it had failed for before keeps it from going on.
    """
    run = settling.lock(connection, run_id).run
    if not run.is_held:
        raise MoveNotAllowed(
            f"run {run.number} is {run.state}, and nobody is asked about it; only a held run is approved"
        )
    return retry(connection, run_id, window_chunks=window_chunks)


def abandon(connection: sa.Connection, run_id: RunId) -> Asked:
    """Give up a failed or cancelled run and free its window; what waited for it starts.

    Its accepted rows are in mParticle and will be read and sent again, under new ids, by the run that covers the
    window next. Rows not sent end as ``unsent``.

    Raises:
        NotFound: there is no such run.
        MoveNotAllowed: the run is neither failed nor cancelled, or still has uploads under way.
    """
    run = settling.lock(connection, run_id).run
    if run.state not in STOPPED:
        raise MoveNotAllowed(f"run {run.number} is {run.state}; only a failed or cancelled run can be abandoned")
    under_way = connection.scalar(
        sa.select(sa.func.count())
        .select_from(chunks)
        .where(chunks.c.run_id == run_id, chunks.c.state == ChunkState.UPLOADING)
    )
    if under_way:
        raise MoveNotAllowed(f"run {run.number} still has {under_way} chunks under way; try again in a minute")
    run_rows.close(connection, run_id, RunState.ABANDONED)
    _clear_fault(connection, run.pipeline_id)
    return Asked((), tuple(settling.promote(connection, run)))


def reopen_corrected(
    connection: sa.Connection, pipeline_ids: Sequence[str], error_kinds: Sequence[str], *, window_chunks: int
) -> Asked:
    """Reopen the runs that failed for what an operator has just corrected, e.g. a feed's secret."""
    asked: list[Asked] = []
    for pipeline_id in sorted(pipeline_ids):
        row = get_pipeline(connection, pipeline_id, lock=True)
        for run in run_rows.open_of(connection, pipeline_id):
            if run.state is RunState.FAILED and run.error_kind in error_kinds:
                _clear_fault(connection, pipeline_id)
                stays_paused = not row.may_begin or history.stands_still(connection, run)
                asked.append(reopening.reopen(connection, run, window_chunks, reopenings=0, stays_paused=stays_paused))
                asked.append(Asked((), tuple(settling.promote(connection, run))))
    return together(asked)


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

    A live run that waits is abandoned: nothing of it was read, and the next run covers what it stood for. One that is
    held stays as it is, and is a question no longer.

    Raises:
        NotFound: there is no such run.
        MoveNotAllowed: the run is not being worked on.
    """
    run = settling.lock(connection, run_id).run
    if run.state is RunState.WAITING:
        run_rows.close(connection, run_id, RunState.CANCELLED if run.backfill_id else RunState.ABANDONED)
        return
    if run.is_held:
        holds.drop(connection, run_id)
        return
    if not run_rows.stop(connection, run_id, RunState.CANCELLED, None):
        raise MoveNotAllowed(f"run {run.number} is {run.state}; only a run that is being worked on can be cancelled")


def _clear_fault(connection: sa.Connection, pipeline_id: str) -> None:
    connection.execute(sa.update(pipelines).where(pipelines.c.id == pipeline_id).values(faulted_reason=None))
