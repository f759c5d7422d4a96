"""What upkeep looks for: dead claimants, messages that never arrived, runs that nobody settled, files to expire."""

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any, Final
from uuid import UUID

import sqlalchemy as sa

from shared.messages import Death, Message, Queue, TaskName
from shared.run import CLOSED, STOPPED, WORKING, ChunkState, Lane, PipelineState, RunId, RunState, SliceState
from shared.store import claims, dispatching, totals
from shared.store.declared_tables import pipelines
from shared.store.tables import chunks, runs, slices

_CLAIMED: Final[Sequence[tuple[TaskName, sa.Table, str, str]]] = (
    (TaskName.PLAN_RUN, runs, RunState.CREATED, RunState.CREATED),
    (TaskName.EXTRACT_SLICE, slices, SliceState.EXTRACTING, SliceState.PENDING),
    (TaskName.UPLOAD_CHUNK, chunks, ChunkState.UPLOADING, ChunkState.READY),
)


def free_dead(connection: sa.Connection) -> list[Death]:
    """Take every lapsed claim away and count the death; the work waits again.

    The first statement of its transaction, because it counts for several pipelines.
    """
    totals.alone(connection)
    return [
        Death(task, id_, RunId(run_id), deaths, token)
        for task, table, claimed, idle in _CLAIMED
        for id_, run_id, deaths, token in claims.free_dead(connection, table, claimed=claimed, idle=idle)
    ]


def never_sent(connection: sa.Connection, *, window_chunks: int) -> list[Message]:
    """Mark as sent what is due and has no message under way, and give the messages."""
    messages: list[Message] = []
    for task, table, of_run in _waiting()[:2]:
        unsent = (
            sa.select(table.c.id, runs.c.lane)
            .select_from(of_run)
            .where(_is_idle(table), table.c.sent_at.is_(None), claims.is_due(table))
            .with_for_update(of=table, key_share=True, skip_locked=True)
            .cte("unsent")
        )
        messages += [
            Message(task, id_, Lane(lane))
            for id_, lane in connection.execute(
                sa.update(table)
                .where(table.c.id == unsent.c.id)
                .values(sent_at=sa.func.now(), resends=0)
                .returning(table.c.id, unsent.c.lane)
            )
        ]
    waits = sa.exists().where(chunks.c.run_id == runs.c.id, dispatching.is_waiting())
    for run_id, lane in connection.execute(
        sa.select(runs.c.id, runs.c.lane)
        .where(
            runs.c.state.in_((RunState.EXTRACTING, RunState.UPLOADING)),
            runs.c.paused_at.is_(None),
            claims.is_due(runs),
            waits,
        )
        .with_for_update(of=runs, key_share=True, skip_locked=True)
    ).all():
        messages += dispatching.dispatch(connection, RunId(run_id), Lane(lane), limit=window_chunks)
    return messages


def sent_and_unclaimed(connection: sa.Connection) -> Mapping[Queue, int]:
    """Count, by queue, the messages that should be waiting or in a worker's hands right now."""
    counts: dict[Queue, int] = {}
    for task, table, of_run in _waiting():
        for lane, count in connection.execute(
            sa.select(runs.c.lane, sa.func.count())
            .select_from(of_run)
            .where(_is_idle(table), table.c.sent_at.is_not(None))
            .group_by(runs.c.lane)
        ):
            queue = Message(task, UUID(int=0), Lane(lane)).queue
            counts[queue] = counts.get(queue, 0) + count
    return counts


def send_again(connection: sa.Connection, queue: Queue, *, at_most: int, after_s: float, max_s: float) -> list[Message]:
    """Mark messages that nobody claimed in time as sent once more, at doubling intervals, and give them."""
    messages: list[Message] = []
    for task, table, of_run in _waiting():
        lanes = [lane for lane in Lane if Message(task, UUID(int=0), lane).queue is queue]
        overdue = (
            sa.select(table.c.id, runs.c.lane)
            .select_from(of_run)
            .where(
                _is_idle(table),
                runs.c.lane.in_(lanes),
                table.c.sent_at + claims.doubled(after_s, table.c.resends, most_s=max_s) < sa.func.now(),
            )
            .order_by(table.c.sent_at)
            .limit(max(0, at_most - len(messages)))
            .with_for_update(of=table, key_share=True, skip_locked=True)
            .cte("overdue")
        )
        messages += [
            Message(task, id_, Lane(lane))
            for id_, lane in connection.execute(
                sa.update(table)
                .where(table.c.id == overdue.c.id)
                .values(sent_at=sa.func.now(), resends=table.c.resends + 1)
                .returning(table.c.id, overdue.c.lane)
            )
        ]
    return messages


def complete_unsettled(connection: sa.Connection) -> list[Message]:
    """Give the messages that settle the runs which only wait for that."""
    return [
        Message(TaskName.SETTLE_RUN, id_)
        for id_ in connection.scalars(
            sa.select(runs.c.id).where(
                runs.c.state == RunState.UPLOADING,
                runs.c.slices_published == runs.c.slices_total,
                runs.c.chunks_done == runs.c.chunks_total,
            )
        )
    ]


def in_doubt(connection: sa.Connection, *, longer_than_s: float) -> list[RunId]:
    """Give the working runs with a chunk whose first attempt is so long ago that mParticle may forget its ids."""
    return [
        RunId(id_)
        for id_ in connection.scalars(
            sa.select(chunks.c.run_id)
            .distinct()
            .join(runs, runs.c.id == chunks.c.run_id)
            .where(
                runs.c.state.in_(WORKING),
                chunks.c.state != ChunkState.DONE,
                chunks.c.in_doubt_since < sa.func.now() - timedelta(seconds=longer_than_s),
            )
            .order_by(chunks.c.run_id)
        )
    ]


def close_deleted(connection: sa.Connection) -> list[RunId]:
    """Abandon the stopped runs of deleted pipelines whose last upload has ended, so that their files may expire.

    The first statement of its transaction, because it counts for several pipelines.
    """
    totals.alone(connection)
    uploads = sa.exists().where(chunks.c.run_id == runs.c.id, chunks.c.state == ChunkState.UPLOADING)
    left = (
        sa.select(runs.c.id)
        .join(pipelines, pipelines.c.id == runs.c.pipeline_id)
        .where(pipelines.c.state == PipelineState.DELETED, runs.c.state.in_(STOPPED), ~uploads)
        .with_for_update(of=runs, key_share=True, skip_locked=True)
        .cte("left")
    )
    closed = connection.scalars(
        sa.update(runs)
        .where(runs.c.id == left.c.id)
        .values(state=RunState.ABANDONED, ended_at=sa.func.now())
        .returning(runs.c.id)
    )
    return [RunId(id_) for id_ in closed]


def expired_spools(connection: sa.Connection, *, retention_s: float) -> list[RunId]:
    """Give the closed runs whose chunks may be removed; a run that is open keeps its chunks however old."""
    return [
        RunId(id_)
        for id_ in connection.scalars(
            sa.select(runs.c.id).where(
                runs.c.state.in_(CLOSED),
                runs.c.spool_freed_at.is_(None),
                runs.c.ended_at < sa.func.now() - timedelta(seconds=retention_s),
            )
        )
    ]


def mark_spool_freed(connection: sa.Connection, run_id: RunId) -> None:
    """Record that a run's chunks are gone."""
    connection.execute(sa.update(runs).where(runs.c.id == run_id).values(spool_freed_at=sa.func.now()))


def _waiting() -> Sequence[tuple[TaskName, sa.Table, Any]]:
    return (
        (TaskName.PLAN_RUN, runs, runs),
        (TaskName.EXTRACT_SLICE, slices, slices.join(runs, runs.c.id == slices.c.run_id)),
        (TaskName.UPLOAD_CHUNK, chunks, chunks.join(runs, runs.c.id == chunks.c.run_id)),
    )


def _is_idle(table: sa.Table) -> sa.ColumnElement[bool]:
    """Say whether nobody has claimed what the row asks for, and its run wants it done."""
    idle = {runs: RunState.CREATED, slices: SliceState.PENDING, chunks: ChunkState.READY}[table]
    working = RunState.CREATED if table is runs else RunState.EXTRACTING
    states = (working, RunState.UPLOADING) if table is chunks else (working,)
    return sa.and_(table.c.state == idle, table.c.token.is_(None), runs.c.state.in_(states), runs.c.paused_at.is_(None))
