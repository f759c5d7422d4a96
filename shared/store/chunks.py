"""Chunks as rows: dispatched a few at a time, claimed, settled row by row."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from types import MappingProxyType
from typing import Final
from uuid import UUID

import sqlalchemy as sa

from shared.ledger import Progress
from shared.messages import Message, Priority, TaskName
from shared.run import ChunkId, ChunkState, Lane, RunId, RunState, Token
from shared.spool import SpooledFile
from shared.store import breaker, claims, dispatching, runs
from shared.store.dispatching import SENDING
from shared.store.reject_tables import reject_files
from shared.store.tables import chunks, slices
from shared.store.tables import runs as runs_table

_NOTHING_FOUND: Final[Mapping[str, int]] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class ClaimedChunk:
    """A chunk that this claimant may upload until its lease ends."""

    id: ChunkId
    run_id: RunId
    pipeline_id: str
    lane: Lane
    no: int
    attempt: int
    path: str
    checksum: str
    rows: int
    position: int


def claim(
    connection: sa.Connection, chunk_id: ChunkId, token: Token, lease_s: float, *, doubt_max_s: float
) -> ClaimedChunk | None:
    """Claim a chunk of a run that is being worked on, or give ``None`` where that is no longer a legal move.

    From the first claim on the chunk is in doubt: mParticle may know ids of it that we do not know to be final. One
    that is in doubt for longer than ``doubt_max_s`` is left to upkeep, which stops its run.
    """
    is_remembered = chunks.c.in_doubt_since > sa.func.now() - timedelta(seconds=doubt_max_s)
    row = (
        connection.execute(
            sa.update(chunks)
            .where(
                chunks.c.id == chunk_id,
                chunks.c.state == ChunkState.READY,
                # A message from before the run was stopped or the chunk put off must not widen the run's window.
                chunks.c.sent_at.is_not(None),
                claims.is_due(chunks),
                sa.or_(chunks.c.in_doubt_since.is_(None), is_remembered),
                runs_table.c.id == chunks.c.run_id,
                runs_table.c.state.in_(SENDING),
                runs_table.c.paused_at.is_(None),
                claims.is_due(runs_table),
            )
            .values(
                state=ChunkState.UPLOADING,
                token=token,
                lease_until=claims.after(lease_s),
                attempts=chunks.c.attempts + 1,
                in_doubt_since=sa.func.coalesce(chunks.c.in_doubt_since, sa.func.now()),
                claimant=claims.this_process(),
            )
            .returning(chunks, runs_table.c.pipeline_id, runs_table.c.lane)
        )
        .mappings()
        .one_or_none()
    )
    if row is None:
        return None
    return ClaimedChunk(
        id=ChunkId(row["id"]),
        run_id=RunId(row["run_id"]),
        pipeline_id=row["pipeline_id"],
        lane=Lane(row["lane"]),
        no=row["no"],
        attempt=row["attempts"],
        path=row["path"],
        checksum=row["checksum"],
        rows=row["rows"],
        position=row["position"],
    )


def record(
    connection: sa.Connection,
    claimed: ClaimedChunk,
    token: Token,
    progress: Progress,
    *,
    lease_s: float,
    rejects: SpooledFile | None,
    findings: Mapping[str, int] = _NOTHING_FOUND,
) -> bool:
    """Record that all rows below ``progress.position`` are final, and say whether to go on.

    The rejected rows' file is recorded in the same transaction, so that a rejected row always keeps its values, and so
    are the ``findings`` about the rows that became final: however often a chunk is tried, each row counts once. Where
    too many rows are rejected, the run is failed. An answer has come, so earlier deaths no longer count.

    Raises:
        ClaimLost: the chunk was given to somebody else; nothing was recorded.
    """
    rejected = len(progress.rejects)
    if rejected:  # First of all, because it may have to lock the pipeline and the run.
        breaker.judge(connection, claimed.run_id, rejecting=rejected, by_ratio=False)
    claims.require_one(
        connection.execute(
            sa.update(chunks)
            .where(claims.held_by(chunks, claimed.id, token))
            .values(
                position=progress.position,
                accepted=chunks.c.accepted + progress.accepted,
                rejected=chunks.c.rejected + rejected,
                superseded=chunks.c.superseded + progress.superseded,
                unchanged=chunks.c.unchanged + progress.unchanged,
                lease_until=claims.after(lease_s),
                deaths=0,
            )
        )
    )
    if rejects is not None:
        counts: dict[str, int] = {}
        for reject in progress.rejects:
            counts[reject.code] = counts.get(reject.code, 0) + 1
        connection.execute(
            sa.insert(reject_files).values(
                run_id=claimed.run_id,
                chunk_id=claimed.id,
                path=rejects.path,
                checksum=rejects.checksum,
                rows=rejects.rows,
                bytes=rejects.bytes,
                counts=counts,
            )
        )
    if progress.accepted or rejected or progress.superseded or progress.unchanged:
        runs.count_rows(
            connection,
            claimed.run_id,
            accepted=progress.accepted,
            rejected=rejected,
            superseded=progress.superseded,
            unchanged=progress.unchanged,
            batches=progress.batches,
        )
    if findings:
        runs.count_findings(connection, claimed.run_id, findings)
    state = connection.scalar(sa.select(runs_table.c.state).where(runs_table.c.id == claimed.run_id))
    return state in SENDING


def is_held(connection: sa.Connection, claimed: ClaimedChunk, token: Token) -> bool:
    """Say whether its run still wants the chunk sent, or raise ``ClaimLost`` where it was given to somebody else."""
    state = connection.scalar(
        sa.select(runs_table.c.state)
        .join(chunks, chunks.c.run_id == runs_table.c.id)
        .where(claims.held_by(chunks, claimed.id, token))
    )
    if state is None:
        raise claims.ClaimLost
    return state in SENDING


def finish(connection: sa.Connection, claimed: ClaimedChunk, token: Token) -> list[Message]:
    """Mark a chunk whose rows are all final as done; give the next chunk's message, or the one that settles.

    Counting happens in the same transaction, so whichever chunk is last, its transaction sees that it is. Where too
    many rows were rejected by now, its run is failed instead.
    """
    breaker.judge(connection, claimed.run_id)
    claims.require_one(
        connection.execute(
            sa.update(chunks)
            .where(claims.held_by(chunks, claimed.id, token))
            .values(state=ChunkState.DONE, done_at=sa.func.now(), error=None, **claims.RELEASED)
        )
    )
    row = connection.execute(
        sa.update(runs_table)
        .where(runs_table.c.id == claimed.run_id)
        .values(chunks_done=runs_table.c.chunks_done + 1)
        .returning(
            runs_table.c.state,
            (runs_table.c.chunks_done == runs_table.c.chunks_total)
            & (runs_table.c.slices_published == runs_table.c.slices_total),
        )
    ).one()
    state, is_complete = row
    if is_complete and state == RunState.UPLOADING:
        return [Message(TaskName.SETTLE_RUN, claimed.run_id)]
    if state in SENDING:
        return dispatching.send_next(connection, claimed.run_id, claimed.lane)
    return []


def put_off(
    connection: sa.Connection, claimed: ClaimedChunk, token: Token, wait_s: float, why: str | None
) -> list[Message]:
    """Give a claimed chunk back, to be continued where it stands, now or after a while."""
    is_now = wait_s <= 0
    under_way = dispatching.under_way(connection, claimed.run_id) - 1
    claims.require_one(
        connection.execute(
            sa.update(chunks)
            .where(claims.held_by(chunks, claimed.id, token))
            .values(
                state=ChunkState.READY,
                not_before=None if is_now else claims.after(wait_s),
                sent_at=sa.func.now() if is_now else None,
                resends=0,
                error=why,
                **claims.RELEASED,
            )
        )
    )
    if not is_now:
        return []
    return [Message(TaskName.UPLOAD_CHUNK, claimed.id, claimed.lane, Priority.of(under_way))]


def give_up(connection: sa.Connection, claimed: ClaimedChunk, token: Token, why: str) -> None:
    """Mark a claimed chunk as failed; it stays where it stands until its run is reopened.

    The caller fails the run in the same transaction: a run that is worked on has no failed chunk.
    """
    claims.require_one(
        connection.execute(
            sa.update(chunks)
            .where(claims.held_by(chunks, claimed.id, token))
            .values(state=ChunkState.FAILED, error=why, **claims.RELEASED)
        )
    )


def claimants(connection: sa.Connection, run_ids: Sequence[RunId]) -> dict[str, int]:
    """Count the chunks of some runs by the process that claimed them last."""
    rows = connection.execute(
        sa.select(chunks.c.claimant, sa.func.count())
        .join(slices, slices.c.id == chunks.c.slice_id)  # Only unfinished chunks are indexed by their run.
        .where(slices.c.run_id.in_(run_ids), chunks.c.claimant.is_not(None))
        .group_by(chunks.c.claimant)
    )
    return {str(claimant): int(count) for claimant, count in rows}


def mark_failed(connection: sa.Connection, chunk_id: UUID, why: str) -> None:
    """Mark a chunk that nobody holds as failed; the caller has stopped its run in the same transaction."""
    connection.execute(
        sa.update(chunks)
        .where(chunks.c.id == chunk_id, chunks.c.state == ChunkState.READY)
        .values(state=ChunkState.FAILED, error=why)
    )


def renew(connection: sa.Connection, chunk_id: UUID, token: Token, lease_s: float) -> None:
    """Push the lease ahead, or raise ``ClaimLost``."""
    claims.renew(connection, chunks, chunk_id, token, lease_s)
