"""Which chunks have a message: a few of each run at a time, ranked so that no run keeps the others waiting.

A run has at most a window's worth of messages under way. They rank by how many of it are under way already, so that a
run that begins overtakes one that fills the queue. A run whose feed is silent is held, with one message, ever longer:
otherwise each of its chunks would take a claimant away for a whole attempt.
"""

from typing import Final

import sqlalchemy as sa

from shared.messages import Message, Priority, TaskName
from shared.run import ChunkState, Lane, RunId, RunState
from shared.store import claims
from shared.store.tables import chunks, runs

SENDING: Final = (RunState.EXTRACTING, RunState.UPLOADING)
"""States of a run whose chunks are uploaded."""


def dispatch(connection: sa.Connection, run_id: RunId, lane: Lane, *, limit: int) -> list[Message]:
    """Mark chunks that wait as sent, in order, until ``limit`` are under way, and give their messages.

    A run has only so many messages under way, so that a huge run does not fill the queue before a small one; a run
    whose feed was silent has one, until that is answered. The caller holds the run's lock: two who count at once would
    both send.
    """
    is_silent = bool(connection.scalar(sa.select(runs.c.silences).where(runs.c.id == run_id)))
    known = under_way(connection, run_id)
    at_most = max(0, (1 if is_silent else limit) - known)
    return _send(connection, run_id, lane, at_most=at_most, known=known, is_silent=is_silent)


def send_next(connection: sa.Connection, run_id: RunId, lane: Lane) -> list[Message]:
    """Mark one more chunk of a run as sent, because one of it is done, and give its message."""
    return _send(connection, run_id, lane, at_most=1, known=under_way(connection, run_id), is_silent=False)


def hold(connection: sa.Connection, run_id: RunId, wait_s: float, *, most_s: float | None = None) -> None:
    """Claim nothing more of a run for a while: what one attempt waited for, each of its chunks would wait for.

    Otherwise a run whose feed is silent takes one claimant after the other away from all other runs. With ``most_s``
    its feed was silent: it is held ever longer, up to so much, until the feed answers.
    """
    until = claims.after(wait_s)
    if most_s is not None:
        until = sa.func.now() + claims.doubled(wait_s, runs.c.silences, most_s=most_s)
    connection.execute(
        sa.update(runs)
        .where(runs.c.id == run_id, runs.c.state.in_(SENDING))
        .values(
            not_before=sa.func.greatest(runs.c.not_before, until),
            silences=runs.c.silences + (0 if most_s is None else 1),
        )
    )
    # Their messages find nothing to claim; once the time has come, others are sent for those that are due.
    idle = (
        sa.select(chunks.c.id)
        .where(chunks.c.run_id == run_id, chunks.c.state == ChunkState.READY, chunks.c.sent_at.is_not(None))
        .with_for_update(key_share=True, skip_locked=True)
        .cte("idle")
    )
    connection.execute(sa.update(chunks).where(chunks.c.id == idle.c.id).values(sent_at=None))


def is_under_way() -> sa.ColumnElement[bool]:
    """Say whether a chunk is claimed, or has a message that nobody claimed yet."""
    return sa.or_(
        chunks.c.state == ChunkState.UPLOADING,
        sa.and_(chunks.c.state == ChunkState.READY, chunks.c.sent_at.is_not(None)),
    )


def is_waiting() -> sa.ColumnElement[bool]:
    """Say whether a chunk is due and has no message under way."""
    return sa.and_(chunks.c.state == ChunkState.READY, chunks.c.sent_at.is_(None), claims.is_due(chunks))


def under_way(connection: sa.Connection, run_id: RunId) -> int:
    """Count the chunks of a run that are claimed, or have a message that nobody claimed yet."""
    return connection.execute(sa.select(sa.func.count()).where(chunks.c.run_id == run_id, is_under_way())).scalar_one()


def _send(
    connection: sa.Connection, run_id: RunId, lane: Lane, *, at_most: int, known: int, is_silent: bool
) -> list[Message]:
    # A CTE that locks is never folded into the UPDATE, where a join could run it, and its LIMIT, more than once.
    waiting = (
        sa.select(chunks.c.id)
        .where(chunks.c.run_id == run_id, is_waiting(), _may_be_claimed(run_id))
        # A run that was held tries another chunk first: a single one that is never answered must not stop all.
        .order_by(*([chunks.c.attempts] if is_silent else []), chunks.c.published_at, chunks.c.no)
        .limit(at_most)
        .with_for_update(of=chunks, key_share=True, skip_locked=True)
        .cte("waiting")
    )
    sent = connection.execute(
        sa.update(chunks)
        .where(chunks.c.id == waiting.c.id)
        .values(sent_at=sa.func.now(), resends=0)
        .returning(chunks.c.id, chunks.c.published_at, chunks.c.no)
    ).all()
    ordered = sorted(sent, key=lambda row: (row.published_at, row.no))
    return [
        Message(TaskName.UPLOAD_CHUNK, row.id, lane, Priority.of(known + number)) for number, row in enumerate(ordered)
    ]


def _may_be_claimed(run_id: RunId) -> sa.ColumnElement[bool]:
    return sa.exists().where(runs.c.id == run_id, runs.c.paused_at.is_(None), claims.is_due(runs))
