"""The initial sync and backfills: runs in parts, read one after the other on the backfill lane.

A backfill is cut when its first part is planned. Whatever part ends, the next one begins in the same transaction. What
an abandoned part of an initial sync left out is read by a run of its own, which the next occurrence begins.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import uuid4

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import distinct_on

from shared.catalog import Incremental
from shared.errors import AlreadyInProgress, DeclarationInvalid, MoveNotAllowed, NotFound
from shared.messages import Message, TaskName
from shared.run import CLOSED, OPEN, BackfillId, Lane, Run, RunKind, RunState
from shared.store import plans, reopening
from shared.store import runs as run_rows
from shared.store.asked import Asked, together
from shared.store.declared import PipelineRow, get_pipeline
from shared.store.history_tables import backfills
from shared.store.tables import runs
from shared.store.waiting import Occurrence


@dataclass(frozen=True, slots=True)
class Backfill:
    """What was asked for: the initial sync, or rows from ``low`` to ``high`` once more.

    ``expected_rows`` were counted before it began, or are ``None``.
    """

    id: BackfillId
    pipeline_id: str
    kind: RunKind
    low: datetime | None
    high: datetime | None
    parts: int
    newest_first: bool
    expected_rows: int | None
    paused_at: datetime | None
    cancelled_at: datetime | None
    created_at: datetime


def begin_initial(
    connection: sa.Connection, row: PipelineRow, holding: Sequence[Run], occurrence: Occurrence
) -> Asked | None:
    """Begin the initial sync, or what an abandoned part of it left; ``None`` where nothing is to be begun.

    ``holding`` are its open parts. The occurrence that begins it is its own: no live run stands for that one.
    """
    mode = row.pipeline.sync_mode
    parts = _initial_parts(connection, row)
    if holding or any(part.state is RunState.WAITING for part in parts) or not isinstance(mode, Incremental):
        return None
    if parts:
        return _begin_again(connection, row, parts)
    backfill_id = _record(
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
            f"backfill of {pipeline_id!r}: until ({until}) lies beyond the watermark ({watermark}); the live lane will "
            "read what is above it, so end the backfill there or before"
        )
    if low is not None and low >= until:
        raise DeclarationInvalid(f"backfill of {pipeline_id!r}: from ({low}) must lie before until ({until})")
    busy = connection.scalar(
        sa.select(runs.c.id).where(
            runs.c.pipeline_id == pipeline_id,
            runs.c.lane == Lane.BACKFILL,
            runs.c.state.in_(OPEN | {RunState.WAITING}),
        )
    )
    if busy is not None:
        raise AlreadyInProgress(
            f"Pipeline {pipeline_id} is already in progress: history is being loaded; wait for it, or cancel it first"
        )
    backfill_id = _record(
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
    return get(connection, backfill_id), Asked((run.id,), (Message(TaskName.PLAN_RUN, run.id, run.lane),))


def get(connection: sa.Connection, backfill_id: BackfillId) -> Backfill:
    """Give one backfill, or raise ``NotFound``."""
    row = connection.execute(sa.select(backfills).where(backfills.c.id == backfill_id)).mappings().one_or_none()
    if row is None:
        raise NotFound(f"there is no backfill {backfill_id}; `warehouse-sync backfills` lists them")
    return Backfill(
        id=BackfillId(row["id"]),
        pipeline_id=row["pipeline_id"],
        kind=RunKind(row["kind"]),
        low=row["low"],
        high=row["high"],
        parts=row["parts"],
        newest_first=row["newest_first"],
        expected_rows=row["expected_rows"],
        paused_at=row["paused_at"],
        cancelled_at=row["cancelled_at"],
        created_at=row["created_at"],
    )


def newest(connection: sa.Connection, pipeline_id: str | None = None, *, limit: int = 20) -> list[Backfill]:
    """Give the newest backfills, initial syncs included."""
    query = sa.select(backfills.c.id).order_by(backfills.c.created_at.desc()).limit(limit)
    if pipeline_id is not None:
        query = query.where(backfills.c.pipeline_id == pipeline_id)
    return [get(connection, BackfillId(id_)) for id_ in connection.scalars(query).all()]


def parts_of(connection: sa.Connection, backfill_id: BackfillId) -> list[Run]:
    """Give the newest run of each part, in the order in which the parts are read."""
    return _newest_of_each_part(connection, runs.c.backfill_id == backfill_id)


def is_not_paused_itself() -> sa.ColumnElement[bool]:
    """Say of a run that no backfill of its own was paused by itself."""
    return ~sa.exists().where(backfills.c.id == runs.c.backfill_id, backfills.c.paused_at.is_not(None))


def promote_part(connection: sa.Connection, backfill_id: BackfillId) -> list[Message]:
    """Begin the next part of a backfill, unless one is open or it is paused or cancelled; the pipeline is locked."""
    asked = get(connection, backfill_id)
    parts = parts_of(connection, backfill_id)
    if asked.paused_at or asked.cancelled_at or any(part.state in OPEN for part in parts):
        return []
    waits = next((part for part in parts if part.state is RunState.WAITING), None)
    if waits is None or not get_pipeline(connection, asked.pipeline_id, even_deleted=True).may_begin:
        return []
    if waits.snapshot is not None:
        return plans.begin_part(connection, waits)
    connection.execute(
        sa.update(runs).where(runs.c.id == waits.id).values(state=RunState.CREATED, sent_at=sa.func.now())
    )
    return [Message(TaskName.PLAN_RUN, waits.id, waits.lane)]


def pause(connection: sa.Connection, backfill_id: BackfillId) -> None:
    """Let nothing more of a backfill be claimed, and no further part begin; what is claimed finishes.

    Raises:
        NotFound: there is no such backfill.
        MoveNotAllowed: it is over.
    """
    _lock_unfinished(connection, backfill_id)
    connection.execute(sa.update(backfills).where(backfills.c.id == backfill_id).values(paused_at=sa.func.now()))
    run_rows.pause(connection, runs.c.backfill_id == backfill_id)


def resume(connection: sa.Connection, backfill_id: BackfillId, *, window_chunks: int) -> Asked:
    """Go on with a backfill that was paused or cancelled, where it stood.

    Raises:
        NotFound: there is no such backfill.
        MoveNotAllowed: it is over.
    """
    parts = _lock_unfinished(connection, backfill_id)
    connection.execute(
        sa.update(backfills).where(backfills.c.id == backfill_id).values(paused_at=None, cancelled_at=None)
    )
    messages = reopening.unpause(connection, runs.c.backfill_id == backfill_id, window_chunks=window_chunks)
    again = [
        reopening.reopen(connection, part, window_chunks, reopenings=0)
        for part in parts
        if part.state is RunState.CANCELLED
    ]
    return together([*again, Asked((), (*messages, *promote_part(connection, backfill_id)))])


def cancel(connection: sa.Connection, backfill_id: BackfillId) -> None:
    """Stop a backfill until it is resumed: its open part keeps its window, and the parts that wait are not begun.

    Raises:
        NotFound: there is no such backfill.
        MoveNotAllowed: it is over.
    """
    parts = _lock_unfinished(connection, backfill_id)
    connection.execute(sa.update(backfills).where(backfills.c.id == backfill_id).values(cancelled_at=sa.func.now()))
    for part in parts:
        if part.state is RunState.WAITING:
            run_rows.close(connection, part.id, RunState.CANCELLED)
        else:
            run_rows.stop(connection, part.id, RunState.CANCELLED, None)


def _lock_unfinished(connection: sa.Connection, backfill_id: BackfillId) -> list[Run]:
    """Lock a backfill's pipeline and give the parts, or raise where all are closed."""
    get_pipeline(connection, get(connection, backfill_id).pipeline_id, lock=True)
    parts = parts_of(connection, backfill_id)
    if all(part.state in CLOSED for part in parts):
        raise MoveNotAllowed(f"backfill {backfill_id} is over")
    return parts


def _initial_parts(connection: sa.Connection, row: PipelineRow) -> list[Run]:
    return _newest_of_each_part(
        connection,
        runs.c.pipeline_id == row.pipeline.id,
        runs.c.generation == row.standing.generation,
        runs.c.kind == RunKind.INITIAL,
    )


def _newest_of_each_part(connection: sa.Connection, *which: sa.ColumnElement[bool]) -> list[Run]:
    query = (
        sa.select(runs)
        .where(*which)
        .ext(distinct_on(runs.c.part))
        .order_by(runs.c.part, runs.c.state == RunState.ABANDONED)
    )
    return [run_rows.to_run(row) for row in connection.execute(query).mappings()]


def _begin_again(connection: sa.Connection, row: PipelineRow, parts: Sequence[Run]) -> Asked | None:
    """Read again what abandoned parts left: the same windows, planned anew, one after the other."""
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
        )
        for part in parts
        if part.state is RunState.ABANDONED
    ]
    if not begun:
        return None
    first, *others = begun
    connection.execute(
        sa.update(runs)
        .where(runs.c.id.in_([other.id for other in others]))
        .values(state=RunState.WAITING, sent_at=None)
    )
    return Asked((first.id,), (Message(TaskName.PLAN_RUN, first.id, first.lane),))


def _record(connection: sa.Connection, row: PipelineRow, **columns: object) -> BackfillId:
    backfill_id = BackfillId(uuid4())
    connection.execute(
        sa.insert(backfills).values(
            id=backfill_id, pipeline_id=row.pipeline.id, generation=row.standing.generation, **columns
        )
    )
    return backfill_id
