"""Slices as rows: claimed, read, published whole or not at all."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum, auto
from typing import Final
from uuid import UUID, uuid4

import sqlalchemy as sa

from shared.run import ChunkId, Position, Run, RunId, RunState, SliceId, SliceState, Token
from shared.store import claims, volume_guard
from shared.store.tables import chunks, runs, slices

_HOLDER: Final = sa.func.concat(runs.c.pipeline_id, " (", runs.c.lane, ")")


@dataclass(frozen=True, slots=True)
class ClaimedSlice:
    """A slice that this claimant may read until its lease ends.

    ``position`` is where it begins in the warehouse's result, ``None`` where the query has yet to be run.
    """

    id: SliceId
    run_id: RunId
    no: int
    position: Position | None = None


@dataclass(frozen=True, slots=True)
class NewChunk:
    """A chunk as extraction wrote it, not yet visible to anybody."""

    id: ChunkId
    no: int
    path: str
    checksum: str
    rows: int
    bytes: int


class Published(Enum):
    """What a run comes to by the publication of a slice."""

    GOES_ON = auto()
    IS_READ = auto()
    """It was the last slice."""
    IS_HELD = auto()
    """It has read so many rows, or so few, that somebody is asked; nothing of the slice may be sent."""


def claim(connection: sa.Connection, slice_id: SliceId, token: Token, lease_s: float) -> ClaimedSlice | None:
    """Claim a slice of a run that is being worked on, or give ``None`` where that is no longer a legal move."""
    row = connection.execute(
        sa.update(slices)
        .where(
            slices.c.id == slice_id,
            slices.c.state == SliceState.PENDING,
            claims.is_due(slices),
            runs.c.id == slices.c.run_id,
            runs.c.state == RunState.EXTRACTING,
            runs.c.paused_at.is_(None),
        )
        .values(
            state=SliceState.EXTRACTING,
            token=token,
            lease_until=claims.after(lease_s),
            rows_read=0,
            bytes_spooled=0,
            held_reason=None,
            claimant=claims.this_process(),
        )
        .returning(slices.c.id, slices.c.run_id, slices.c.no, slices.c.position)
    ).one_or_none()
    return None if row is None else ClaimedSlice(SliceId(row.id), RunId(row.run_id), row.no, row.position)


def renew(
    connection: sa.Connection, slice_id: SliceId, token: Token, lease_s: float, *, rows_read: int, bytes_spooled: int
) -> bool:
    """Push the lease ahead and show how far reading is; say whether the run is still being worked on.

    Raises:
        ClaimLost: the slice was given to somebody else.
    """
    state = connection.execute(
        sa.update(slices)
        .where(claims.held_by(slices, slice_id, token), runs.c.id == slices.c.run_id)
        .values(lease_until=claims.after(lease_s), rows_read=rows_read, bytes_spooled=bytes_spooled)
        .returning(runs.c.state)
    ).scalar_one_or_none()
    if state is None:
        raise claims.ClaimLost
    return RunState(state) is RunState.EXTRACTING


def begin_at(connection: sa.Connection, slice_id: SliceId, token: Token, position: Position | None) -> None:
    """Record where a claimed slice begins, so that whoever reads it next reads the same result; ``None`` forgets it.

    Raises:
        ClaimLost: the slice was given to somebody else.
    """
    claims.require_one(
        connection.execute(sa.update(slices).where(claims.held_by(slices, slice_id, token)).values(position=position))
    )


def put_off(connection: sa.Connection, slice_id: SliceId, token: Token, wait_s: float, why: str) -> None:
    """Give a claimed slice back, to be read from where it begins after a while."""
    claims.require_one(
        connection.execute(
            sa.update(slices)
            .where(claims.held_by(slices, slice_id, token))
            .values(
                state=SliceState.PENDING,
                not_before=claims.after(wait_s),
                sent_at=None,
                bytes_spooled=0,
                held_reason=why,
                **claims.RELEASED,
            )
        )
    )


def publish(
    connection: sa.Connection,
    claimed: ClaimedSlice,
    token: Token,
    new: Sequence[NewChunk],
    *,
    extracted: int,
    to_come: int = 0,
) -> Published:
    """Make all chunks of a slice visible at once, and say what their run comes to.

    ``extracted`` is the driver's count of rows; ``to_come`` slices follow that were not known before.

    Raises:
        ClaimLost: the slice was given to somebody else, or the run was stopped meanwhile; nothing became visible.
    """
    claims.require_one(
        connection.execute(
            sa.update(slices)
            .where(claims.held_by(slices, claimed.id, token))
            .values(
                state=SliceState.PUBLISHED,
                rows_read=extracted,
                bytes_spooled=sum(chunk.bytes for chunk in new),
                deaths=0,
                **claims.RELEASED,
            )
        )
    )
    if new:
        connection.execute(
            sa.insert(chunks),
            [
                {
                    "id": chunk.id,
                    "run_id": claimed.run_id,
                    "slice_id": claimed.id,
                    "no": chunk.no,
                    "path": chunk.path,
                    "checksum": chunk.checksum,
                    "rows": chunk.rows,
                    "bytes": chunk.bytes,
                }
                for chunk in new
            ],
        )
    published, total = runs.c.slices_published + 1, runs.c.slices_total + to_come
    is_last = connection.execute(
        sa.update(runs)
        .where(runs.c.id == claimed.run_id, runs.c.state == RunState.EXTRACTING)
        .values(
            extracted=runs.c.extracted + extracted,
            chunks_total=runs.c.chunks_total + len(new),
            slices_published=published,
            slices_total=total,
            state=sa.case((published == total, RunState.UPLOADING.value), else_=runs.c.state),
        )
        .returning(runs.c.slices_published == runs.c.slices_total)
    ).scalar_one_or_none()
    if is_last is None:
        raise claims.ClaimLost
    if volume_guard.judge(connection, claimed.run_id, is_read=is_last):
        return Published.IS_HELD
    return Published.IS_READ if is_last else Published.GOES_ON


def publish_and_continue(
    connection: sa.Connection,
    claimed: ClaimedSlice,
    token: Token,
    new: Sequence[NewChunk],
    *,
    extracted: int,
    position: Position,
    lease_s: float,
) -> ClaimedSlice | None:
    """Make all chunks of a slice visible, and record what follows in the same result as a slice of its own.

    The new slice begins at ``position`` and is already claimed with the same token: its claimant may go on reading.
    Where the run is held instead, what follows waits, claimed by nobody, and ``None`` is given.

    Raises:
        ClaimLost: as ``publish`` does.
    """
    is_held = publish(connection, claimed, token, new, extracted=extracted, to_come=1) is Published.IS_HELD
    # Publishing has locked the run, so nobody else adds a slice; they are numbered from 0.
    total = connection.execute(sa.select(runs.c.slices_total).where(runs.c.id == claimed.run_id)).scalar_one()
    following = ClaimedSlice(SliceId(uuid4()), claimed.run_id, total - 1, position)
    its_claim = {
        "token": token,
        "lease_until": claims.after(lease_s),
        "claimant": claims.this_process(),
        "sent_at": sa.func.now(),
    }
    connection.execute(
        sa.insert(slices).values(
            id=following.id,
            run_id=following.run_id,
            no=following.no,
            state=SliceState.PENDING if is_held else SliceState.EXTRACTING,
            position=position,
            **({} if is_held else its_claim),
        )
    )
    return None if is_held else following


def holder(run: Run) -> str:
    """Name whose room a run's chunks take: a pipeline's lane, so that history never keeps the present out."""
    return f"{run.pipeline_id} ({run.lane})"


def room_taken(connection: sa.Connection, *, without: SliceId | None = None) -> dict[str, int]:
    """Give the bytes of spooled chunks by holder, those being written included, one slice left out.

    What a dead claimant wrote is removed and takes no room.
    """
    rows = connection.execute(
        sa.select(_HOLDER, sa.func.sum(slices.c.bytes_spooled))
        .join(runs, runs.c.id == slices.c.run_id)
        .where(
            runs.c.spool_freed_at.is_(None),
            slices.c.state != SliceState.PENDING,
            slices.c.bytes_spooled > 0,
            slices.c.id.is_distinct_from(without),
        )
        .group_by(_HOLDER)
    )
    return {held_by: int(taken) for held_by, taken in rows}


def waiting_for_room(connection: sa.Connection) -> set[str]:
    """Give the holders that have a slice to start."""
    return set(
        connection.scalars(
            sa.select(_HOLDER)
            .select_from(runs.join(slices, runs.c.id == slices.c.run_id))
            .where(
                slices.c.state == SliceState.PENDING, runs.c.state == RunState.EXTRACTING, runs.c.paused_at.is_(None)
            )
        )
    )


def number_of(connection: sa.Connection, slice_id: UUID) -> int:
    """Give a slice's number within its run."""
    return int(connection.execute(sa.select(slices.c.no).where(slices.c.id == slice_id)).scalar_one())
