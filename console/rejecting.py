"""The verbs of rejected rows: count, show, save, send anew and purge them."""

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa

from console import downloads
from console.json_values import json_values, texts
from shared.catalog import DataModel
from shared.endpoints import spool_url
from shared.errors import ChunkCorrupt, ColumnMissing, NotFound
from shared.rejects import CODE, OURS, REASON, ROW, masked, nearest, of_codes, secrets_among
from shared.run import RejectCode, Run, RunId
from shared.settings import Settings
from shared.spool import Spool
from shared.store import declared, purging, rejects, replays, runs
from shared.store.asked import Asked
from shared.store.database import Database
from shared.store.rejects import RejectFile


@dataclass(frozen=True, slots=True)
class Rejected:
    """What a run has of rejected rows: by code, purged, and which replays took them; ``left`` no replay took.

    ``counts`` are those whose values are still there: fewer than its ledger's once their retention has ended.
    """

    run: Run
    counts: Mapping[str, int]
    purged: int
    replays: tuple[Run, ...]
    left: int


@dataclass(frozen=True, slots=True)
class Shown:
    """One rejected row as people may see it: what may be secret is masked."""

    code: str
    reason: str
    values: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Purged:
    """What a purge came to: rows removed, from how many runs, and the runs whose chunks may still hold such rows."""

    rows: int
    runs: int
    in_spool: tuple[RunId, ...]


class Rejecting:
    """The verbs, bound to one state database and the workers' spool."""

    def __init__(self, database: Database, settings: Settings, send: Callable[[Asked], tuple[RunId, ...]]) -> None:
        """Take what ``Operations`` holds; ``send`` sends what was recorded."""
        self._database = database
        self._settings = settings
        self._send = send

    def of(self, run_id: RunId) -> Rejected:
        """Say what a run has of rejected rows."""
        with self._database.transaction() as connection:
            files = rejects.files_of(connection, run_id)
            return Rejected(
                run=runs.get(connection, run_id),
                counts=rejects.by_code(files),
                purged=sum(file.purged for file in files),
                replays=tuple(replays.of_run(connection, run_id)),
                left=sum(taken.rows for taken in replays.left(connection, run_id)),
            )

    def rows(self, run_id: RunId, code: RejectCode | None = None, *, limit: int) -> list[Shown]:
        """Give some rejected rows of a run, for people to look at.

        Raises:
            NotFound: a file is not in the spool that this process sees.
            SpoolUnavailable: the spool does not answer.
        """
        shown: list[Shown] = []
        for table in self._tables(run_id, code, is_masked=True):
            some = table.slice(0, limit - len(shown))
            names = [name for name in some.column_names if name not in OURS]
            columns = [json_values(some[name]) for name in names]
            for number, (refused_for, reason) in enumerate(
                zip(some[CODE].to_pylist(), some[REASON].to_pylist(), strict=True)
            ):
                values = {name: column[number] for name, column in zip(names, columns, strict=True)}
                shown.append(Shown(refused_for, reason, values))
            if len(shown) >= limit:
                break
        return shown

    def save(self, run_id: RunId, path: Path, code: RejectCode | None = None, *, is_masked: bool) -> int:
        """Write a run's rejected rows, with their real values unless masked, to a file; give how many.

        Raises:
            DeclarationInvalid: the file's name tells no known format, or it cannot be written.
            NotFound: the run has no such rows, or a file is not in the spool that this process sees.
            SpoolUnavailable: the spool does not answer.
        """
        downloads.require_known_format(path)
        with self._database.transaction() as connection:
            counts = rejects.by_code(rejects.files_of(connection, run_id))
        if not (counts if code is None else counts.get(code)):
            raise NotFound(f"run {run_id} has no rejected rows{'' if code is None else f' of code {code}'} to save")
        tables = self._tables(run_id, code, is_masked=is_masked)
        return downloads.save((table.drop_columns([ROW]) for table in tables), path)

    def replay(self, run_id: RunId, code: RejectCode | None = None) -> tuple[RunId, ...]:
        """Send anew what no replay has taken; errors as of ``shared.store.replays.begin``."""
        with self._database.transaction() as connection:
            asked = replays.begin(connection, run_id, code=code)
        return self._send(asked)

    def left(self, run_id: RunId, code: RejectCode | None = None) -> int:
        """Count the rejected rows that no replay has taken."""
        with self._database.transaction() as connection:
            return sum(taken.rows for taken in replays.left(connection, run_id, code=code))

    def purge(self, pipeline_ids: Collection[str] | None, column: str, value: str) -> Purged:
        """Remove the rows in which a column equals a value, as text, from all rejects of pipelines, or of all of them.

        Raises:
            NotFound: there is no such pipeline; a file is not in the spool that this process sees.
            ColumnMissing: no rejected row has such a column.
            SpoolUnavailable: the spool does not answer.
            SpoolUnwritable: it may not be written.
        """
        with self._database.transaction() as connection:
            for pipeline_id in pipeline_ids or ():
                declared.get_pipeline(connection, pipeline_id, even_deleted=True)
            files = rejects.files_of_pipelines(connection, pipeline_ids)
            in_spool = runs.with_chunks(connection, pipeline_ids)
        wanted = _Wanted(column, value)
        spool = self._spool()
        purging.remove_leftovers(self._database, spool)
        taken = {file.run_id: 0 for file in files}
        for file in files:
            try:
                taken[file.run_id] += purging.purge(self._database, spool, file, wanted.find)
            except ChunkCorrupt as error:
                raise self._not_here(file, error) from error
        if files and not wanted.is_known:
            raise ColumnMissing(
                f"--column: no rejected row has a column {column!r}{nearest(column, sorted(wanted.names))}"
            )
        return Purged(sum(taken.values()), sum(rows > 0 for rows in taken.values()), tuple(in_spool))

    def _tables(self, run_id: RunId, code: RejectCode | None, *, is_masked: bool) -> Iterator[pa.Table]:
        """Give a run's rejected rows, a file at a time."""
        with self._database.transaction() as connection:
            pipeline = declared.get_pipeline(connection, runs.get(connection, run_id).pipeline_id, even_deleted=True)
            model = declared.get(connection, DataModel, pipeline.pipeline.data_model_id)
            files = rejects.files_of(connection, run_id)
        spool = self._spool()
        for file in files:
            if not (file.rows if code is None else file.counts.get(code)):
                continue
            try:
                table = rejects.read(self._database, spool, file)
            except ChunkCorrupt as error:
                raise self._not_here(file, error) from error
            if code is not None:
                table = of_codes(table, {code})
            yield masked(table, secrets_among(table.column_names, model.secret_columns)) if is_masked else table

    def _spool(self) -> Spool:
        return Spool.open(spool_url(self._settings))

    def _not_here(self, file: RejectFile, error: ChunkCorrupt) -> NotFound | ChunkCorrupt:
        with self._database.transaction() as connection:
            is_gone = rejects.get(connection, file.id) is None
        if is_gone:
            return NotFound(f"the rejected rows of run {file.run_id} have just been removed: their retention has ended")
        return NotFound(
            f"the rejected rows of run {file.run_id} are not in the spool that this command sees: {error}. If the "
            "workers have another, set WAREHOUSE_SYNC_SPOOL_URL to theirs"
        )


class _Wanted:
    """The rows whose value in a column, as text, is the one asked for; in whatever case the column is spelled."""

    def __init__(self, column: str, value: str) -> None:
        self.is_known = False
        self.names: set[str] = set()
        self._column = column.casefold()
        self._value = value

    def find(self, table: pa.Table) -> Any:
        found = [name for name in table.column_names if name.casefold() == self._column and name not in OURS]
        self.names.update(name for name in table.column_names if name not in OURS)
        if not found:
            return None
        self.is_known = True
        columns = [texts(table[name]) for name in found]
        return pa.array([self._value in row for row in zip(*columns, strict=True)], pa.bool_())


def to_json(rejected: Rejected, rows: list[Shown]) -> str:
    """Give what a run has of rejected rows as one JSON object."""
    return orjson.dumps(
        {
            "run": str(rejected.run.id),
            "counts": rejected.counts,
            "rejected": rejected.run.ledger.rejected,
            "purged": rejected.purged,
            "left_to_replay": rejected.left,
            "replays": [{"run": str(run.id), "state": run.state} for run in rejected.replays],
            "rows": [{"code": row.code, "reason": row.reason, "values": row.values} for row in rows],
        }
    ).decode()
