"""DuckDB is its own stand-in."""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import duckdb
import pyarrow as pa

from shared.catalog import Connection, ServiceProvider
from shared.providers.duckdb import DuckDbConfig
from tests.standins.standin import Differences, Sizes

DIFFERENCES: Final = Differences(keeps_mib=192)  # Pages of its file, up to the connection's memory limit.


class DuckDbStandin:
    name = "duckdb"
    sizes = Sizes()
    endless = "SELECT COUNT(*) AS id FROM range(1000000000000) t(i) WHERE hash(i) = 3"
    is_continuable = False

    def __init__(self, folder: Path) -> None:
        self._database = folder / "subject.duckdb"
        duckdb.connect(self._database).close()

    def connection(self) -> Connection:
        config = DuckDbConfig(database=self._database)
        return Connection(id="subject", name="Subject", service_provider=ServiceProvider.DUCKDB, config=config)

    def variables(self) -> Mapping[str, str]:
        return {"WAREHOUSE_SYNC_DUCKDB_FOLDERS": json.dumps([str(self._database.parent)])}

    def load(self, name: str, table: pa.Table) -> None:
        with duckdb.connect(self._database) as connection:
            connection.register("loaded", table)
            connection.execute(f'CREATE OR REPLACE TABLE "{name}" AS FROM loaded')

    def numbers(self, count: int) -> str:
        return f"SELECT i AS id FROM range({count}) t(i)"

    def failing(self, *, at: int, count: int, secret: str) -> str:
        text = f"CASE WHEN i = {at} THEN '{secret}' ELSE '1' END"
        return f"SELECT i AS id,\n  CAST({text} AS INTEGER) AS n\nFROM range({count}) t(i)"

    def running_queries(self) -> int:
        return 0  # They run in the reader's own process.


@contextmanager
def serving(home: Path) -> Iterator[DuckDbStandin]:
    yield DuckDbStandin(home)
