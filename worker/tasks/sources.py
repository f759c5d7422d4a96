"""Where a slice's rows come from: its pipeline's warehouse, or, for a replay, files of rejected rows."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import pyarrow as pa

from shared import sql
from shared.catalog import Connection
from shared.errors import ColumnMissing, IteratorInvalid, MappingRefused, MoveNotAllowed
from shared.rejects import columns_of
from shared.run import Position, Run, RunKind
from shared.snapshot import Snapshot
from shared.store import declared, rejects, replays
from shared.store import runs as run_rows
from shared.store.replays import Taken
from worker import draft
from worker.process import Process
from worker.replay import RejectedRows
from worker.warehouses.base import Label, RecordStream
from worker.warehouses.registry import open_warehouse


@contextmanager
def rows_of(process: Process, run: Run, snapshot: Snapshot, position: Position | None) -> Iterator[RecordStream]:
    """Give the rows of a run's slice as they come, from ``position`` on where there is one."""
    if run.kind is RunKind.REPLAY:
        yield _rejected_rows(process, run)
        return
    with process.database.transaction() as connection:
        where = declared.get(connection, Connection, snapshot.connection_id)
    label = Label(f"run {run.number}", run.pipeline_id)
    with open_warehouse(where, process.settings, label=label) as warehouse:
        query = sql.windowed(
            snapshot.sql_query,
            dialect=warehouse.dialect,
            iterator=draft.asked_by(snapshot.iterator),
            window=replace(run.window, low=snapshot.reads_from or run.window.low),
            one_row_per=snapshot.one_row_per,
            columns=snapshot.columns,
            ranked_to=snapshot.ranked_to,
        )
        query = sql.ordered(query, snapshot.order_by, warehouse.dialect)
        with warehouse.stream(query, batch_rows=process.settings.record_batch_rows, position=position) as stream:
            yield stream


def rejected_schema(process: Process, run: Run) -> pa.Schema:
    """Give the columns of the rows that a replay takes.

    Raises:
        MoveNotAllowed: nothing of them is left.
        ChunkCorrupt: the first file is missing or changed.
    """
    return columns_of(rejects.read(process.database, process.spool, _taken_by(process, run)[0].file).schema)


@contextmanager
def for_a_replay(process: Process, run: Run) -> Iterator[None]:
    """Say of what today's declaration refuses that it is about rows which were read under an earlier one."""
    try:
        yield
    except (ColumnMissing, IteratorInvalid, MappingRefused) as error:
        raise type(error)(
            f"replay {run.number}: {_taken(process, run)} were read under an earlier declaration, and today's does not "
            f"fit them: {error}. `warehouse-sync abandon {run.number}`; a backfill of their window, or "
            "the next full run, reads them anew"
        ) from error


def _rejected_rows(process: Process, run: Run) -> RejectedRows:
    return RejectedRows(
        _taken_by(process, run),
        lambda one: rejects.read(process.database, process.spool, one.file),
        schema=rejected_schema(process, run),
        batch_rows=process.settings.record_batch_rows,
    )


def _taken_by(process: Process, run: Run) -> list[Taken]:
    with process.database.transaction() as connection:
        taken = replays.taken_by(connection, run.id)
    if not taken:
        raise MoveNotAllowed(
            f"replay {run.number}: nothing is left of {_taken(process, run)} that it took; "
            f"`warehouse-sync abandon {run.number}`"
        )
    return taken


def _taken(process: Process, run: Run) -> str:
    """Name the rows that a replay takes."""
    if run.replays is None:
        return "the rejected rows"
    with process.database.transaction() as connection:
        return f"the rejected rows of run {run_rows.get(connection, run.replays).number}"
