"""A failed or cancelled run goes on where it stood: same window, same chunks, same ids."""

import sqlalchemy as sa

from shared.errors import HistoryOvertaken, MoveNotAllowed
from shared.messages import Message, TaskName
from shared.run import WORKING, ChunkState, Run, RunState, SliceState
from shared.store import dispatching
from shared.store import runs as run_rows
from shared.store.asked import Asked
from shared.store.tables import chunks, runs, slices


def reopen(
    connection: sa.Connection,
    run: Run,
    window_chunks: int,
    *,
    reopenings: int,
    accepts_doubt: bool = False,
    stays_paused: bool = False,
) -> Asked:
    """Put a failed or cancelled run back to where it stood; the caller has locked its pipeline and it.

    Raises:
        MoveNotAllowed: it was overtaken, so that its rows may not be sent any more.
    """
    if is_overtaken(run):
        raise MoveNotAllowed(
            f"run {run.number} cannot go on ({run.error_kind}): more users changed since it read them than are "
            f"remembered; `warehouse-sync abandon {run.number}`, and its window is read anew"
        )
    if run.started_at is None and run.backfill_id is not None and run.snapshot is not None:
        return _wait_again(connection, run)
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
            paused_at=sa.func.now() if stays_paused else None,
            not_before=None,
            silences=0,
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
            ready_at=sa.func.now(),
            sent_at=None,
            resends=0,
            in_doubt_since=None if accepts_doubt else chunks.c.in_doubt_since,
        )
    )
    return Asked((run.id,), tuple(_messages(connection, run, window_chunks)))


def is_overtaken(run: Run) -> bool:
    """Whether a run holds rows that are too old to be sent: only ``abandon`` leads on."""
    return run.error_kind == HistoryOvertaken.__name__


def unpause(connection: sa.Connection, which: sa.ColumnElement[bool], *, window_chunks: int) -> list[Message]:
    """Let some paused runs be claimed again, and give the messages that were used up while they were not."""
    found = connection.execute(
        sa.select(runs).where(which, runs.c.paused_at.is_not(None)).order_by(runs.c.id).with_for_update(key_share=True)
    )
    messages: list[Message] = []
    for run in run_rows.in_order(run_rows.to_run(row) for row in found.mappings().all()):
        connection.execute(sa.update(runs).where(runs.c.id == run.id).values(paused_at=None, sent_at=sa.func.now()))
        connection.execute(
            sa.update(chunks)
            .where(chunks.c.run_id == run.id, chunks.c.state == ChunkState.READY)
            .values(sent_at=None, resends=0, ready_at=sa.func.greatest(sa.func.now(), chunks.c.not_before))
        )
        if run.state in WORKING:
            messages += _messages(connection, run, window_chunks)
    return messages


def _messages(connection: sa.Connection, run: Run, window_chunks: int) -> list[Message]:
    """Mark what a run that works again has to do as sent, and give its messages."""
    if run.snapshot is None:
        return [Message(TaskName.PLAN_RUN, run.id, run.lane)]
    if run.is_complete:
        return [Message(TaskName.SETTLE_RUN, run.id)]
    pending = connection.scalars(
        sa.update(slices)
        .where(slices.c.run_id == run.id, slices.c.state == SliceState.PENDING)
        .values(deaths=0, not_before=None, sent_at=sa.func.now(), resends=0)
        .returning(slices.c.id)
    ).all()
    messages = [Message(TaskName.EXTRACT_SLICE, id_, run.lane) for id_ in pending]
    return messages + dispatching.dispatch(connection, run.id, run.lane, limit=window_chunks)


def _wait_again(connection: sa.Connection, run: Run) -> Asked:
    """Put a part that never began back in line."""
    connection.execute(
        sa.update(runs).where(runs.c.id == run.id).values(state=RunState.WAITING, ended_at=None, paused_at=None)
    )
    return Asked((), ())
