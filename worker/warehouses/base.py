"""What every warehouse can do, and promises: the boundary that no driver's exception or quirk crosses.

A driver's error becomes one of ``shared.errors`` here and nowhere else. Its sentence keeps the category, the place and
the warehouse's own words as far as those speak of the query; words that may quote a row's values are dropped, because
sentences end in logs and on screens.
"""

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Protocol

import pyarrow as pa

from shared.run import Position
from shared.sql import Query

PRODUCT: Final = "warehouse-sync"
"""How every session introduces itself to its warehouse."""


@dataclass(frozen=True, slots=True)
class Label:
    """For whom a warehouse works: told in errors, and in the warehouse's own history of sessions and queries.

    ``text`` names a run or a probe, e.g. ``run 4f0...``.
    """

    text: str
    pipeline_id: str | None = None

    def __str__(self) -> str:
        """Give what errors begin with."""
        return self.text

    @property
    def tags(self) -> Mapping[str, str]:
        """What the warehouse's history should show: product, pipeline and run."""
        kind, _, name = self.text.partition(" ")
        tags = {"product": PRODUCT, kind: name}
        return tags if self.pipeline_id is None else tags | {"pipeline": self.pipeline_id}


class RecordStream(Protocol):
    """The rows of one query, read once and in one thread; only ``cancel`` may come from another."""

    @property
    def schema(self) -> pa.Schema:
        """What every batch looks like, known before the first; without dictionary-encoded columns."""

    @property
    def start(self) -> Position | None:
        """Where this stream began, once it has given its first batch or ended: opened there, it gives the same rows.

        ``None`` before, and where the warehouse cannot read a result twice.
        """

    @property
    def position(self) -> Position | None:
        """Where what follows the batch given last begins; ``None`` where the result cannot be continued there."""

    def __iter__(self) -> Iterator[pa.RecordBatch]:
        """Give batch after batch, each at most as long as was asked for.

        Raises:
            ModelInvalid: the query fails on some row, or needs more memory than it may have.
            QueryTimedOut: the query ran longer than its limit.
            ResultExpired: the warehouse no longer has the result that was to be continued.
            WarehouseBusy: the warehouse broke off, or ``cancel`` was called; a repetition continues or starts over.
        """

    def cancel(self) -> None:
        """End the query, in the warehouse too: the reader's next step raises ``WarehouseBusy``.

        Repeating, or too late, is fine.
        """


class Warehouse(Protocol):
    """An open connection; queries may run at the same time in several threads."""

    @property
    def dialect(self) -> str:
        """The name by which ``shared.sql`` knows this warehouse's SQL."""

    def session(self) -> Mapping[str, str]:
        """Say as whom and where the warehouse runs queries, e.g. user, role, database; for people to check.

        Raises:
            WarehouseBusy: the warehouse is throttled, asleep or gone.
        """

    def describe(self, query: Query) -> pa.Schema:
        """Give the schema of a query's result without reading a row; fields know the warehouse's type.

        Raises:
            ModelInvalid: the warehouse refuses the query, or a column's type cannot be read.
            RightsMissing: it refuses to show a table.
            QueryTimedOut: it ran longer than its limit.
        """

    def clock(self) -> datetime:
        """Give the warehouse's own time, in UTC."""

    def scanned_bytes(self, query: Query) -> int | None:
        """Say how many bytes a query would read and be billed for, where the warehouse tells before running it.

        Raises:
            ModelInvalid: the warehouse refuses the query.
        """

    def stream(
        self, query: Query, *, batch_rows: int, position: Position | None = None
    ) -> AbstractContextManager[RecordStream]:
        """Run a query and give its rows as they come; leaving the block ends the query, read to its end or not.

        Entering the block does not wait for the query. With ``position``, which a stream of the same query told,
        nothing is run: the rest of that result is read.

        Raises:
            ModelInvalid: the warehouse refuses the query, or it fails on some row.
            RightsMissing: it refuses to show a table.
            QueryTimedOut: the query ran longer than its limit, from here to its last row.
            WarehouseBusy: the warehouse is throttled, asleep or gone.
        """

    def close(self) -> None:
        """Give everything back; repeating it is fine."""
