from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pyarrow as pa
import pytest

from shared.catalog import Connection, ServiceProvider
from shared.providers.duckdb import DuckDbConfig
from shared.run import ChunkId, RunId, Token, Window
from shared.settings import Settings
from shared.spool import Spool, SpooledFile
from shared.sql import Query, windowed
from tests.standins.continuable import Continuable
from worker.extract import extract
from worker.warehouses.base import Label, Warehouse
from worker.warehouses.registry import open_warehouse

RUN, TOKEN = RunId(uuid4()), Token(uuid4())


@pytest.fixture
def spool(tmp_path: Path) -> Spool:
    return Spool.open(str(tmp_path / "spool"))


@pytest.fixture
def warehouse(tmp_path: Path) -> Iterator[Warehouse]:
    connection = Connection(
        id="d", name="d", service_provider=ServiceProvider.DUCKDB, config=DuckDbConfig(folder=tmp_path)
    )
    with open_warehouse(connection, Settings(duckdb_folders=(tmp_path,)), label=Label("run 7")) as opened:
        yield opened


def numbers(count: int) -> Query:
    model = f"SELECT i AS id, 'user ' || i AS name FROM range({count}) t(i)"
    return windowed(model, dialect="duckdb", iterator=None, window=Window())


def write_to(spool: Spool, table: pa.Table) -> SpooledFile:
    return spool.write_chunk(table, run_id=RUN, slice_no=0, token=TOKEN, chunk_id=ChunkId(uuid4()))


def test_every_row_is_counted_spooled_and_told_as_it_comes(warehouse: Warehouse, spool: Spool) -> None:
    told: list[int] = []
    with warehouse.stream(numbers(25_000), batch_rows=4096) as stream:
        (extraction,) = extract(
            stream,
            max_rows=10_000,
            max_bytes=2**30,
            part_chunks=1,
            write=lambda table: write_to(spool, table),
            progress=told.append,
        )
    assert extraction.rows == 25_000
    assert [file.rows for file in extraction.files] == [10_000, 10_000, 5_000]
    spooled = [spool.read_chunk(file.path, file.checksum) for file in extraction.files]
    assert sorted(pa.concat_tables(spooled).column("id").to_pylist()) == list(range(25_000))
    assert told == sorted(told)
    assert told[-1] == 25_000
    assert len(told) >= 7


def test_no_rows_make_no_file(warehouse: Warehouse) -> None:
    def never(_: pa.Table) -> SpooledFile:
        raise AssertionError

    with warehouse.stream(numbers(0), batch_rows=10) as stream:
        (extraction,) = extract(stream, max_rows=10, max_bytes=10, part_chunks=1, write=never, progress=lambda _: None)
    assert (extraction.rows, extraction.files) == (0, ())


def test_rows_are_counted_apart_from_what_is_written(warehouse: Warehouse) -> None:
    def loses_a_row(table: pa.Table) -> SpooledFile:
        return SpooledFile("lost", table.num_rows - 1, 0, "")

    with warehouse.stream(numbers(100), batch_rows=10) as stream:
        (extraction,) = extract(
            stream, max_rows=1000, max_bytes=2**20, part_chunks=1, write=loses_a_row, progress=lambda _: None
        )
    assert extraction.rows == 100
    assert sum(file.rows for file in extraction.files) == 99


def test_progress_may_stop_the_extraction(warehouse: Warehouse, spool: Spool) -> None:
    class NoLongerOurs(Exception):
        pass

    def stop(rows: int) -> None:
        if rows > 50_000:
            raise NoLongerOurs

    with pytest.raises(NoLongerOurs), warehouse.stream(numbers(10**9), batch_rows=1000) as stream:
        list(
            extract(
                stream,
                max_rows=10_000,
                max_bytes=2**30,
                part_chunks=1,
                write=lambda table: write_to(spool, table),
                progress=stop,
            )
        )


def test_a_result_that_can_be_continued_is_read_in_parts(warehouse: Warehouse, spool: Spool) -> None:
    continuable = Continuable(warehouse)
    with continuable.stream(numbers(25_000), batch_rows=1500) as stream:
        parts = list(
            extract(
                stream,
                max_rows=2000,
                max_bytes=2**30,
                part_chunks=3,
                write=lambda table: write_to(spool, table),
                progress=lambda _: None,
            )
        )
    rests = [part.rest for part in parts]
    assert None not in rests[:-1]
    assert rests[-1] is None
    assert sum(part.rows for part in parts) == 25_000
    assert all(part.rows == sum(file.rows for file in part.files) for part in parts)
    # The third full chunk is found to be full by the batch after it, and what that batch brought makes a fourth.
    assert [len(part.files) for part in parts[:-1]] == [4] * (len(parts) - 1)
    spooled = [spool.read_chunk(file.path, file.checksum) for part in parts for file in part.files]
    assert pa.concat_tables(spooled).column("id").to_pylist() == list(range(25_000))


def test_nothing_is_read_ahead_of_the_part_that_is_taken(warehouse: Warehouse, spool: Spool) -> None:
    told: list[int] = []
    with Continuable(warehouse).stream(numbers(25_000), batch_rows=1000) as stream:
        parts = extract(
            stream,
            max_rows=1000,
            max_bytes=2**30,
            part_chunks=2,
            write=lambda table: write_to(spool, table),
            progress=told.append,
        )
        first = next(parts)
        assert told[-1] == first.rows < 25_000
