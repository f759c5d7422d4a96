"""Snowflake: a session per opening, a query by its id, its rows in parts.

Queries are submitted without waiting; their state is asked for until they have run, so that a slow one holds no
request open. ``columns`` says what becomes of Snowflake's types.

Memory: two parts of a result, the one that is read and the one after it, each up to some tens of MB; measured as
growth of the process's memory 60 to 80 MiB with parts of 9 MB, however many, and 190 MiB with parts of 45 MB.
"""

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from typing import Any, Final

import pyarrow as pa
from snowflake.connector.constants import QueryStatus
from snowflake.connector.errors import Error

from shared.errors import WarehouseBusy
from shared.providers.snowflake import SnowflakeConfig
from shared.run import Position
from shared.sql import Query
from worker.warehouses.base import Label
from worker.warehouses.conform import conform
from worker.warehouses.snowflake.binding import bind
from worker.warehouses.snowflake.columns import schema_of
from worker.warehouses.snowflake.errors import query_failed
from worker.warehouses.snowflake.result import Result
from worker.warehouses.snowflake.signin import sign_in
from worker.warehouses.snowflake.wire import announced
from worker.warehouses.watch import Watch

_FIRST_PAUSE_S: Final = 0.05
_LONGEST_PAUSE_S: Final = 1.0
_INTERRUPT_EVERY_S: Final = 1.0
_NOW: Final = Query("SELECT CURRENT_TIMESTAMP() AS now")


class SnowflakeWarehouse:
    """One session of a connection's Snowflake; every query has a cursor of its own."""

    dialect: Final = "snowflake"

    def __init__(
        self,
        connection_id: str,
        config: SnowflakeConfig,
        *,
        resolve: Callable[[str], str],
        query_timeout_s: float,
        label: Label,
    ) -> None:
        """Sign in.

        Args:
            connection_id: Named in errors of signing in.
            config: What was declared.
            resolve: Gives the secret that a reference leads to.
            query_timeout_s: How long one query may take, from its start to its last row.
            label: For whom; named in errors of queries, and the session's query tag.

        Raises:
            SecretUnavailable: a secret reference leads nowhere.
            CredentialsRefused: Snowflake does not take the password or key.
            RightsMissing: the user does not have the role.
            WarehouseUnreachable: there is no such account, database or compute warehouse.
            WarehouseBusy: Snowflake cannot be reached now.
        """
        self._connection = sign_in(connection_id, config, resolve=resolve, query_timeout_s=query_timeout_s, label=label)
        self._query_timeout_s = query_timeout_s
        self._label = label

    def session(self) -> Mapping[str, str]:
        """Say what the session uses, as Snowflake told at the sign-in."""
        connection = self._connection
        used = {
            "account": connection.account,
            "user": connection.user,
            "role": connection.role,
            "warehouse": connection.warehouse,
            "database": connection.database,
            "schema": connection.schema,
        }
        return {name: str(value) for name, value in used.items() if value}

    def describe(self, query: Query) -> pa.Schema:
        """Give the schema of a query's result; Snowflake only compiles it."""
        with self._translated(query):
            described = self._connection.cursor().describe(query.text, _bound(query))
            return schema_of(described or (), self._label)

    def clock(self) -> datetime:
        """Give Snowflake's time."""
        with self.stream(_NOW, batch_rows=1) as run:
            (batch,) = run
        # Nanoseconds have no datetime.
        now: datetime = batch.column(0).cast(pa.timestamp("us", "UTC"), safe=False)[0].as_py()
        return now.astimezone(UTC)

    def scanned_bytes(self, query: Query) -> int | None:  # noqa: ARG002 - Snowflake bills the time that it takes
        """Snowflake does not bill by bytes."""
        return None

    @contextmanager
    def stream(self, query: Query, *, batch_rows: int, position: Position | None = None) -> Iterator["_Run"]:
        """Submit a query, or find the one that ``position`` tells of, and give its rows."""
        with self._translated(query):
            if position is None:
                row, schema = 0, self.describe(query)
                submitted = self._connection.cursor().execute_async(query.text, _bound(query))
                result = Result(self._connection, str(submitted["queryId"]), self._label)
            else:
                result = Result(self._connection, str(position["query_id"]), self._label)
                row, schema = int(position["row"]), schema_of(result.description(), self._label)
        timeout_s = self._query_timeout_s
        run = _Run(self._connection, query, result, schema, row=row, batch_rows=batch_rows, timeout_s=timeout_s)
        try:
            yield run
        finally:
            run.close()

    def close(self) -> None:
        """Sign out."""
        with suppress(Error):
            self._connection.close(retry=False)

    @contextmanager
    def _translated(self, query: Query) -> Iterator[None]:
        try:
            yield
        except Error as error:
            # Without its cause: the client's sentence may quote a row's values, and tracebacks end in logs.
            raise query_failed(error, label=self._label, query=query, timeout_s=self._query_timeout_s) from None


class _Run:
    """One query that was submitted, until its last row is read; also a ``RecordStream``."""

    start: Position | None = None
    position: Position | None = None

    def __init__(
        self,
        connection: Any,
        query: Query,
        result: Result,
        schema: pa.Schema,
        *,
        row: int,
        batch_rows: int,
        timeout_s: float,
    ) -> None:
        self._connection = connection
        self._query = query
        self._result = result
        self._schema = schema
        self._row = row
        self._batch_rows = batch_rows
        self._timeout_s = timeout_s
        self._label = result.label
        self._has_run = False
        self._interrupted = threading.Event()
        self._watch = Watch(
            self._interrupt, label=self._label, timeout_s=timeout_s, interrupt_every_s=_INTERRUPT_EVERY_S
        )

    @property
    def schema(self) -> pa.Schema:
        """The schema of every batch."""
        return self._schema

    def __iter__(self) -> Iterator[pa.RecordBatch]:
        """Wait for the query to have run, and give its rows."""
        start = self._position()
        with self._translated():
            self._wait()
        rows = self._result.batches(self._row, go_on=self._watch.raise_if_stopped)
        while (sent := self._next(rows)) is not None:
            for batch in conform(
                announced(sent, self._schema, self._label),
                self._schema,
                batch_rows=self._batch_rows,
                label=self._label,
            ):
                self._watch.raise_if_stopped()
                self._row += len(batch)
                self.start, self.position = start, self._position()
                yield batch
        self.start = start

    def cancel(self) -> None:
        """End the query, in Snowflake too."""
        self._watch.cancel()

    def close(self) -> None:
        """Stop reading; a query that still runs is ended."""
        self._watch.close()
        with suppress(Error):
            self._abort()

    def _position(self) -> Position:
        return {"query_id": self._result.query_id, "row": self._row}

    def _wait(self) -> None:
        pause_s = _FIRST_PAUSE_S
        while (status := self._connection.get_query_status(self._result.query_id)) is not QueryStatus.SUCCESS:
            if self._connection.is_an_error(status):
                self._has_run = True
                self._raise_why(status)
            self._interrupted.wait(pause_s)
            self._watch.raise_if_stopped()
            pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)
        self._has_run = True

    def _raise_why(self, status: QueryStatus) -> None:
        self._watch.raise_if_stopped()
        self._connection.cursor().query_result(self._result.query_id)  # Raises what ended the query.
        raise WarehouseBusy(f"{self._label}: Snowflake ended the query ({status.name}) and does not say why")

    def _next(self, rows: Iterator[pa.RecordBatch]) -> pa.RecordBatch | None:
        with self._translated():
            return next(rows, None)

    def _interrupt(self) -> None:
        self._interrupted.set()
        self._abort()

    def _abort(self) -> None:
        if not self._has_run:
            self._connection.cursor().abort_query(self._result.query_id)

    @contextmanager
    def _translated(self) -> Iterator[None]:
        self._watch.raise_if_stopped()
        try:
            yield
        except (Error, pa.ArrowException) as error:
            self._watch.raise_if_stopped()
            if isinstance(error, pa.ArrowException):
                raise WarehouseBusy(f"{self._label}: a part of the result arrived garbled; it is read again") from None
            # Without its cause: the client's sentence may quote a row's values, and tracebacks end in logs.
            raise query_failed(error, label=self._label, query=self._query, timeout_s=self._timeout_s) from None


def _bound(query: Query) -> list[tuple[str, str]] | None:
    return [bind(bound) for bound in query.parameters.values()] or None
