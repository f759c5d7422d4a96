"""The rows of a query that has run, by its id: listed in parts, downloaded one ahead, from any row on.

A result stays for a day; the addresses of its parts are valid for hours, hold a signature, and are never kept. When a
download fails, the parts are listed anew and reading goes on at the row where it stood.
"""

from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import Any, Final

import pyarrow as pa
from snowflake.connector.errors import Error

from shared.errors import WarehouseBusy
from worker.warehouses.base import Label

_LOOK_UP_EVERY_S: Final = 0.2


class Result:
    """One result; reading it twice from the same row gives the same rows."""

    def __init__(self, connection: Any, query_id: str, label: Label) -> None:
        """Name the result; nothing is asked yet."""
        self._connection = connection
        self.query_id = query_id
        self.label = label

    def description(self) -> Any:
        """Give the client's description of the columns."""
        return self._cursor().description

    def batches(self, row: int, *, go_on: Callable[[], None]) -> Iterator[pa.RecordBatch]:
        """Give all that follows the first ``row`` rows, as it is on the wire.

        Args:
            row: How many rows are left out.
            go_on: Called again and again while a download lasts; what it raises ends the reading.

        Raises:
            snowflake.connector.errors.Error: the result cannot be read, or no longer.
            WarehouseBusy: a part of it arrived incomplete.
        """
        failed_at = -1
        while True:
            try:
                for batch in self._listed(row, go_on):
                    row += len(batch)
                    yield batch
            except Error:
                if failed_at == row:
                    raise
                failed_at = row
            else:
                return

    def _listed(self, row: int, go_on: Callable[[], None]) -> Iterator[pa.RecordBatch]:
        parts = []
        for part in self._cursor().get_result_batches() or ():
            if row < part.rowcount:
                parts.append((part, row))
            row = max(0, row - part.rowcount)
        # Left without waiting: a download that nobody wants any more ends by its own time limit.
        downloader = ThreadPoolExecutor(1, thread_name_prefix=f"{self.label}: download")
        try:
            ahead = [downloader.submit(self._download, part) for part, _ in parts[:1]]
            for place, (_, skipped) in enumerate(parts):
                downloaded = _awaited(ahead.pop(), go_on)
                ahead += [downloader.submit(self._download, part) for part, _ in parts[place + 1 : place + 2]]
                yield from _after(downloaded, skipped)
        finally:
            downloader.shutdown(wait=False, cancel_futures=True)

    def _cursor(self) -> Any:
        cursor = self._connection.cursor().query_result(self.query_id)
        if cursor.description is None:
            raise WarehouseBusy(f"{self.label}: Snowflake does not have the query's result yet")
        return cursor

    def _download(self, part: Any) -> list[pa.RecordBatch]:
        # Not the public `to_arrow`, which converts with loss (see `wire`); this is what it would convert.
        pointer = part._fetch_arrow_stream_ptr(self._connection)  # noqa: SLF001 - see above
        with pa.RecordBatchReader._import_from_c(pointer) as reader:  # noqa: SLF001 - the way into Arrow for C streams
            batches = list(reader)
        if sum(len(batch) for batch in batches) != part.rowcount:
            raise WarehouseBusy(f"{self.label}: a part of the result arrived incomplete; it is read again")
        return batches


def _awaited(download: Future[list[pa.RecordBatch]], go_on: Callable[[], None]) -> list[pa.RecordBatch]:
    while not wait([download], _LOOK_UP_EVERY_S).done:
        go_on()
    return download.result()


def _after(batches: list[pa.RecordBatch], skipped: int) -> Iterator[pa.RecordBatch]:
    for batch in batches:
        if skipped < len(batch):
            yield batch.slice(skipped)
        skipped = max(0, skipped - len(batch))
