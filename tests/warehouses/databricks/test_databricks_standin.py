"""Databricks's own client against Spark: types, the guide's query, sign-in, labels and cancelling."""

import re
import threading
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager
from datetime import UTC, date, datetime, timedelta
from datetime import time as time_of_day
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest

from shared.catalog import Connection, IteratorType
from shared.columns import JSON, warehouse_type
from shared.errors import CredentialsRefused, ModelInvalid, WarehouseBusy, WarehouseUnreachable
from shared.run import Window
from shared.settings import Settings
from shared.sql import Iterator as IteratorColumn
from shared.sql import Query, columns_query, windowed
from tests.standins.databricks import CLIENT_ID, DatabricksStandin
from tests.standins.starting import Standins
from worker.warehouses.base import Label, Warehouse
from worker.warehouses.registry import open_warehouse

PRINCIPAL = {
    "access_token": None,
    "client_id": CLIENT_ID,
    "client_secret": "env:WAREHOUSE_SYNC_SECRET_DATABRICKS_CLIENT",
}
EVERY_TYPE = {
    # SQL: (the warehouse's word, Arrow, value)
    "CAST(-128 AS TINYINT)": ("tinyint", pa.int8(), -128),
    "CAST(-32768 AS SMALLINT)": ("smallint", pa.int16(), -32768),
    "-2147483648": ("int", pa.int32(), -(2**31)),
    "9223372036854775807L": ("bigint", pa.int64(), 2**63 - 1),
    "CAST(1.5 AS FLOAT)": ("float", pa.float32(), 1.5),
    "1e300D": ("double", pa.float64(), 1e300),
    "CAST('12345678901234567890123456789.123456789' AS DECIMAL(38, 9))": (
        "decimal(38,9)",
        pa.decimal128(38, 9),
        Decimal("12345678901234567890123456789.123456789"),
    ),
    "true": ("boolean", pa.bool_(), True),
    "'Zoë'": ("string", pa.string(), "Zoë"),
    "X'00FF'": ("binary", pa.binary(), b"\x00\xff"),
    "DATE'0001-01-01'": ("date", pa.date32(), date(1, 1, 1)),
    "TIMESTAMP'2026-03-01 01:02:03.000004+01:00'": (
        "timestamp",
        pa.timestamp("us", "UTC"),
        datetime(2026, 3, 1, 0, 2, 3, 4, UTC),
    ),
    "TIMESTAMP_NTZ'2026-03-29 02:30:00'": (
        "timestamp_ntz",
        pa.timestamp("us"),
        datetime(2026, 3, 29, 2, 30),  # noqa: DTZ001 - zone-less
    ),
    "TIME'23:59:59.999999'": ("time(6)", pa.time64("us"), time_of_day(23, 59, 59, 999_999)),
    "INTERVAL '1-2' YEAR TO MONTH": ("interval year to month", pa.string(), "1-2"),
    "INTERVAL '1 02:03:04' DAY TO SECOND": ("interval day to second", pa.string(), "1 02:03:04.000000000"),
    "ARRAY('a', NULL)": ("array<string>", pa.list_(pa.string()), ["a", None]),
    "ARRAY(ARRAY(1), ARRAY())": ("array<array<int>>", pa.list_(pa.list_(pa.int32())), [[1], []]),
    "MAP('a', CAST(1.25 AS DECIMAL(10, 2)))": (
        "map<string,decimal(10,2)>",
        pa.map_(pa.string(), pa.decimal128(10, 2)),
        [("a", Decimal("1.25"))],
    ),
    "NAMED_STRUCT('id', 1L, 'born', DATE'2026-03-01', 'tags', ARRAY('x'))": (
        "struct<id:bigint,born:date,tags:array<string>>",
        pa.struct([("id", pa.int64()), ("born", pa.date32()), ("tags", pa.list_(pa.string()))]),
        {"id": 1, "born": date(2026, 3, 1), "tags": ["x"]},
    ),
    "PARSE_JSON('{\"a\": [1, null]}')": ("variant", JSON, '{"a":[1,null]}'),
    "NULL": ("void", pa.null(), None),
}


@pytest.fixture
def standin(standins: Standins, monkeypatch: pytest.MonkeyPatch) -> DatabricksStandin:
    found: Any = standins["databricks"]
    for name, value in found.variables().items():
        monkeypatch.setenv(name, value)
    return found  # type: ignore[no-any-return]


@pytest.fixture
def warehouse(standin: DatabricksStandin) -> Iterator[Warehouse]:
    with opened(standin.connection()) as found:
        yield found


def opened(connection: Connection) -> AbstractContextManager[Warehouse]:
    return open_warehouse(connection, Settings(query_timeout_s=60), label=Label("run 7", pipeline_id="users"))


def rows(warehouse: Warehouse, model: str) -> list[dict[str, Any]]:
    query = windowed(model, dialect="databricks", iterator=None, window=Window())
    with warehouse.stream(query, batch_rows=1000) as stream:
        return [row for batch in stream for row in batch.to_pylist()]


def test_every_type_of_spark_arrives_as_announced(warehouse: Warehouse) -> None:
    model = "SELECT " + ",\n  ".join(f"{text} AS c{number}" for number, text in enumerate(EVERY_TYPE))
    schema = warehouse.describe(columns_query(model, "databricks"))
    (row,) = rows(warehouse, model)
    for number, (word, arrow_type, value) in enumerate(EVERY_TYPE.values()):
        field = schema.field(f"c{number}")
        assert (warehouse_type(field), field.type, row[field.name]) == (word, arrow_type, value)


def test_the_guides_query_gives_favourites_as_a_list(standin: DatabricksStandin, warehouse: Warehouse) -> None:
    day = datetime(2026, 3, 1, tzinfo=UTC)
    standin.load("attr", pa.table({"date_updated": [day, day], "customer_id": [1, 2], "firstname": ["Ann", "Bob"]}))
    standin.load("calc", pa.table({"propensity_to_buy": [0.5, 0.25], "customer_id": [1, 2]}))
    standin.load("favs", pa.table({"value": ["tea", "cake", "nuts"], "customer_id": [1, 1, 2]}))
    model = """
SELECT
    a.date_updated,
    a.customer_id,
    a.firstname AS `$firstname`,
    c.propensity_to_buy AS propensity_to_buy,
    SORT_ARRAY(COLLECT_LIST(f.value)) AS favorite_categories
FROM default.attr a
JOIN default.calc c ON a.customer_id = c.customer_id
JOIN default.favs f ON a.customer_id = f.customer_id
GROUP BY a.date_updated, a.customer_id, a.firstname, c.propensity_to_buy
"""
    iterator = IteratorColumn("date_updated", IteratorType.TIMESTAMP_TZ, warehouse_type="timestamp")
    window = Window(day, day + timedelta(days=1))
    with warehouse.stream(
        windowed(model, dialect="databricks", iterator=iterator, window=window), batch_rows=10
    ) as stream:
        found = sorted((row for batch in stream for row in batch.to_pylist()), key=lambda row: row["customer_id"])
    assert [(row["$firstname"], row["favorite_categories"]) for row in found] == [
        ("Ann", ["cake", "tea"]),
        ("Bob", ["nuts"]),
    ]


def test_names_are_found_in_any_case(standin: DatabricksStandin, warehouse: Warehouse) -> None:
    standin.load("people", pa.table({"CustomerId": [1]}))
    assert rows(warehouse, "SELECT customerid FROM PEOPLE") == [{"customerid": 1}]


def test_a_session_is_in_utc_and_in_the_declared_schema(warehouse: Warehouse) -> None:
    (row,) = rows(warehouse, "SELECT current_timezone() AS zone, CAST(TIMESTAMP'2026-03-01 23:30:00Z' AS DATE) AS day")
    assert row == {"zone": "UTC", "day": date(2026, 3, 1)}
    assert warehouse.session()["schema"] == "default"


def test_a_schema_that_is_not_there_is_named(standin: DatabricksStandin) -> None:
    with (
        pytest.raises(WarehouseUnreachable, match="no_such_schema"),
        opened(standin.connection(schema="no_such_schema")),
    ):
        pass


def test_a_wrong_token_is_refused(standin: DatabricksStandin, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WAREHOUSE_SYNC_SECRET_DATABRICKS_TOKEN", "wrong")
    with (
        pytest.raises(CredentialsRefused, match="access_token"),
        opened(standin.connection()),
    ):
        pass


def test_a_service_principal_signs_in_and_a_wrong_secret_does_not(
    standin: DatabricksStandin, monkeypatch: pytest.MonkeyPatch
) -> None:
    with opened(standin.connection(**PRINCIPAL)) as warehouse:
        assert rows(warehouse, "SELECT 1 AS id") == [{"id": 1}]
    monkeypatch.setenv("WAREHOUSE_SYNC_SECRET_DATABRICKS_CLIENT", "wrong")
    with (
        pytest.raises(CredentialsRefused, match=CLIENT_ID),
        opened(standin.connection(**PRINCIPAL)),
    ):
        pass


def test_the_server_is_told_for_whom_a_session_is(standin: DatabricksStandin, warehouse: Warehouse) -> None:
    rows(warehouse, "SELECT 1 AS id")
    for session in standin.sessions()[-2:]:
        assert re.search(r"product=warehouse-sync; run=7; pipeline=users", session["user_agent"])
        assert session["configuration"]["QUERY_TAGS"] == "product:warehouse-sync,run:7,pipeline:users"


@pytest.mark.parametrize("model", ["DROP TABLE people", "SET x = 1", "SELECT 1 AS id; SELECT 2 AS id"])
def test_what_is_not_one_select_is_refused_by_the_warehouse(warehouse: Warehouse, model: str) -> None:
    with pytest.raises(ModelInvalid):
        warehouse.describe(Query(f"SELECT * FROM (\n{model}\n) AS data_model", lines_before=1))


def test_a_query_that_is_cancelled_while_it_is_fetched_ends_in_spark(
    standin: DatabricksStandin, warehouse: Warehouse
) -> None:
    query = windowed(standin.numbers(500_000_000), dialect="databricks", iterator=None, window=Window())
    with warehouse.stream(query, batch_rows=1000) as stream:
        for number, _ in enumerate(stream):
            if number == 3:
                break
        threading.Thread(target=stream.cancel).start()
        with pytest.raises(WarehouseBusy, match="cancelled"):
            list(stream)
    deadline = time.monotonic() + 20
    while standin.running_queries():
        assert time.monotonic() < deadline
        time.sleep(0.1)
