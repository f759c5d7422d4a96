"""Every type of Databricks, as its server sends it and as it arrives."""

from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest

from shared.catalog import IteratorType
from shared.columns import JSON, warehouse_type
from shared.errors import ModelInvalid
from shared.run import Window
from shared.sql import Bound, Query, windowed
from shared.sql import Iterator as IteratorColumn
from tests.worker.warehouses.databricks.responder import Responder
from worker.warehouses.base import Label
from worker.warehouses.databricks.parameters import bound_parameters
from worker.warehouses.databricks.schema import schema_of

INSTANT = datetime(2026, 3, 1, 1, 2, 3, 4, UTC)
MATRIX = {
    # type: (as sent, as it arrives, a value)
    "boolean": (pa.bool_(), pa.bool_(), True),
    "tinyint": (pa.int8(), pa.int8(), -128),
    "smallint": (pa.int16(), pa.int16(), -32768),
    "int": (pa.int32(), pa.int32(), -(2**31)),
    "bigint": (pa.int64(), pa.int64(), 2**63 - 1),
    "float": (pa.float32(), pa.float32(), 1.5),
    "double": (pa.float64(), pa.float64(), 1e300),
    "decimal(38,9)": (pa.decimal128(38, 9), pa.decimal128(38, 9), Decimal("12345678901234567890123456789.123456789")),
    "string": (pa.string(), pa.string(), "Zoë"),
    "string collate UTF8_LCASE": (pa.string(), pa.string(), "Zoë"),
    "varchar(10)": (pa.string(), pa.string(), "Zoë"),
    "char(3)": (pa.string(), pa.string(), "Zoë"),
    "binary": (pa.binary(), pa.binary(), b"\x00\xff"),
    "date": (pa.date32(), pa.date32(), date(2026, 3, 1)),
    "timestamp": (pa.timestamp("us", "Etc/UTC"), pa.timestamp("us", "UTC"), INSTANT),
    "timestamp_ntz": (pa.timestamp("us"), pa.timestamp("us"), INSTANT.replace(tzinfo=None)),
    "interval day to second": (pa.string(), pa.string(), "1 00:00:00.000000000"),
    "interval year": (pa.string(), pa.string(), "1-0"),
    "variant": (pa.string(), JSON, '{"a":[1,null]}'),
    "void": (pa.null(), pa.null(), None),
    "geography(4326)": (pa.string(), pa.string(), "SRID=4326;POINT(1 2)"),
    "geometry(any)": (pa.string(), pa.string(), "POINT(1 2)"),
    "array<string>": (pa.list_(pa.field("element", pa.string())), pa.list_(pa.string()), ["a", None]),
    "array<array<int>>": (pa.list_(pa.list_(pa.int32())), pa.list_(pa.list_(pa.int32())), [[1], []]),
    "map<string,decimal(10,2)>": (
        pa.map_(pa.string(), pa.decimal128(10, 2)),
        pa.map_(pa.string(), pa.decimal128(10, 2)),
        [("a", Decimal("1.25"))],
    ),
    "struct<id:bigint,at:timestamp,two words:array<string>>": (
        pa.struct([("id", pa.int64()), ("at", pa.timestamp("us", "Etc/UTC")), ("two words", pa.list_(pa.string()))]),
        pa.struct([("id", pa.int64()), ("at", pa.timestamp("us", "UTC")), ("two words", pa.list_(pa.string()))]),
        {"id": 1, "at": INSTANT, "two words": ["x"]},
    ),
}


@pytest.mark.parametrize("type_name", MATRIX)
def test_a_type_arrives_as_announced(responder: Responder, opened: Any, query: Query, type_name: str) -> None:
    sent, arrives, value = MATRIX[type_name]
    responder.described = [("id", "bigint"), ("x", type_name)]
    responder.table = pa.table({"id": [1, 2], "x": pa.array([value, None], sent)})
    with opened() as warehouse, warehouse.stream(query, batch_rows=10) as stream:
        (batch,) = stream
        assert warehouse.describe(query).equals(stream.schema)
    field = batch.schema.field("x")
    assert field.type == arrives
    assert warehouse_type(field) == type_name
    assert batch.column("x").to_pylist() == [value, None]


def test_void_may_arrive_as_any_type(responder: Responder, opened: Any, query: Query) -> None:
    responder.described = [("x", "void")]
    responder.table = pa.table({"x": pa.array([None, None], pa.string())})
    with opened() as warehouse, warehouse.stream(query, batch_rows=10) as stream:
        (batch,) = stream
    assert batch.schema.field("x").type == pa.null()


@pytest.mark.parametrize(
    ("type_name", "cure"),
    [
        ("array<variant>", "to_json"),
        ("struct<a:interval day>", "to_json"),
        ("struct<a:int,b:int,... 3 more fields>", "to_json"),
        ("struct<a,b:int>", "to_json"),
        ("object", "STRING"),
        ("decimal", "precision"),
    ],
)
def test_a_type_that_would_not_arrive_whole_is_refused_by_its_column(type_name: str, cure: str) -> None:
    with pytest.raises(ModelInvalid, match=cure) as refused:
        schema_of([("id", "bigint"), ("profile", type_name)], Label("run 7"))
    assert "'profile'" in str(refused.value)
    assert type_name in str(refused.value)


def test_nested_values_of_another_shape_are_refused_without_showing_them(
    responder: Responder, opened: Any, query: Query
) -> None:
    responder.described = [("x", "struct<a:int>")]
    responder.table = pa.table({"x": pa.array([{"b": "secret"}], pa.struct([("b", pa.string())]))})
    with (
        pytest.raises(ModelInvalid) as refused,
        opened() as warehouse,
        warehouse.stream(query, batch_rows=10) as stream,
    ):
        list(stream)
    assert "secret" not in str(refused.value)


@pytest.mark.parametrize(
    ("bound", "kind", "text"),
    [
        (Bound(INSTANT, "timestamp"), "TIMESTAMP", "2026-03-01 01:02:03.000004+00:00"),
        (Bound(INSTANT.replace(tzinfo=None), "timestamp_ntz"), "TIMESTAMP_NTZ", "2026-03-01 01:02:03.000004"),
        (Bound(date(2026, 3, 1), "date"), "DATE", "2026-03-01"),
        (Bound(1_772_323_200, "int"), "INT", "1772323200"),
        (Bound(7, "smallint"), "SMALLINT", "7"),
        (Bound(7, "tinyint"), "TINYINT", "7"),
        (Bound(2**31, "int"), "BIGINT", "2147483648"),
        (Bound(1_772_323_200_000, "bigint"), "BIGINT", "1772323200000"),
        (Bound(1_772_323_200_000, "decimal(20,0)"), "DECIMAL(13,0)", "1772323200000"),
        (Bound(7), "BIGINT", "7"),
    ],
)
def test_a_bound_is_bound_in_its_columns_type(bound: Bound, kind: str, text: str) -> None:
    (parameter,) = bound_parameters({"window_low": bound}) or [None]
    sent = parameter.as_tspark_param(named=True)
    assert (sent.name, sent.type, sent.value.stringValue) == ("window_low", kind, text)


def test_a_query_is_described_without_its_bounds_and_run_with_them(responder: Responder, opened: Any) -> None:
    iterator = IteratorColumn("id", IteratorType.UNIXTIME_S, warehouse_type="bigint")
    model = "SELECT id, doc:window_low AS x\nFROM people"
    query = windowed(model, dialect="databricks", iterator=iterator, window=Window(low=INSTANT.replace(microsecond=0)))
    with opened() as warehouse, warehouse.stream(query, batch_rows=10) as stream:
        list(stream)
    describing, running = responder.asked("ExecuteStatement")[-2:]
    assert describing.statement == f"DESCRIBE QUERY SELECT * FROM (\n{model}\n) AS data_model WHERE `id` >= NULL"
    assert not describing.parameters
    assert running.statement == query.text
    assert [parameter.name for parameter in running.parameters] == ["window_low"]
