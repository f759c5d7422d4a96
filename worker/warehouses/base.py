"""What every warehouse can do, and promises: the boundary that no driver's exception or quirk crosses.

A driver's error becomes one of ``shared.errors`` here and nowhere else. Its sentence keeps the category, the place and
the warehouse's own words as far as those speak of the query; words that may quote a row's values are dropped, because
sentences end in logs and on screens.
"""

from collections.abc import Iterator
from contextlib import AbstractContextManager
from datetime import datetime
from typing import Protocol

import pyarrow as pa

from shared.sql import Query


class RecordStream(Protocol):
    """The rows of one query, read once and in one thread; only ``cancel`` may come from another."""

    @property
    def schema(self) -> pa.Schema:
        """What every batch looks like, known before the first; without dictionary-encoded columns."""

    def __iter__(self) -> Iterator[pa.RecordBatch]:
        """Give batch after batch, each at most as long as was asked for.

        Raises:
            ModelInvalid: the query fails on some row, or needs more memory than it may have.
            QueryTimedOut: the query ran longer than its limit.
            WarehouseBusy: the warehouse broke off, or ``cancel`` was called; a repetition starts over.
        """

    def cancel(self) -> None:
        """Interrupt the query: the reader's next step raises ``WarehouseBusy``. Repeating, or too late, is fine."""


class Warehouse(Protocol):
    """An open connection; queries may run at the same time in several threads."""

    @property
    def dialect(self) -> str:
        """The name by which ``shared.sql`` knows this warehouse's SQL."""

    def describe(self, query: Query) -> pa.Schema:
        """Give the schema of a query's result without reading a row.

        Raises:
            ModelInvalid: the warehouse refuses the query.
            QueryTimedOut: it ran longer than its limit.
        """

    def clock(self) -> datetime:
        """Give the warehouse's own time, in UTC."""

    def stream(self, query: Query, *, batch_rows: int) -> AbstractContextManager[RecordStream]:
        """Run a query and give its rows as they come; leaving the block ends the query, read to its end or not.

        Raises:
            ModelInvalid: the warehouse refuses the query, or it fails on some row.
            QueryTimedOut: the query ran longer than its limit, from here to its last row.
            WarehouseBusy: the warehouse is throttled, asleep or gone.
        """

    def close(self) -> None:
        """Give everything back; repeating it is fine."""
