"""The verbs of rejected rows: count, show, save, send anew and purge them."""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, BinaryIO, Final

import pyarrow as pa
import sqlalchemy as sa

from console import downloads
from console.json_values import json_values, texts
from console.saved import Format
from shared.catalog import DataModel
from shared.endpoints import spool_url
from shared.errors import ChunkCorrupt, ColumnMissing, NotFound
from shared.ledger import RejectCode
from shared.rejects import CODE, OURS, REASON, ROW, masked, nearest, of_codes, secrets_among
from shared.run import Run, RunId
from shared.settings import Settings
from shared.spool import Spool
from shared.store import auditing, declared, purging, rejects, replays, runs
from shared.store.asked import Asked
from shared.store.database import Database
from shared.store.rejects import RejectFile
from shared.store.replays import Taken

_KIND: Final = "rejects"
"""What the audit log calls rejected rows."""
_EVERY_PIPELINE: Final = "every pipeline"


@dataclass(frozen=True, slots=True)
class Rejected:
    """What a run has of rejected rows: by code, purged, and which replays took them; ``left`` no replay took.

    ``counts`` are those whose values are still there: fewer than its ledger's once their retention has ended.
    """

    run: Run
    counts: Mapping[str, int]
    purged: int
    replays: tuple[Run, ...]
    left_by_code: Mapping[str, int]

    @property
    def left(self) -> int:
        """Rows that no replay has taken."""
        return sum(self.left_by_code.values())

    @property
    def removed(self) -> int:
        """Rows whose retention has ended."""
        return max(0, self.run.ledger.rejected - sum(self.counts.values()) - self.purged)


@dataclass(frozen=True, slots=True)
class Shown:
    """One rejected row as people may see it: what may be secret is masked.

    ``values`` are as :mod:`console.json_values` gives them. ``place`` is its file's number and its own in the file.
    """

    code: str
    reason: str
    values: Mapping[str, Any]
    place: tuple[int, int]


@dataclass(frozen=True, slots=True)
class Purged:
    """What a purge came to: rows removed, from how many runs, and the runs whose chunks may still hold such rows by id.

    ``in_spool`` has the numbers of the last.
    """

    rows: int
    runs: int
    in_spool: Mapping[RunId, int]


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
                left_by_code=_by_code(replays.left(connection, run_id)),
            )

    def rows(
        self, run_id: RunId, code: RejectCode | None = None, *, limit: int, after: tuple[int, int] | None = None
    ) -> list[Shown]:
        """Give some rejected rows of a run, for people to look at; with ``after`` those behind that place.

        Raises:
            NotFound: a file is not in the spool that this process sees.
            SpoolUnavailable: the spool does not answer.
        """
        first_file, first_row = (0, 0) if after is None else (after[0], after[1] + 1)
        shown: list[Shown] = []
        for file, table in self._tables(run_id, code, is_masked=True, first_file=first_file):
            start = first_row if file.id == first_file else 0
            shown += _shown(table.slice(start, limit - len(shown)), file.id, start)
            if len(shown) >= limit:
                break
        return shown

    def save(
        self, run_id: RunId, file: BinaryIO, kind: Format, code: RejectCode | None = None, *, is_masked: bool
    ) -> int:
        """Write a run's rejected rows, with their real values unless masked, to an open file; give how many.

        Raises:
            DeclarationInvalid: rows differ in their columns, and the format cannot hold that.
            NotFound: the run has no such rows, or a file is not in the spool that this process sees.
            SpoolUnavailable: the spool does not answer.
        """
        with self._database.transaction() as connection:
            run = runs.get(connection, run_id)
            counts = rejects.by_code(rejects.files_of(connection, run_id))
        if not (counts if code is None else counts.get(code)):
            raise NotFound(f"run {run.number} has no rejected rows{'' if code is None else f' of code {code}'} to save")
        if not is_masked:
            with self._database.transaction() as connection:
                auditing.note(connection, "downloaded", _KIND, f"{run.pipeline_id}: run {run.number}")
        tables = self._tables(run_id, code, is_masked=is_masked)
        return downloads.write((table.drop_columns([ROW]) for _, table in tables), file, kind)

    def replay(self, run_id: RunId, code: RejectCode | None = None) -> tuple[RunId, ...]:
        """Send anew what no replay has taken; errors as of ``shared.store.replays.begin``."""
        with self._database.transaction() as connection:
            asked = replays.begin(connection, run_id, code=code)
        return self._send(asked)

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
            for subject in pipeline_ids or (_EVERY_PIPELINE,):
                # Without the column: whoever mixes the two up would have the value noted.
                auditing.note(connection, "purged", _KIND, subject)
            files = rejects.files_of_pipelines(connection, pipeline_ids)
            in_spool = runs.numbers_of(connection, runs.with_chunks(connection, pipeline_ids))
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
        return Purged(sum(taken.values()), sum(rows > 0 for rows in taken.values()), in_spool)

    def _tables(
        self, run_id: RunId, code: RejectCode | None, *, is_masked: bool, first_file: int = 0
    ) -> Iterator[tuple[RejectFile, pa.Table]]:
        """Give a run's rejected rows, a file at a time, from a file on."""
        with self._database.transaction() as connection:
            secret = _secret_columns(connection, runs.get(connection, run_id))
            files = rejects.files_of(connection, run_id)
        spool = self._spool()
        for file in files:
            if file.id < first_file or not (file.rows if code is None else file.counts.get(code)):
                continue
            try:
                table = rejects.read(self._database, spool, file)
            except ChunkCorrupt as error:
                raise self._not_here(file, error) from error
            if code is not None:
                table = of_codes(table, {code})
            if is_masked:
                table = masked(table, secrets_among(table.column_names, secret))
            yield file, table

    def _spool(self) -> Spool:
        return Spool.open(spool_url(self._settings))

    def _not_here(self, file: RejectFile, error: ChunkCorrupt) -> NotFound | ChunkCorrupt:
        with self._database.transaction() as connection:
            is_gone = rejects.get(connection, file.id) is None
            number = runs.get(connection, file.run_id).number
        if is_gone:
            return NotFound(f"the rejected rows of run {number} have just been removed: their retention has ended")
        return NotFound(
            f"the rejected rows of run {number} are not in the spool that this command sees: {error}. If the "
            "workers have another, set WAREHOUSE_SYNC_SPOOL_URL to theirs"
        )


def _secret_columns(connection: sa.Connection, run: Run) -> set[str]:
    """Give what hides a run's rows: today's secret columns, and those of when they were read.

    An edit may leave a column out of the model, or give the pipeline another one; the rows still hold its values.
    """
    pipeline = declared.get_pipeline(connection, run.pipeline_id, even_deleted=True).pipeline
    secret = set(declared.get(connection, DataModel, pipeline.data_model_id).secret_columns)
    while True:
        secret.update((run.snapshot or {}).get("secret_columns", ()))
        if run.replays is None:
            return secret
        run = runs.get(connection, run.replays)


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


def _shown(table: pa.Table, file_id: int, start: int) -> list[Shown]:
    names = [name for name in table.column_names if name not in OURS]
    columns = [json_values(table[name]) for name in names]
    told = zip(table[CODE].to_pylist(), table[REASON].to_pylist(), strict=True)
    return [
        Shown(
            code, reason, {name: column[at] for name, column in zip(names, columns, strict=True)}, (file_id, start + at)
        )
        for at, (code, reason) in enumerate(told)
    ]


def _by_code(left: Iterable[Taken]) -> dict[str, int]:
    counts: dict[str, int] = {}
    for taken in left:
        for code in sorted(taken.codes):
            counts[code] = counts.get(code, 0) + taken.file.counts.get(code, 0)
    return counts
