"""A run's chunks as an operator wants to see them: where each stands, and why. Nothing of a row, and no path."""

from dataclasses import dataclass
from datetime import datetime
from typing import Final

import sqlalchemy as sa

from shared.run import ChunkId, ChunkState, RunId
from shared.store.tables import chunks, slices

_LIMIT: Final = 200


@dataclass(frozen=True, slots=True, order=True)
class ChunkPlace:
    """Where a chunk stands in its run: chunks are numbered from 0 in each slice."""

    slice_no: int
    no: int


@dataclass(frozen=True, slots=True)
class ListedChunk:
    """One chunk; ``position`` of its ``rows`` are final, and those are accepted, rejected, unchanged or superseded.

    ``deaths`` are of claimants that recorded nothing, ``error`` is what the last attempt that did not finish said, and
    ``claimant`` is who claimed it last, as ``host:pid``. It waited ``queue_ms`` to be claimed and was claimed for
    ``run_ms``, by all attempts together; an attempt counts once it is over, its wait once it begins.
    """

    id: ChunkId
    place: ChunkPlace
    state: ChunkState
    rows: int
    position: int
    accepted: int
    rejected: int
    unchanged: int
    superseded: int
    spool_bytes: int
    attempts: int
    deaths: int
    error: str | None
    claimant: str | None
    published_at: datetime
    in_doubt_since: datetime | None
    not_before: datetime | None
    done_at: datetime | None
    queue_ms: int | None
    run_ms: int | None


def of_run(
    connection: sa.Connection, run_id: RunId, *, after: ChunkPlace | None = None, limit: int = _LIMIT
) -> list[ListedChunk]:
    """Give a run's chunks in order; those behind the place ``after`` to read on."""
    slice_no, no = (0, -1) if after is None else (after.slice_no, after.no)
    # Only unfinished chunks are indexed by their run; by their slice all are. A few of each slice are read, never all.
    listed = (
        sa.select(chunks)
        .where(chunks.c.slice_id == slices.c.id, chunks.c.no > sa.case((slices.c.no == slice_no, no), else_=-1))
        .order_by(chunks.c.no)
        .limit(limit)
        .lateral("listed")
    )
    query = (
        sa.select(slices.c.no.label("slice_no"), listed)
        .select_from(slices.join(listed, sa.true()))
        .where(slices.c.run_id == run_id, slices.c.no >= slice_no)
        .order_by(slices.c.no, listed.c.no)
        .limit(limit)
    )
    return [
        ListedChunk(
            id=ChunkId(row["id"]),
            place=ChunkPlace(row["slice_no"], row["no"]),
            state=ChunkState(row["state"]),
            rows=row["rows"],
            position=row["position"],
            accepted=row["accepted"],
            rejected=row["rejected"],
            unchanged=row["unchanged"],
            superseded=row["superseded"],
            spool_bytes=row["bytes"],
            attempts=row["attempts"],
            deaths=row["deaths"],
            error=row["error"],
            claimant=row["claimant"],
            published_at=row["published_at"],
            in_doubt_since=row["in_doubt_since"],
            not_before=row["not_before"],
            done_at=row["done_at"],
            queue_ms=row["queue_ms"],
            run_ms=row["run_ms"],
        )
        for row in connection.execute(query).mappings()
    ]
