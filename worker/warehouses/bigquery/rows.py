"""The rows of a finished job: its result is a table, which two interfaces of BigQuery can read.

The Storage Read API sends Arrow. One stream is asked for: only inside of one stream is the order of rows fixed, so that
an offset means the same rows whenever it is read again. A stream can be read for 6 hours. A new session over the same
table could give its rows in another order, so a result whose session is over is expired.

Listing sends JSON and needs no further right. A row's number in the table is fixed, too. It is many times slower: from
a server on the same machine 16,000 rows of ten columns a second, where the Storage API gave over a million.

Source: BigQuery Storage API reference, ``CreateReadSessionRequest``, ``ReadRowsRequest``, ``ReadSession.expire_time``.
"""

from collections.abc import Iterator, Mapping
from typing import Any, Final, Protocol

import pyarrow as pa
from google.api_core.retry import Retry
from google.cloud import bigquery
from google.cloud.bigquery_storage_v1 import BigQueryReadClient, types

RETRY: Final[Retry] = bigquery.DEFAULT_RETRY.with_timeout(20)
"""How long a request is repeated: the client's own ten minutes would look like a query that runs."""
REQUEST_S: Final = 60.0
"""How long one request may take; looking at a query over thousands of tables takes some ten seconds."""


class Rows(Protocol):
    """A result that is read from some row on, to its end or to ``cancel``."""

    place: Mapping[str, str]
    """What a position says beside the job and the row's number."""

    def read(self, offset: int) -> Iterator[pa.RecordBatch]:
        """Give the rows from that number on."""

    def cancel(self) -> None:
        """End the reading, from another thread."""


class StoredRows:
    """Rows through the Storage Read API; ``stream`` is empty where the result is."""

    def __init__(self, client: BigQueryReadClient, stream: str) -> None:
        self.place: Mapping[str, str] = {"stream": stream}
        self._client = client
        self._stream = stream
        self._reading: Any = None

    @classmethod
    def of(cls, client: BigQueryReadClient, table: bigquery.TableReference, *, project: str) -> "StoredRows":
        """Open a session over a table; ``project`` pays for the reading."""
        options = types.ReadSession.TableReadOptions(
            arrow_serialization_options=types.ArrowSerializationOptions(
                buffer_compression=types.ArrowSerializationOptions.CompressionCodec.LZ4_FRAME
            )
        )
        session = client.create_read_session(
            parent=f"projects/{project}",
            read_session=types.ReadSession(
                table=f"projects/{table.project}/datasets/{table.dataset_id}/tables/{table.table_id}",
                data_format=types.DataFormat.ARROW,
                read_options=options,
            ),
            max_stream_count=1,
            retry=RETRY,
            timeout=REQUEST_S,
        )
        return cls(client, session.streams[0].name if session.streams else "")

    def read(self, offset: int) -> Iterator[pa.RecordBatch]:
        """Give the rows; the client connects again where a connection ends."""
        if not self._stream:
            return
        reading = self._reading = self._client.read_rows(self._stream, offset, retry=RETRY, timeout=None)
        schema = None
        for message in reading:
            if schema is None:
                schema = pa.ipc.read_schema(pa.py_buffer(message.arrow_schema.serialized_schema))
            yield pa.ipc.read_record_batch(pa.py_buffer(message.arrow_record_batch.serialized_record_batch), schema)

    def cancel(self) -> None:
        """End the call, if it has begun: whoever cancels asks again until the reader is done."""
        if self._reading is not None:
            self._reading.cancel()


class ListedRows:
    """Rows through ``tabledata.list``, page by page."""

    def __init__(self, client: bigquery.Client, table: bigquery.Table, *, page_rows: int) -> None:
        self.place: Mapping[str, str] = {}
        self._client = client
        self._table = table
        self._page_rows = page_rows
        self._is_cancelled = False

    def read(self, offset: int) -> Iterator[pa.RecordBatch]:
        """Give the rows; each page is one request."""
        listed = self._client.list_rows(
            self._table, start_index=offset, page_size=self._page_rows, retry=RETRY, timeout=REQUEST_S
        )
        for batch in listed.to_arrow_iterable():
            if self._is_cancelled:
                return
            yield batch

    def cancel(self) -> None:
        """End after the page that is being read."""
        self._is_cancelled = True
