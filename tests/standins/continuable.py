"""A warehouse whose results can be continued: DuckDB, read in a fixed order, with the number of rows as position.

Its results expire when it is told so.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Final
from uuid import uuid4

import pyarrow as pa

from shared.errors import ResultExpired
from shared.run import Position
from shared.sql import Query
from tests.standins.duckdb import DuckDbStandin
from tests.standins.standin import Differences
from worker.warehouses.base import RecordStream, Warehouse

DIFFERENCES: Final = Differences(keeps_mib=192)  # Pages of its file, up to the connection's memory limit.


class ContinuableStandin(DuckDbStandin):
    """The suite opens what is under test through ``Continuable``."""

    is_continuable = True


@dataclass
class History:
    """What happened to the results of some warehouses.

    ``opened`` is where every stream began. What was told of an ``expired`` result cannot be continued any more.
    """

    opened: list[Position | None] = field(default_factory=list)
    expired: set[str | int] = field(default_factory=set)


class Continuable:
    """Any warehouse, with positions; only for queries that always give their rows in one order."""

    def __init__(self, warehouse: Warehouse, history: History | None = None) -> None:
        self._warehouse = warehouse
        self._history = history or History()

    @property
    def dialect(self) -> str:
        return self._warehouse.dialect

    def session(self) -> Mapping[str, str]:
        return self._warehouse.session()

    def describe(self, query: Query) -> pa.Schema:
        return self._warehouse.describe(query)

    def clock(self) -> datetime:
        return self._warehouse.clock()

    def scanned_bytes(self, query: Query) -> int | None:
        return self._warehouse.scanned_bytes(query)

    @contextmanager
    def stream(
        self, query: Query, *, batch_rows: int, position: Position | None = None
    ) -> Iterator["ContinuableStream"]:
        self._history.opened.append(position)
        if position is not None and position["result"] in self._history.expired:
            raise ResultExpired("the result is gone")
        with self._warehouse.stream(query, batch_rows=batch_rows) as rows:
            yield ContinuableStream(rows, position or {"result": uuid4().hex, "row": 0})

    def close(self) -> None:
        self._warehouse.close()


class ContinuableStream:
    """Leaves out the rows before its position."""

    start: Position | None = None
    position: Position | None = None

    def __init__(self, rows: RecordStream, begins: Position) -> None:
        self._rows = rows
        self._begins = begins

    @property
    def schema(self) -> pa.Schema:
        return self._rows.schema

    def __iter__(self) -> Iterator[pa.RecordBatch]:
        row, first = 0, int(self._begins["row"])
        for batch in self._rows:
            self.start = self._begins
            rest = batch.slice(max(0, first - row))
            row += batch.num_rows
            if rest.num_rows:
                self.position = {**self._begins, "row": row}
                yield rest
        self.start = self._begins

    def cancel(self) -> None:
        self._rows.cancel()


@contextmanager
def serving(home: Path) -> Iterator[ContinuableStandin]:
    yield ContinuableStandin(home)
