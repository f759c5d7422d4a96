"""One query on a session of its own, from its description to its last row; also a ``RecordStream``."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final

import pyarrow as pa

from shared.errors import ModelInvalid
from shared.run import Position
from shared.sql import Query
from worker.warehouses.base import Label
from worker.warehouses.conform import conform
from worker.warehouses.redshift.bounds import as_parameter, written_out
from worker.warehouses.redshift.columns import Column, column_of
from worker.warehouses.redshift.errors import CLIENT_ERRORS, is_answer, is_fetch_too_large, query_failed
from worker.warehouses.redshift.session import Session
from worker.warehouses.watch import Watch

_DESCRIBE: Final = "SELECT * FROM (\n"
_DECLARE: Final = "DECLARE warehouse_sync CURSOR FOR "
_FETCH_ROWS_OF_ONE_NODE: Final = 1000
"""The most rows that a cluster of one node gives at once.

Source: Amazon Redshift, Database Developer Guide, "FETCH" and "DECLARE".
"""
_INTERRUPT_EVERY_S: Final = 0.5
_PATIENCE_S: Final = 10
"""How long the warehouse may take to cancel a query before the connection is cut."""


class Run:
    """One query, one session, one transaction, one cursor."""

    start: Position | None = None
    position: Position | None = None

    def __init__(
        self,
        session: Session,
        query: Query,
        *,
        batch_rows: int,
        cancel_in_warehouse: Callable[[int], None],
        timeout_s: float,
        label: Label,
    ) -> None:
        """Begin to count the time; ``cancel_in_warehouse`` cancels what the session of a process id is doing."""
        self._session = session
        self._query = query
        self._values = [as_parameter(bound) for bound in query.parameters.values()]
        self._integers = next((bound.warehouse_type for bound in query.parameters.values()), "")
        self._batch_rows = batch_rows
        self._fetch_rows = batch_rows
        self._label = label
        self._cancel_in_warehouse = cancel_in_warehouse
        self._forced_at: float | None = None
        self._has_begun = False
        self._has_failed = False
        self._is_reading = False
        self._columns: list[Column] = []
        session.answer_within(None)
        self._watch = Watch(self._interrupt, label=label, timeout_s=timeout_s, interrupt_every_s=_INTERRUPT_EVERY_S)

    @property
    def schema(self) -> pa.Schema:
        """The schema of every batch."""
        return pa.schema([column.field for column in self._columns])

    @property
    def is_clean(self) -> bool:
        """Whether the session is as it was before."""
        return not (self._has_begun or self._has_failed or self._watch.is_stopped)

    def describe(self) -> None:
        """Have Redshift resolve every name and type of the query, and ask for no row."""
        with self._translated(_DESCRIBE):
            self._ask(f"{_DESCRIBE}{self._query.text}\n) AS described LIMIT 0")
            described = self._session.described()
        if not described:
            raise ModelInvalid(f"{self._label}: the data model's SQL selects no column")
        self._columns = [column_of(column, label=self._label) for column in described]

    def __iter__(self) -> Iterator[pa.RecordBatch]:
        """Start the query and give its rows."""
        rows = self._first_rows()
        while rows:
            table = self._table(rows)
            rows = ()  # Not held while the reader works, or while the next are fetched.
            yield from conform(table, self.schema, batch_rows=self._batch_rows, label=self._label)
            del table
            rows = self._next_rows()
        self._watch.raise_if_stopped()  # A query that was ended may look like one that gave its last row.

    def cancel(self) -> None:
        """Cancel the query in Redshift, now or when it starts."""
        self._watch.cancel()

    def close(self) -> None:
        """Stop watching; what the query still does ends with its session."""
        self._watch.close()

    def _first_rows(self) -> tuple[list[Any], ...]:
        self._declare()
        with self._translated(_DECLARE):
            try:
                return self._fetched()
            except CLIENT_ERRORS as error:
                if not is_fetch_too_large(error):
                    raise
            self._fetch_rows = min(self._fetch_rows, _FETCH_ROWS_OF_ONE_NODE)
            self._session.execute("ROLLBACK")
        self._declare()
        return self._next_rows()

    def _declare(self) -> None:
        self._has_begun = True
        self._is_reading = False
        with self._translated(_DECLARE):
            self._session.execute("BEGIN READ ONLY")
            try:
                self._ask(f"{_DECLARE}{self._query.text}")
            except CLIENT_ERRORS as error:
                self._watch.raise_if_stopped()
                # The same query with the same parameters was described, so what is refused may be parameters here.
                if not (self._values and is_answer(error)):
                    raise
                self._session.execute("ROLLBACK")
                self._session.execute("BEGIN READ ONLY")
                self._session.execute(f"{_DECLARE}{written_out(self._query)}")

    def _next_rows(self) -> tuple[list[Any], ...]:
        with self._translated(_DECLARE):
            return self._fetched()

    def _fetched(self) -> tuple[list[Any], ...]:
        self._is_reading = True
        return self._session.rows(f"FETCH FORWARD {self._fetch_rows:d} FROM warehouse_sync")

    def _ask(self, statement: str) -> None:
        self._session.execute(statement, self._values, integers=self._integers)

    def _table(self, rows: tuple[list[Any], ...]) -> pa.Table:
        arrays = []
        for column, received in zip(self._columns, zip(*rows, strict=True), strict=True):
            try:
                arrays.append(column.to_arrow(received, column.field.type))
            except (pa.ArrowException, ValueError, LookupError, OverflowError):
                # Without its cause: it quotes the value.
                raise ModelInvalid(
                    f"{self._label}: column {column.field.name!r} holds a value that does not fit into "
                    f"{column.field.type}, the type that Redshift announced; cast the column in the data model"
                ) from None
        return pa.Table.from_arrays(arrays, names=self.schema.names)

    def _interrupt(self) -> None:
        began = time.monotonic()
        self._forced_at = self._forced_at or began + _PATIENCE_S
        try:
            if began < self._forced_at:
                self._cancel_in_warehouse(self._session.backend_pid)
                return
        except CLIENT_ERRORS:
            pass  # Nobody else gets in now.
        self._session.break_off()

    @contextmanager
    def _translated(self, prefix: str) -> Iterator[None]:
        self._watch.raise_if_stopped()
        try:
            yield
        except CLIENT_ERRORS as error:
            self._has_failed = True
            self._watch.raise_if_stopped()
            # Without its cause: the server's words may quote a row's values, and tracebacks end in logs.
            raise query_failed(
                error, label=self._label, query=self._query, prefix=prefix, is_reading=self._is_reading
            ) from None
