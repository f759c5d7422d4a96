"""DuckDB, embedded: a database file, a folder of Parquet and CSV files, or both, read-only.

Arrow types are DuckDB's own, fixed for the whole result: integers as they are, HUGEINT ``decimal128(38, 0)``, DECIMAL
``decimal128``, VARCHAR and UUID ``string``, JSON and VARIANT ``arrow.json``, BLOB ``binary``, DATE ``date32``, TIME
``time64``, TIMESTAMP in its own unit without a zone, TIMESTAMP WITH TIME ZONE ``timestamp[us, UTC]``, LIST, ARRAY,
STRUCT and MAP as such, JSON inside of them included. What Arrow would lose or garble arrives as DuckDB's text: ENUM,
BIT, BIGNUM, UHUGEINT, INTERVAL, UNION, GEOMETRY and TIME WITH TIME ZONE; inside of another type these and VARIANT are
refused. 'infinity' arrives as its unit's outermost count.

Memory: a result streams, ``memory_limit_mib`` bounds what the query holds, the rest spills. Measured with 192 MiB, two
threads and batches of 10,000 rows, as growth of the process's memory: scan of 2M rows x 10 columns 86 MiB; three tables
of 1-3M rows joined, grouped to 1M rows with an ordered ARRAY_AGG, 206 MiB and 185 MiB on disk (128 MiB do not suffice).
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import duckdb
import pyarrow as pa

from shared.columns import column
from shared.errors import ModelInvalid, SyncError
from shared.providers.duckdb import DuckDbConfig
from shared.run import Position
from shared.sql import Query
from worker.warehouses.base import Label
from worker.warehouses.duckdb.errors import query_failed
from worker.warehouses.duckdb.files import RootedSql, root_files
from worker.warehouses.duckdb.instance import Instance, acquire, release, resolve
from worker.warehouses.duckdb.kinds import arrow_type, replacement, word
from worker.warehouses.watch import Watch

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_INTERRUPT_EVERY_S: Final = 0.05


class DuckDbWarehouse:
    """One connection's DuckDB; every query has a cursor of its own."""

    dialect: Final = "duckdb"

    def __init__(
        self,
        connection_id: str,
        config: DuckDbConfig,
        *,
        folders: tuple[Path, ...],
        query_timeout_s: float,
        label: Label,
    ) -> None:
        """Open, or join whoever has the same file open in this process.

        Args:
            connection_id: Named in errors of opening.
            config: What was declared.
            folders: The only folders that connections may read.
            query_timeout_s: How long one query may take, from its start to its last row.
            label: For whom; named in errors of queries.

        Raises:
            DeclarationInvalid: the connection leads out of ``folders``.
            WarehouseUnreachable: a file or folder does not exist or cannot be read.
            WarehouseBusy: another process writes to the database.
        """
        self._instance = acquire(connection_id, resolve(connection_id, config, folders))
        self._query_timeout_s = query_timeout_s
        self._label = label
        self._is_open = True

    def session(self) -> Mapping[str, str]:
        """Say which files are read."""
        config = self._instance.config
        read = {"database": config.database, "folder": config.folder}
        return {name: str(path) for name, path in read.items() if path is not None}

    def describe(self, query: Query) -> pa.Schema:
        """Give the schema of a query's result; nothing runs, whatever the query is."""
        with self._run(query) as run:
            return run.schema

    def clock(self) -> datetime:
        """Give this machine's time, as DuckDB tells it."""
        with self._run(Query("SELECT epoch_us(now()) AS now_us")) as run:
            (batch,) = run
        return _EPOCH + timedelta(microseconds=batch.column("now_us")[0].as_py())

    def scanned_bytes(self, query: Query) -> int | None:  # noqa: ARG002 - nothing here is billed
        """DuckDB bills nobody."""
        return None

    @contextmanager
    def stream(self, query: Query, *, batch_rows: int, position: Position | None = None) -> Iterator["_Run"]:  # noqa: ARG002 - it tells none
        """Give a query's rows as they come; it starts with the first step of the iteration."""
        with self._run(query, batch_rows=batch_rows) as run:
            yield run

    def close(self) -> None:
        """Give the instance back."""
        if self._is_open:
            self._is_open = False
            release(self._instance)

    @contextmanager
    def _run(self, query: Query, *, batch_rows: int = 1) -> Iterator["_Run"]:
        run = _Run(self._instance, query, batch_rows=batch_rows, timeout_s=self._query_timeout_s, label=self._label)
        try:
            run.bind()
            yield run
        finally:
            run.close()


class _Run:
    """One query on a cursor of its own, from binding to its last row; also a ``RecordStream``.

    DuckDB forgets an interruption that arrives just before it starts to execute, hence the short interval.
    """

    start: Position | None = None
    position: Position | None = None

    def __init__(self, instance: Instance, query: Query, *, batch_rows: int, timeout_s: float, label: Label) -> None:
        self._memory_limit_mib = instance.config.memory_limit_mib
        self._query = query
        self._batch_rows = batch_rows
        self._label = label
        self._cursor = instance.root.cursor()
        self._rooted = RootedSql(query.text)
        self._roots_files = instance.config.folder is not None
        self._reader: Any = None
        self._watch = Watch(
            self._cursor.interrupt, label=label, timeout_s=timeout_s, interrupt_every_s=_INTERRUPT_EVERY_S
        )

    @property
    def schema(self) -> pa.Schema:
        """The schema of every batch."""
        return self._schema

    def bind(self) -> None:
        """Have DuckDB resolve every name and type of the query, and run nothing."""
        with self._translated():
            if self._roots_files:
                self._rooted = root_files(self._cursor, self._query.text)
            statements = self._cursor.extract_statements(self._rooted.text)
            if len(statements) != 1 or statements[0].type != duckdb.StatementType.SELECT:
                raise ModelInvalid(f"{self._label}: DuckDB finds more or other than one SELECT in the data model's SQL")
            relation = self._cursor.sql(
                self._rooted.text, params={name: bound.value for name, bound in self._query.parameters.items()} or None
            )
            self._relation = self._without_loss(relation)
            with self._relation.limit(0).to_arrow_reader(1) as nothing:
                self._schema = pa.schema(
                    column(field.name, arrow_type(field.type, kind), word(kind))
                    for field, kind in zip(nothing.schema, relation.types, strict=True)
                )

    def __iter__(self) -> Iterator[pa.RecordBatch]:
        """Start the query and give its rows."""
        with self._translated():
            self._reader = self._relation.to_arrow_reader(self._batch_rows)
        while (batch := self._next()) is not None:
            yield batch
            del batch

    def cancel(self) -> None:
        """Interrupt the query, now or when it starts."""
        self._watch.cancel()

    def close(self) -> None:
        """End the query, read to its end or not."""
        self._watch.close()
        if self._reader is not None:
            self._reader.close()
        self._cursor.close()

    def _next(self) -> pa.RecordBatch | None:
        with self._translated():
            try:
                batch = self._reader.read_next_batch()
            except StopIteration:
                return None
            # DuckDB has no word for JSON in Arrow; the cast copies nothing.
            columns = [
                values if values.type == field.type else values.cast(field.type)
                for values, field in zip(batch.columns, self._schema, strict=True)
            ]
            return pa.RecordBatch.from_arrays(columns, schema=self._schema)

    def _without_loss(self, relation: duckdb.DuckDBPyRelation) -> duckdb.DuckDBPyRelation:
        columns = zip(relation.columns, relation.types, strict=True)
        casts = list(filter(None, (replacement(name, kind, label=self._label) for name, kind in columns)))
        return relation.project(f"* REPLACE ({', '.join(casts)})") if casts else relation

    @contextmanager
    def _translated(self) -> Iterator[None]:
        self._watch.raise_if_stopped()
        try:
            yield
        except (duckdb.Error, pa.ArrowException, OSError) as error:
            self._watch.raise_if_stopped()
            # Without its cause: the driver's sentence may quote a row's values, and tracebacks end in logs.
            raise self._failure(error) from None

    def _failure(self, error: Exception) -> SyncError:
        return query_failed(
            error,
            label=self._label,
            query=self._query,
            rooted=self._rooted,
            memory_limit_mib=self._memory_limit_mib,
        )
