"""Files of rejected rows as rows: what a run has of them, by code, and when they may be removed."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta

import pyarrow as pa
import sqlalchemy as sa

from shared.errors import ChunkCorrupt
from shared.run import CLOSED, OPEN, RunId
from shared.spool import Spool
from shared.store import rejected_users
from shared.store.database import Database
from shared.store.reject_tables import reject_files
from shared.store.tables import runs


@dataclass(frozen=True, slots=True)
class RejectFile:
    """One file of rejected rows; ``counts`` are its rows by code, ``purged`` rows were removed from it."""

    id: int
    run_id: RunId
    path: str
    checksum: str
    rows: int
    counts: Mapping[str, int]
    purged: int


def files_of(connection: sa.Connection, run_id: RunId) -> list[RejectFile]:
    """Give a run's files of rejected rows, in the order in which they were recorded."""
    return _files(connection, reject_files.c.run_id == run_id)


def files_of_pipelines(connection: sa.Connection, pipeline_ids: Collection[str] | None) -> list[RejectFile]:
    """Give the files of all runs of some pipelines, deleted ones included, or of all pipelines."""
    of_them = sa.true() if pipeline_ids is None else runs.c.pipeline_id.in_(pipeline_ids)
    return _files(connection, reject_files.c.run_id.in_(sa.select(runs.c.id).where(of_them)))


def get(connection: sa.Connection, file_id: int) -> RejectFile | None:
    """Give one file as it stands, or ``None`` where retention has removed it."""
    return next(iter(_files(connection, reject_files.c.id == file_id)), None)


def read(database: Database, spool: Spool, file: RejectFile) -> pa.Table:
    """Read a file whole; where a purge has written it anew meanwhile, the new one.

    Raises:
        ChunkCorrupt: it is missing or changed; whether retention has removed it, ``get`` says.
        SpoolUnavailable: the spool does not answer, or is not there at all.
    """
    while True:
        try:
            return spool.read_rejects(file.path, file.checksum)
        except ChunkCorrupt:
            with database.transaction() as connection:
                now = get(connection, file.id)
            if now is None or now.path == file.path:
                raise
            file = now


def expire(connection: sa.Connection, *, retention_s: float) -> list[RunId]:
    """Forget the files of closed runs that are past their retention, and give the runs; the files may be removed then.

    Forgotten first, so that nobody begins to read what is about to be removed; a run is given again until
    ``mark_freed`` says that its files are gone. What an open replay has yet to read stays.
    """
    found = connection.scalars(
        sa.select(runs.c.id)
        .where(
            runs.c.state.in_(CLOSED),
            runs.c.rejects_freed_at.is_(None),
            runs.c.ended_at < sa.func.now() - timedelta(seconds=retention_s),
        )
        .order_by(runs.c.id)
        # Recording a replay locks the run as well: one that began before is seen, one that begins later finds nothing.
        .with_for_update(key_share=True, skip_locked=True)
    ).all()
    expired = [RunId(id_) for id_ in found if not _is_being_read(connection, RunId(id_))]
    connection.execute(sa.delete(reject_files).where(reject_files.c.run_id.in_(expired)))
    rejected_users.forget(connection, expired)
    return expired


def mark_freed(connection: sa.Connection, run_id: RunId) -> None:
    """Record that a run's rejected rows are gone; their counts stay in its ledger."""
    connection.execute(sa.update(runs).where(runs.c.id == run_id).values(rejects_freed_at=sa.func.now()))


def by_code(files: Sequence[RejectFile]) -> dict[str, int]:
    """Count the rows that files still hold by code, most frequent first."""
    counts: dict[str, int] = {}
    for file in files:
        for code, rows in file.counts.items():
            counts[code] = counts.get(code, 0) + rows
    return dict(sorted(counts.items(), key=lambda one: (-one[1], one[0])))


def _is_being_read(connection: sa.Connection, run_id: RunId) -> bool:
    """Say whether an open replay has yet to read the run's rejected rows; the run is locked."""
    return bool(
        connection.scalar(
            sa.select(
                sa.exists().where(
                    runs.c.replays == run_id,
                    runs.c.state.in_(OPEN),
                    sa.or_(runs.c.slices_total == 0, runs.c.slices_published < runs.c.slices_total),
                )
            )
        )
    )


def _files(connection: sa.Connection, which: sa.ColumnElement[bool]) -> list[RejectFile]:
    found = connection.execute(sa.select(reject_files).where(which).order_by(reject_files.c.id)).mappings()
    return [
        RejectFile(
            id=row["id"],
            run_id=RunId(row["run_id"]),
            path=row["path"],
            checksum=row["checksum"],
            rows=row["rows"],
            counts=row["counts"],
            purged=row["purged"],
        )
        for row in found
    ]
