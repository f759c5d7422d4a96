"""The initial sync and backfills: runs in parts, read one after the other on the backfill lane.

A backfill is cut when its first part is planned. Whatever part ends, the next one begins in the same transaction. What
an abandoned part of an initial sync left out is read by a run of its own, which the next occurrence begins.
"""

from collections.abc import Sequence
from datetime import datetime

import sqlalchemy as sa

from shared.catalog import Incremental
from shared.errors import AlreadyInProgress, DeclarationInvalid, MoveNotAllowed
from shared.messages import Message, TaskName
from shared.moments import told_exactly
from shared.run import CLOSED, OPEN, BackfillId, Lane, Run, RunKind, RunState
from shared.store import backfills, plans, reopening
from shared.store import runs as run_rows
from shared.store.asked import Asked, together
from shared.store.backfills import Backfill
from shared.store.declared import PipelineRow, get_pipeline
from shared.store.history_tables import backfills as backfills_table
from shared.store.tables import runs
from shared.store.waiting import Occurrence


def begin_initial(
    connection: sa.Connection, row: PipelineRow, holding: Sequence[Run], occurrence: Occurrence
) -> Asked | None:
    """Begin the initial sync, or what an abandoned part of it left; ``None`` where nothing is to be begun.

    ``holding`` are its open parts. The occurrence that begins it is its own: no live run stands for that one.
    """
    mode = row.pipeline.sync_mode
    parts = backfills.initial_parts(connection, row)
    if holding or any(part.state is RunState.WAITING for part in parts) or not isinstance(mode, Incremental):
        return None
    if parts:
        return _begin_again(connection, row, parts)
    backfill_id = backfills.record(
        connection,
        row,
        kind=RunKind.INITIAL,
        parts=mode.history_parts,
        newest_first=mode.history_newest_first,
        low=mode.track_from,
    )
    run = run_rows.create(
        connection, row, RunKind.INITIAL, Lane.BACKFILL, backfill_id=backfill_id, **occurrence.columns
    )
    return Asked((run.id,), (Message(TaskName.PLAN_RUN, run.id, run.lane),))


def bounds(
    connection: sa.Connection, pipeline_id: str, *, low: datetime | None, high: datetime | None
) -> tuple[datetime | None, datetime]:
    """Give the bounds of a backfill, up to the watermark where none was asked for; the pipeline is locked.

    Raises:
        NotFound: there is no such pipeline.
        MoveNotAllowed: it is a draft or deleted, reads in full, or its initial sync has not fixed T0 yet.
        DeclarationInvalid: the window is empty, or reaches beyond the watermark.
    """
    row = get_pipeline(connection, pipeline_id, lock=True)
    row.require_begun()
    if not isinstance(row.pipeline.sync_mode, Incremental):
        raise MoveNotAllowed(f"pipeline {pipeline_id!r} reads all rows in every run; trigger it instead of a backfill")
    watermark = row.standing.watermark
    if watermark is None:
        raise MoveNotAllowed(f"pipeline {pipeline_id!r} has read nothing yet; its initial sync comes first")
    until = high or watermark
    if until > watermark:
        raise DeclarationInvalid(
            f"backfill of {pipeline_id!r}: until ({told_exactly(until)}) lies beyond the watermark "
            f"({told_exactly(watermark)}); the live lane will read what is above it, so end the backfill there or "
            "before"
        )
    if low is not None and low >= until:
        raise DeclarationInvalid(
            f"backfill of {pipeline_id!r}: from ({told_exactly(low)}) must lie before until ({told_exactly(until)})"
        )
    return low, until


def begin(
    connection: sa.Connection,
    pipeline_id: str,
    *,
    low: datetime | None,
    high: datetime | None,
    parts: int,
    newest_first: bool,
    expected_rows: int | None,
) -> tuple[Backfill, Asked]:
    """Begin to read a window once more, in the background.

    Raises:
        NotFound: there is no such pipeline.
        MoveNotAllowed: it is a draft or deleted, reads in full, or its initial sync has not fixed T0 yet.
        DeclarationInvalid: the window is empty, or reaches beyond the watermark.
        AlreadyInProgress: another backfill of the pipeline is under way.
    """
    low, until = bounds(connection, pipeline_id, low=low, high=high)
    row = get_pipeline(connection, pipeline_id)
    busy = connection.scalar(
        sa.select(runs.c.id).where(
            runs.c.pipeline_id == pipeline_id,
            runs.c.lane == Lane.BACKFILL,
            runs.c.kind != RunKind.REPLAY,  # It has no window, and so none in common.
            runs.c.state.in_(OPEN | {RunState.WAITING}),
        )
    )
    if busy is not None:
        raise AlreadyInProgress(
            f"Pipeline {pipeline_id} is already in progress: history is being loaded; wait for it, or cancel it first"
        )
    backfill_id = backfills.record(
        connection,
        row,
        kind=RunKind.BACKFILL,
        parts=parts,
        newest_first=newest_first,
        low=low,
        high=until,
        expected_rows=expected_rows,
    )
    run = run_rows.create(
        connection, row, RunKind.BACKFILL, Lane.BACKFILL, backfill_id=backfill_id, low=low, high=until,
        includes_null=low is None,
    )  # fmt: skip
    return backfills.get(connection, backfill_id), Asked((run.id,), (Message(TaskName.PLAN_RUN, run.id, run.lane),))


def stands_still(connection: sa.Connection, run: Run) -> bool:
    """Whether a part belongs to a backfill that an operator has paused or cancelled."""
    return run.backfill_id is not None and backfills.get(connection, run.backfill_id).stands_still


def is_not_paused_itself() -> sa.ColumnElement[bool]:
    """Say of a run that no backfill of its own was paused by itself."""
    return ~sa.exists().where(backfills_table.c.id == runs.c.backfill_id, backfills_table.c.paused_at.is_not(None))


def promote_part(connection: sa.Connection, backfill_id: BackfillId) -> list[Message]:
    """Begin the next part of a backfill, unless one is open or it is paused or cancelled; the pipeline is locked."""
    asked = backfills.get(connection, backfill_id)
    if asked.stands_still or not get_pipeline(connection, asked.pipeline_id, even_deleted=True).may_begin:
        return []
    waits = backfills.next_part(connection, backfill_id)
    if waits is None:
        return []
    if waits.snapshot is not None:
        return plans.begin_part(connection, waits)
    begun = connection.execute(
        sa.update(runs)
        .where(runs.c.id == waits.id, runs.c.state == RunState.WAITING)
        .values(state=RunState.CREATED, sent_at=sa.func.now())
    )
    return [Message(TaskName.PLAN_RUN, waits.id, waits.lane)] if begun.rowcount else []


def pause(connection: sa.Connection, backfill_id: BackfillId) -> None:
    """Let nothing more of a backfill be claimed, and no further part begin; what is claimed finishes.

    Raises:
        NotFound: there is no such backfill.
        MoveNotAllowed: it is over.
    """
    _lock_unfinished(connection, backfill_id)
    connection.execute(
        sa.update(backfills_table).where(backfills_table.c.id == backfill_id).values(paused_at=sa.func.now())
    )
    run_rows.pause(connection, runs.c.backfill_id == backfill_id)


def resume(connection: sa.Connection, backfill_id: BackfillId, *, window_chunks: int) -> Asked:
    """Go on with a backfill that was paused or cancelled, where it stood; a part that is held stays so.

    Raises:
        NotFound: there is no such backfill.
        MoveNotAllowed: it is over.
    """
    row, parts = _lock_unfinished(connection, backfill_id)
    connection.execute(
        sa.update(backfills_table).where(backfills_table.c.id == backfill_id).values(paused_at=None, cancelled_at=None)
    )
    messages: list[Message] = []
    if row.may_begin:
        messages = reopening.unpause(connection, runs.c.backfill_id == backfill_id, window_chunks=window_chunks)
    again = [
        reopening.reopen(connection, part, window_chunks, reopenings=0)
        for part in parts
        if part.state is RunState.CANCELLED and not part.is_held
    ]
    return together([*again, Asked((), (*messages, *promote_part(connection, backfill_id)))])


def cancel(connection: sa.Connection, backfill_id: BackfillId) -> None:
    """Stop a backfill until it is resumed: its open part keeps its window, and the parts that wait are not begun.

    Raises:
        NotFound: there is no such backfill.
        MoveNotAllowed: it is over.
    """
    _, parts = _lock_unfinished(connection, backfill_id)
    connection.execute(
        sa.update(backfills_table).where(backfills_table.c.id == backfill_id).values(cancelled_at=sa.func.now())
    )
    for part in parts:
        if part.state in {RunState.WAITING, RunState.FAILED}:
            run_rows.close(connection, part.id, RunState.CANCELLED)
        else:
            run_rows.stop(connection, part.id, RunState.CANCELLED, None)


def let_go_on(connection: sa.Connection, backfill_id: BackfillId) -> list[Message]:
    """Take back that a backfill was cancelled, and begin its next part if none is open; the pipeline is locked."""
    connection.execute(sa.update(backfills_table).where(backfills_table.c.id == backfill_id).values(cancelled_at=None))
    return promote_part(connection, backfill_id)


def _lock_unfinished(connection: sa.Connection, backfill_id: BackfillId) -> tuple[PipelineRow, list[Run]]:
    """Lock a backfill's pipeline and give it and the parts, or raise where all are closed."""
    row = get_pipeline(connection, backfills.get(connection, backfill_id).pipeline_id, lock=True)
    parts = backfills.parts_of(connection, backfill_id)
    if all(part.state in CLOSED for part in parts):
        raise MoveNotAllowed(f"backfill {backfill_id} is over")
    return row, parts


def _begin_again(connection: sa.Connection, row: PipelineRow, parts: Sequence[Run]) -> Asked | None:
    """Read again what abandoned parts left: the same windows, planned anew, one after the other."""
    left = [part for part in parts if part.state is RunState.ABANDONED]
    begun = [
        run_rows.create(
            connection,
            row,
            RunKind.INITIAL,
            Lane.BACKFILL,
            backfill_id=part.backfill_id,
            part=part.part,
            low=part.window.low,
            high=part.window.high,
            includes_null=part.window.includes_null,
            **({} if part is left[0] else {"state": RunState.WAITING, "sent_at": None}),
        )
        for part in left
    ]
    if not begun:
        return None
    first = begun[0]
    return Asked((first.id,), (Message(TaskName.PLAN_RUN, first.id, first.lane),))
