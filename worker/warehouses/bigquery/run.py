"""One query from its dry run to its last row, or the rest of a result; also a ``RecordStream``."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from threading import Event
from typing import Final

import pyarrow as pa
import requests
from google.api_core.exceptions import Conflict, GoogleAPICallError, GoogleAPIError
from google.auth.exceptions import GoogleAuthError
from google.cloud import bigquery

from shared.errors import ModelInvalid, RightsMissing, SyncError
from shared.run import Position
from shared.telemetry import log
from worker.warehouses.bigquery.errors import (
    Asked,
    missing_right,
    query_failed,
    query_refused,
    reading_failed,
    waiting_failed,
)
from worker.warehouses.bigquery.jobs import job_config, new_job_id
from worker.warehouses.bigquery.rows import REQUEST_S, RETRY, ListedRows, Rows, StoredRows
from worker.warehouses.bigquery.schema import schema_of
from worker.warehouses.bigquery.signin import Clients
from worker.warehouses.conform import conform
from worker.warehouses.watch import Watch

_FAILURES: Final = (GoogleAPIError, GoogleAuthError, requests.RequestException, pa.ArrowException, OSError)
"""What Google's clients and Arrow raise for what happens outside of this process."""
_INTERRUPT_EVERY_S: Final = 1.0
_CANCEL_S: Final = 5.0
_STORAGE_RIGHT: Final = "bigquery.readsessions.create"
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.05, 2.0

_log = log(__name__)


class Run:
    """One query and its job; nothing runs before it is iterated."""

    def __init__(self, clients: Clients, asked: Asked, *, batch_rows: int, is_small: bool = False) -> None:
        self.start: Position | None = None
        self.position: Position | None = None
        self._clients = clients
        self._asked = asked
        self._batch_rows = batch_rows
        self._is_small = is_small
        self._fields: list[bigquery.SchemaField] = []
        self._schema: pa.Schema = None
        self._found: tuple[Position, bigquery.Table] | None = None
        self._job_id = new_job_id()
        self._is_running = False
        self._rows: Rows | None = None
        self._stopping = Event()
        self._watch = Watch(
            self._interrupt, label=asked.label, timeout_s=asked.timeout_s, interrupt_every_s=_INTERRUPT_EVERY_S
        )

    @property
    def schema(self) -> pa.Schema:
        """The schema of every batch."""
        return self._schema

    def look(self) -> None:
        """Ask for the result's columns; nothing runs."""
        self._fix_schema(dry_run(self._clients.rest, self._asked).schema)

    def find(self, position: Position) -> None:
        """Look up a result that is there already.

        Raises:
            ResultExpired: it is gone.
        """
        self._job_id = str(position["job_id"])
        with self._translated(partial(reading_failed, job_id=self._job_id)):
            job = self._clients.rest.get_job(self._job_id, retry=RETRY, timeout=REQUEST_S)
            table = self._clients.rest.get_table(job.destination, retry=RETRY, timeout=REQUEST_S)
        self._found = position, table
        self._fix_schema(table.schema)

    def __iter__(self) -> Iterator[pa.RecordBatch]:
        """Have the job run to its end, or take the result that was found, and give its rows."""
        offset, is_read = 0, False
        if self._found is None:
            rows = self._rows = self._opened(self._finished())
        else:
            position, table = self._found
            offset = int(position["offset"])
            # What lies behind the last row of a stream must not be asked for.
            is_read = offset >= table.num_rows
            rows = self._rows = self._continued(position, table)
        self.start = self.position = self._at(rows, offset)
        messages = iter(()) if is_read else rows.read(offset)
        while (message := self._next(messages)) is not None:
            for batch in conform(message, self._schema, batch_rows=self._batch_rows, label=self._asked.label):
                self._watch.raise_if_stopped()
                offset += batch.num_rows
                self.position = self._at(rows, offset)
                yield batch
        self._watch.raise_if_stopped()

    def cancel(self) -> None:
        """Cancel the job and the reading, now or when they start."""
        self._watch.cancel()

    def close(self) -> None:
        """End the query, read to its end or not."""
        self._watch.close()
        if self._rows is not None:
            self._rows.cancel()
        if self._is_running:
            with suppress(Exception):  # Whatever made the reader leave matters more.
                self._cancel_job()

    def _fix_schema(self, fields: list[bigquery.SchemaField]) -> None:
        self._fields = fields
        self._schema = schema_of(fields, self._asked.label)

    def _finished(self) -> bigquery.TableReference:
        with self._translated(query_refused):
            self._is_running = True
            job = self._started()
        pause_s = _FIRST_PAUSE_S
        while job.state != "DONE":
            self._stopping.wait(pause_s)
            pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)
            with self._translated(partial(waiting_failed, job_id=self._job_id)):
                job.reload(retry=RETRY, timeout=REQUEST_S)
        self._is_running = False
        self._watch.raise_if_stopped()
        if job.error_result is not None:
            raise query_failed(job.error_result, self._asked, job_id=self._job_id)
        if job.destination is None:
            raise _not_a_select(self._asked)
        return job.destination

    def _started(self) -> bigquery.QueryJob:
        asked, client = self._asked, self._clients.rest
        config = job_config(asked.query, asked.config, label=asked.label, timeout_s=asked.timeout_s)
        try:
            return client.query(
                asked.query.text, config, job_id=self._job_id, retry=RETRY, timeout=REQUEST_S, job_retry=None
            )
        except Conflict:
            # An earlier request did arrive, and its answer was lost: the name is nobody else's.
            return client.get_job(self._job_id, retry=RETRY, timeout=REQUEST_S)

    def _opened(self, table: bigquery.TableReference) -> Rows:
        with self._translated(partial(reading_failed, job_id=self._job_id)):
            if not self._is_small:
                try:
                    return StoredRows.of(self._clients.storage, table, project=self._asked.config.project_id)
                except GoogleAPICallError as error:
                    reason = missing_right(error)
                    if reason is None:
                        raise
                    _log.warning(
                        "bigquery_storage_refused",
                        reason=reason,
                        consequence="the result is listed, which is many times slower",
                        cure=f"grant {_STORAGE_RIGHT}",
                    )
            return self._listed(bigquery.Table(table, self._fields))

    def _continued(self, position: Position, table: bigquery.Table) -> Rows:
        if "stream" in position:
            return StoredRows(self._clients.storage, str(position["stream"]))
        return self._listed(table)

    def _listed(self, table: bigquery.Table) -> Rows:
        asked = self._asked
        for field in self._schema:
            if "interval" in str(field.type):
                raise RightsMissing(
                    f"{asked.label}: column {field.name!r} is INTERVAL, which only the Storage API can send; grant "
                    f"{_STORAGE_RIGHT} to {asked.config.service_account_id}, or convert it in the data model"
                )
        return ListedRows(self._clients.rest, table, page_rows=self._batch_rows)

    def _at(self, rows: Rows, offset: int) -> Position:
        return {"job_id": self._job_id, **rows.place, "offset": offset}

    def _next(self, messages: Iterator[pa.RecordBatch]) -> pa.RecordBatch | None:
        with self._translated(partial(reading_failed, job_id=self._job_id)):
            return next(messages, None)

    def _interrupt(self) -> None:
        self._stopping.set()
        if self._rows is not None:
            self._rows.cancel()
        if self._is_running:
            self._cancel_job()

    def _cancel_job(self) -> None:
        self._clients.rest.cancel_job(self._job_id, retry=None, timeout=_CANCEL_S)

    @contextmanager
    def _translated(self, translate: Callable[[Exception, Asked], SyncError]) -> Iterator[None]:
        self._watch.raise_if_stopped()
        try:
            yield
        except _FAILURES as error:
            self._watch.raise_if_stopped()
            # Without its cause: Google's exceptions repeat requests and may quote a row's values.
            raise translate(error, self._asked) from None


def dry_run(client: bigquery.Client, asked: Asked) -> bigquery.QueryJob:
    """Have BigQuery look at a query.

    Raises:
        SyncError: it refuses the query, or is not there.
    """
    config = job_config(asked.query, asked.config, label=asked.label, timeout_s=asked.timeout_s)
    config.dry_run = True
    try:
        looked = client.query(
            asked.query.text, config, job_id=new_job_id(), retry=RETRY, timeout=REQUEST_S, job_retry=None
        )
    except _FAILURES as error:
        raise query_refused(error, asked) from None
    if looked.statement_type not in (None, "SELECT"):
        raise _not_a_select(asked)
    return looked


def _not_a_select(asked: Asked) -> ModelInvalid:
    return ModelInvalid(f"{asked.label}: BigQuery finds more or other than one SELECT in the data model's SQL")
