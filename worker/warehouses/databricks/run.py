"""One query in a session of its own: described, executed, fetched page by page, cancelled through another session."""

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, Final

import pyarrow as pa

from shared.run import Position
from shared.sql import Query
from worker.warehouses.base import Label
from worker.warehouses.conform import conform
from worker.warehouses.databricks.errors import CLIENT_ERRORS, query_failed
from worker.warehouses.databricks.parameters import bound_parameters
from worker.warehouses.databricks.schema import require_fields, schema_of
from worker.warehouses.databricks.sessions import Sessions
from worker.warehouses.watch import Watch

_PAGE_ROWS: Final = 100_000
_PAGE_BYTES: Final = 16 * 2**20
_INTERRUPT_EVERY_S: Final = 0.5


class Run:
    """A query from describing it to its last row; also a ``RecordStream``."""

    start: Position | None = None
    position: Position | None = None

    def __init__(
        self,
        sessions: Sessions,
        query: Query,
        *,
        cancel: Callable[[Any], None],
        timeout_s: float,
        batch_rows: int,
        label: Label,
    ) -> None:
        """Begin to count the time; nothing is sent yet.

        Args:
            sessions: opens the query's own.
            query: what is asked.
            cancel: ends the statement with an id in the warehouse, while this session waits for its answer.
            timeout_s: how long it may take, from here to ``close``.
            batch_rows: how many rows a batch may have.
            label: for whom.
        """
        self._sessions = sessions
        self._query = query
        self._parameters = bound_parameters(query.parameters)
        self._cancel = cancel
        self._batch_rows = batch_rows
        self._label = label
        self._session: Any = None
        self._cursor: Any = None
        self._watch = Watch(self._interrupt, label=label, timeout_s=timeout_s, interrupt_every_s=_INTERRUPT_EVERY_S)

    @property
    def schema(self) -> pa.Schema:
        """The schema of every batch."""
        return self._schema

    def describe(self) -> None:
        """Have Databricks resolve every name and type of the query, and run nothing."""
        self._watch.raise_if_stopped()
        self._session = self._sessions.open()
        with self._translated():
            self._cursor = self._session.cursor(arraysize=_PAGE_ROWS, buffer_size_bytes=_PAGE_BYTES)
            self._cursor.execute(_description_of(self._query))
            names, types, *_ = self._cursor.fetchall_arrow().columns
        self._schema = schema_of(zip(names.to_pylist(), types.to_pylist(), strict=True), self._label)

    def __iter__(self) -> Iterator[pa.RecordBatch]:
        """Start the query and give its rows."""
        with self._translated():
            self._cursor.execute(self._query.text, self._parameters)
        while len(page := self._fetched()):
            require_fields(page.schema, self._schema, self._label)
            yield from conform(
                _with_void(page, self._schema), self._schema, batch_rows=self._batch_rows, label=self._label
            )
            del page
        self._watch.raise_if_stopped()  # A query that was ended may look like one that gave its last row.

    def cancel(self) -> None:
        """Interrupt the query, now or when it starts."""
        self._watch.cancel()

    def close(self) -> None:
        """End the query and its session, read to its end or not."""
        self._watch.close()
        if self._cursor is not None:
            with suppress(*CLIENT_ERRORS):
                self._cursor.close()
        if self._session is not None:
            with suppress(*CLIENT_ERRORS):
                self._session.close()

    def _fetched(self) -> pa.Table:
        with self._translated():
            return self._cursor.fetchmany_arrow(self._batch_rows)

    def _interrupt(self) -> None:
        cursor = self._cursor
        if cursor is not None and cursor.active_command_id is not None:
            self._cancel(cursor.active_command_id)

    @contextmanager
    def _translated(self) -> Iterator[None]:
        self._watch.raise_if_stopped()
        try:
            yield
        except CLIENT_ERRORS as error:
            self._watch.raise_if_stopped()
            # Without its cause: the server's sentence may quote a row's values, and tracebacks end in logs.
            raise query_failed(error, label=self._label, query=self._query, host=self._sessions.host) from None


def _description_of(query: Query) -> str:
    """Give the statement that describes a query, on the query's own first line, so that places in errors keep theirs.

    Its bounds are NULL: that Databricks takes parameters here is written nowhere, and no column depends on them. They
    stand behind the model, on the last line.
    """
    model, end, condition = query.text.rpartition("\n")
    for name in query.parameters:
        condition = re.sub(rf":{name}\b", "NULL", condition)
    return f"DESCRIBE QUERY {model}{end}{condition}"


def _with_void(page: pa.Table, schema: pa.Schema) -> pa.Table:
    """Replace columns that can only hold NULL, in whatever type they arrived."""
    for number, field in enumerate(schema):
        if pa.types.is_null(field.type) and not pa.types.is_null(page.schema.field(number).type):
            page = page.set_column(number, field, pa.nulls(len(page)))
    return page
