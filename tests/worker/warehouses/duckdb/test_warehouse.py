import subprocess
import sys
import tempfile
import threading
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from shared.catalog import Connection, ServiceProvider
from shared.columns import JSON, warehouse_type
from shared.errors import DeclarationInvalid, ModelInvalid, WarehouseBusy, WarehouseUnreachable
from shared.providers.duckdb import DuckDbConfig
from shared.run import Window
from shared.settings import Settings
from shared.sql import Query, columns_query, windowed
from worker.warehouses.base import Label, Warehouse
from worker.warehouses.registry import open_warehouse


@pytest.fixture(autouse=True)
def spill(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "tmp"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


@pytest.fixture
def database(tmp_path: Path) -> Path:
    path = tmp_path / "warehouse" / "mp.duckdb"
    path.parent.mkdir()
    with duckdb.connect(path) as connection:
        connection.execute("CREATE SCHEMA demo")
        connection.execute("CREATE TABLE demo.attr AS SELECT i AS id, 'user ' || i AS name FROM range(1000) t(i)")
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "files"
    (path / "sub").mkdir(parents=True)
    pq.write_table(pa.table({"id": [1, 2]}), path / "users.parquet")
    (path / "sub" / "users.csv").write_text("id,email\n3,c@example.com\n")
    (tmp_path / "secret.csv").write_text("id\n666\n")
    (path / "link.csv").symlink_to(tmp_path / "secret.csv")
    return path


@contextmanager
def opened(*folders: Path, **config: Any) -> Iterator[Warehouse]:
    connection = Connection(
        id="duck", name="Duck", service_provider=ServiceProvider.DUCKDB, config=DuckDbConfig(**config)
    )
    with open_warehouse(connection, Settings(duckdb_folders=folders), label=Label("run 7")) as warehouse:
        yield warehouse


def rows(warehouse: Warehouse, model: str) -> list[dict[str, object]]:
    query = windowed(model, dialect="duckdb", iterator=None, window=Window())
    with warehouse.stream(query, batch_rows=1000) as stream:
        return [row for batch in stream for row in batch.to_pylist()]


def test_tables_are_read_by_their_schema_and_by_the_files_name(database: Path) -> None:
    with opened(database.parent, database=database) as warehouse:
        for name in ("demo.attr", "mp.demo.attr"):
            assert rows(warehouse, f"SELECT COUNT(*) AS n FROM {name}") == [{"n": 1000}]


def test_files_are_read_by_paths_relative_to_the_folder(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A file of the same name in the worker's own folder is not meant.
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    pq.write_table(pa.table({"id": [777]}), elsewhere / "users.parquet")
    monkeypatch.chdir(elsewhere)
    with opened(tmp_path, folder=folder) as warehouse:
        assert rows(warehouse, "SELECT * FROM 'users.parquet'") == [{"id": 1}, {"id": 2}]
        assert rows(warehouse, "SELECT id FROM read_csv('sub/*.csv', header = true)") == [{"id": 3}]
        assert rows(warehouse, f"SELECT id FROM '{folder}/users.parquet'") == [{"id": 1}, {"id": 2}]
        assert warehouse.describe(columns_query("FROM 'users.parquet'", "duckdb")).names == ["id"]


def test_a_database_and_a_folder_are_read_together(database: Path, folder: Path, tmp_path: Path) -> None:
    with opened(tmp_path, database=database, folder=folder) as warehouse:
        model = "SELECT name FROM demo.attr JOIN 'users.parquet' USING (id) ORDER BY ALL"
        assert rows(warehouse, model) == [{"name": "user 1"}, {"name": "user 2"}]


@pytest.mark.parametrize(
    "model",
    [
        "SELECT * FROM '{outside}/secret.csv'",
        "SELECT * FROM '../secret.csv'",
        "SELECT * FROM read_csv('sub/../../secret.csv')",
        "SELECT * FROM 'link.csv'",
        "SELECT * FROM read_text('/etc/passwd')",
        "SELECT * FROM read_csv('/proc/self/environ')",
        "SELECT * FROM glob('/*')",
        "SELECT * FROM 'http://127.0.0.1:9/users.parquet'",
        "SELECT * FROM 's3://bucket/users.parquet'",
        "SELECT * FROM query('SELECT * FROM ''{outside}/secret.csv''')",
        "SELECT * FROM read_duckdb('{outside}/warehouse/mp.duckdb', table_name = 'attr')",
    ],
)
def test_sql_reads_nothing_outside_of_its_folder(folder: Path, database: Path, tmp_path: Path, model: str) -> None:
    assert database.exists()
    with opened(folder, folder=folder) as warehouse, pytest.raises((ModelInvalid, WarehouseUnreachable)) as refused:
        rows(warehouse, model.format(outside=tmp_path))
    assert "666" not in str(refused.value)


@pytest.mark.parametrize(
    "text",
    [
        "COPY (SELECT 1) TO '{folder}/new.csv'",
        "SELECT 1 AS id; COPY (SELECT 1) TO '{folder}/new.csv'",
        "CREATE TABLE new AS SELECT 1",
        "ATTACH '{folder}/new.duckdb'",
        "SET memory_limit = '10GB'",
        "INSTALL httpfs",
        "PRAGMA version",
        "SELECT 1 AS id) AS x; COPY (SELECT 1) TO '{folder}/new.csv'; SELECT * FROM (SELECT 1",
    ],
)
def test_nothing_but_one_select_is_run_whoever_asks(folder: Path, text: str) -> None:
    before = sorted(folder.rglob("*"))
    with opened(folder, folder=folder) as warehouse:
        for query in (Query(text.format(folder=folder)), columns_query(text.format(folder=folder), "duckdb")):
            with pytest.raises(ModelInvalid):
                warehouse.describe(query)
    assert sorted(folder.rglob("*")) == before


def test_variables_of_this_program_are_no_tables(database: Path) -> None:
    connections = pa.table({"id": [666]})
    assert len(connections)
    with opened(database.parent, database=database) as warehouse, pytest.raises(ModelInvalid, match="does not exist"):
        rows(warehouse, "SELECT * FROM connections")


def test_a_connection_out_of_the_allowed_folders_is_refused_naming_the_setting(
    database: Path, folder: Path, tmp_path: Path
) -> None:
    (folder / "link.duckdb").symlink_to(database)
    for config in (
        {"database": database},
        {"database": folder / ".." / "warehouse" / "mp.duckdb"},
        {"database": folder / "link.duckdb"},
        {"folder": tmp_path},
    ):
        with pytest.raises(DeclarationInvalid, match="WAREHOUSE_SYNC_DUCKDB_FOLDERS"), opened(folder, **config):
            pass
    with pytest.raises(DeclarationInvalid, match="none"), opened(folder=folder):
        pass


def test_what_is_not_there_or_no_database_is_unreachable(folder: Path) -> None:
    for config in (
        {"database": folder / "none.duckdb"},
        {"database": folder / "users.parquet"},
        {"folder": folder / "none"},
    ):
        with pytest.raises(WarehouseUnreachable, match="'duck'"), opened(folder, **config):
            pass
    with opened(folder, folder=folder) as warehouse, pytest.raises(WarehouseUnreachable, match=r'"none\.csv"'):
        rows(warehouse, "SELECT * FROM 'none.csv'")


WRITER = "import duckdb, sys\nwith duckdb.connect(sys.argv[1]):\n  print('writing', flush=True)\n  sys.stdin.read()"
TRIES_TO_WRITE = (
    "import duckdb, sys\ntry: duckdb.connect(sys.argv[1]).close()\nexcept duckdb.IOException: print('locked')"
)


def test_a_writer_makes_the_warehouse_busy_until_it_is_done(database: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", WRITER, str(database)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as writer:
        assert writer.stdout is not None
        writer.stdout.readline()
        with pytest.raises(WarehouseBusy, match="open for writing"), opened(database.parent, database=database):
            pass
        writer.communicate(b"")
    with opened(database.parent, database=database) as warehouse:
        assert len(rows(warehouse, "SELECT * FROM demo.attr")) == 1000


def test_a_writer_stays_out_until_the_last_reader_of_this_process_is_done(database: Path) -> None:
    def write() -> str:
        return subprocess.run(
            [sys.executable, "-c", TRIES_TO_WRITE, str(database)], capture_output=True, text=True, check=True
        ).stdout

    with opened(database.parent, database=database) as last:
        with opened(database.parent, database=database) as first:
            assert len(rows(first, "SELECT * FROM demo.attr")) == 1000
        assert write() == "locked\n"
        assert len(rows(last, "SELECT * FROM demo.attr")) == 1000
    assert write() == ""


def test_two_connections_with_other_limits_do_not_share_a_file(database: Path, folder: Path, tmp_path: Path) -> None:
    with (
        opened(tmp_path, database=database),
        pytest.raises(WarehouseBusy, match="Declare both alike"),
        opened(tmp_path, database=database, folder=folder),
    ):
        pass


def test_many_threads_open_read_and_close_one_file(database: Path) -> None:
    counts: list[int] = []

    def read() -> None:
        for _ in range(5):
            with opened(database.parent, database=database) as warehouse:
                counts.append(len(rows(warehouse, "SELECT * FROM demo.attr")))

    threads = [threading.Thread(target=read) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert counts == [1000] * 20


def test_times_are_in_utc_whatever_the_machine_says(database: Path) -> None:
    with opened(database.parent, database=database) as warehouse:
        model = "SELECT CAST(TIMESTAMP '2026-07-01 12:00:00' AS TIMESTAMPTZ) AS at, current_setting('TimeZone') AS zone"
        (row,) = rows(warehouse, model)
    assert row["zone"] == "UTC"
    assert str(row["at"]) == "2026-07-01 12:00:00+00:00"


@pytest.mark.parametrize(
    ("expression", "text"),
    [
        ("'gold'::ENUM('gold', 'tin')", "gold"),
        ("'101'::BIT", "101"),
        ("TIME WITH TIME ZONE '10:00:00+02'", "10:00:00+02"),
        ("340282366920938463463374607431768211455::UHUGEINT", "340282366920938463463374607431768211455"),
        ("INTERVAL 1 MONTH", "1 month"),
        ("union_value(a := 5)", "5"),
    ],
)
def test_what_arrow_would_garble_arrives_as_text(database: Path, expression: str, text: str) -> None:
    with opened(database.parent, database=database) as warehouse:
        model = f'SELECT {expression} AS "a ""b", 1 AS n'
        assert rows(warehouse, model) == [{'a "b': text, "n": 1}]
        assert warehouse.describe(columns_query(model, "duckdb")).types == [pa.string(), pa.int32()]


def test_what_arrow_would_garble_inside_of_another_type_is_refused(database: Path) -> None:
    with opened(database.parent, database=database) as warehouse:
        for model in ("SELECT ['a'::ENUM('a')] AS deep", "SELECT {'x': [1::BIT]} AS deep"):
            with pytest.raises(ModelInvalid, match=r"'deep'.*cast it"):
                rows(warehouse, model)


def test_sums_and_uuids_and_json_arrive_exactly(database: Path) -> None:
    with opened(database.parent, database=database) as warehouse:
        model = (
            "SELECT SUM(id) AS total, '6ba7b810-9dad-11d1-80b4-00c04fd430c8'::UUID AS uuid, "
            "'{\"a\": 1}'::JSON AS json, {'a': [1, NULL]} AS struct, MAP {'k': 1} AS map FROM demo.attr"
        )
        (row,) = rows(warehouse, model)
    assert row.pop("total") == 499500
    assert row == {
        "uuid": "6ba7b810-9dad-11d1-80b4-00c04fd430c8",
        "json": '{"a": 1}',
        "struct": {"a": [1, None]},
        "map": [("k", 1)],
    }


SEMISTRUCTURED = """
    SELECT '{"a": 1.50}'::JSON AS json, ['"x"'::JSON, NULL] AS list, ['1'::JSON]::JSON[1] AS array,
        {'j': 'null'::JSON, 'n': 1} AS struct, MAP {'k': '[1]'::JSON} AS map, [1.50, 2]::VARIANT AS variant,
        '{"a": 1}'::VARCHAR AS text, ROW(1, 'true'::JSON) AS tuple, [['1'::JSON]] AS lists
"""


def test_json_arrives_as_json_inside_of_other_types_too(database: Path) -> None:
    with opened(database.parent, database=database) as warehouse:
        schema = warehouse.describe(columns_query(SEMISTRUCTURED, "duckdb"))
        assert rows(warehouse, SEMISTRUCTURED) == [
            {
                "json": '{"a": 1.50}',
                "list": ['"x"', None],
                "array": ["1"],
                "struct": {"j": "null", "n": 1},
                "map": [("k", "[1]")],
                "variant": "[1.50,2.00]",
                "text": '{"a": 1}',
                "tuple": {"element1": 1, "element2": "true"},
                "lists": [["1"]],
            }
        ]
    assert {field.name: field.type for field in schema} == {
        "json": JSON,
        "list": pa.list_(JSON),
        "array": pa.list_(JSON, 1),
        "struct": pa.struct([("j", JSON), ("n", pa.int32())]),
        "map": pa.map_(pa.string(), JSON),
        "variant": JSON,
        "text": pa.string(),
        "tuple": pa.struct([("element1", pa.int32()), ("element2", JSON)]),
        "lists": pa.list_(pa.list_(JSON)),
    }


def test_columns_know_duckdbs_words_for_their_types_in_every_schema(database: Path) -> None:
    model = (
        "SELECT id, name, now() AS at, 1.5::DECIMAL(18, 3) AS d, 'a'::ENUM('a', 'b') AS e, '[]'::JSON AS j, NULL AS n, "
        "[1::UTINYINT] AS l FROM demo.attr"
    )
    words = [
        "BIGINT",
        "VARCHAR",
        "TIMESTAMP WITH TIME ZONE",
        "DECIMAL(18,3)",
        "ENUM",
        "JSON",
        "NULL",
        "UTINYINT[]",
    ]
    query = windowed(model, dialect="duckdb", iterator=None, window=Window())
    with opened(database.parent, database=database) as warehouse, warehouse.stream(query, batch_rows=400) as stream:
        assert [warehouse_type(field) for field in warehouse.describe(columns_query(model, "duckdb"))] == words
        assert [warehouse_type(field) for field in stream.schema] == words
        batches = list(stream)
    assert len(batches) == 3
    assert all(batch.schema.equals(stream.schema, check_metadata=True) for batch in batches)


def test_no_columns_is_no_model(database: Path) -> None:
    with opened(database.parent, database=database) as warehouse, pytest.raises(ModelInvalid):
        rows(warehouse, "SELECT * EXCLUDE (id, name) FROM demo.attr")


def test_places_are_told_in_the_authors_own_lines(folder: Path) -> None:
    with opened(folder, folder=folder) as warehouse:
        with pytest.raises(ModelInvalid, match="line 2, column 35"):
            rows(warehouse, "SELECT 'é', *\nFROM 'users.parquet' JOIN 'x.csv' WHERE")
        with pytest.raises(ModelInvalid, match="line 2, column 28"):
            rows(warehouse, "SELECT 'é', *\nFROM 'users.parquet' WHERE CAST('x' || id AS INTEGER) = 1")
        with pytest.raises(ModelInvalid, match="at its end"):
            rows(warehouse, "SELECT (1")


@pytest.mark.parametrize(
    "model",
    [
        "SELECT CAST(name AS INTEGER) AS n FROM demo.attr",
        "SELECT error('no ' || name) AS n FROM demo.attr",
        "SELECT CAST(name AS JSON) AS n FROM demo.attr",
        "SELECT CAST(name AS DATE) AS n FROM demo.attr",
        "SELECT strptime(name, '%Y') AS n FROM demo.attr",
        "SELECT (SELECT id FROM demo.attr WHERE name <> a.name) AS n FROM demo.attr a",
        "SELECT regexp_matches('a', name || '(') AS n FROM demo.attr",
    ],
)
def test_no_error_quotes_a_row(database: Path, model: str) -> None:
    with opened(database.parent, database=database) as warehouse, pytest.raises(ModelInvalid) as failed:
        rows(warehouse, model)
    assert "user " not in "".join(traceback.format_exception(failed.value)).replace("'user '", "")


def test_a_query_that_does_not_fit_says_what_to_raise(database: Path, spill: Path) -> None:
    with opened(database.parent, database=database, memory_limit_mib=64) as warehouse:
        model = "SELECT list(i || 'some text to fill the memory with') AS all_of_it FROM range(5000000) t(i)"
        with pytest.raises(ModelInvalid, match=r"64 MiB.*memory_limit_mib"):
            rows(warehouse, model)
    assert list(spill.iterdir()) == []
