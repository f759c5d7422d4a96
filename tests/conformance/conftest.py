from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Protocol

import duckdb
import pyarrow as pa
import pytest

from shared.catalog import Connection, DuckDbConfig
from shared.settings import Settings
from worker.warehouses.base import Warehouse
from worker.warehouses.registry import open_warehouse


class Subject(Protocol):
    """A warehouse under test: how to fill and open it, and the SQL that differs between dialects."""

    endless: str
    """A query that runs for very long before its first row."""

    def load(self, name: str, table: pa.Table) -> None:
        """Make a table; only before the warehouse is opened."""

    def numbers(self, count: int) -> str:
        """Give a query with one integer column ``id``, from 0 to ``count`` - 1."""

    def failing(self, *, at: int, count: int, secret: str) -> str:
        """Give a query over that many rows that cannot cast ``secret`` to an integer at one, on its second line."""

    def opened(self, *, query_timeout_s: float = 60) -> AbstractContextManager[Warehouse]:
        """Open it as workers do."""


class DuckDbSubject:
    endless = "SELECT COUNT(*) AS id FROM range(1000000000000) t(i) WHERE hash(i) = 3"

    def __init__(self, folder: Path) -> None:
        self._database = folder / "subject.duckdb"
        duckdb.connect(self._database).close()

    def load(self, name: str, table: pa.Table) -> None:
        with duckdb.connect(self._database) as connection:
            connection.register("loaded", table)
            connection.sql("FROM loaded").create(name)

    def numbers(self, count: int) -> str:
        return f"SELECT i AS id FROM range({count}) t(i)"

    def failing(self, *, at: int, count: int, secret: str) -> str:
        text = f"CASE WHEN i = {at} THEN '{secret}' ELSE '1' END"
        return f"SELECT i AS id,\n  CAST({text} AS INTEGER) AS n\nFROM range({count}) t(i)"

    @contextmanager
    def opened(self, *, query_timeout_s: float = 60) -> Iterator[Warehouse]:
        config = DuckDbConfig(database=self._database)
        connection = Connection(id="subject", name="Subject", service_provider="duckdb", config=config)
        limits = Settings(duckdb_folders=(self._database.parent,), query_timeout_s=query_timeout_s)
        with open_warehouse(connection, limits, label="run 7") as warehouse:
            yield warehouse


@pytest.fixture(params=[DuckDbSubject])
def subject(request: pytest.FixtureRequest, tmp_path: Path) -> Subject:
    made: Subject = request.param(tmp_path)
    return made
