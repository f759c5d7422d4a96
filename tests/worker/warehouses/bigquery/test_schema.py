"""Every type of BigQuery, as its API announces it."""

from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest
from google.cloud.bigquery import SchemaField

from shared.columns import JSON, warehouse_type
from shared.errors import ModelInvalid
from worker.warehouses.base import Label
from worker.warehouses.bigquery.schema import schema_of
from worker.warehouses.conform import conform

LABEL = Label("run 7")
SCALARS = {
    "INT64": pa.int64(),
    "FLOAT64": pa.float64(),
    "NUMERIC": pa.decimal128(38, 9),
    "BIGNUMERIC": pa.decimal256(76, 38),
    "BOOL": pa.bool_(),
    "STRING": pa.string(),
    "BYTES": pa.binary(),
    "DATE": pa.date32(),
    "TIME": pa.time64("us"),
    "DATETIME": pa.timestamp("us"),
    "TIMESTAMP": pa.timestamp("us", "UTC"),
    "JSON": JSON,
    "GEOGRAPHY": pa.string(),
    "INTERVAL": pa.month_day_nano_interval(),
}
API_WORDS = {"INTEGER": "INT64", "FLOAT": "FLOAT64", "BOOLEAN": "BOOL"}
MEMBERS = (SchemaField("a", "INTEGER"), SchemaField("b", "JSON"), SchemaField("c", "NUMERIC", mode="REPEATED"))


def only(field: SchemaField) -> Any:
    return schema_of([field], LABEL).field(0)


@pytest.mark.parametrize("kind", SCALARS)
def test_a_scalar_has_one_arrow_type(kind: str) -> None:
    assert only(SchemaField("x", kind)).type == SCALARS[kind]
    assert warehouse_type(only(SchemaField("x", kind))) == kind


@pytest.mark.parametrize(("word", "kind"), API_WORDS.items())
def test_the_apis_own_words_mean_the_same_type(word: str, kind: str) -> None:
    assert only(SchemaField("x", word)).type == SCALARS[kind]
    assert warehouse_type(only(SchemaField("x", word))) == kind


@pytest.mark.parametrize("kind", SCALARS)
def test_an_array_is_a_list(kind: str) -> None:
    field = only(SchemaField("x", kind, mode="REPEATED"))
    assert field.type == pa.list_(pa.string() if kind == "JSON" else SCALARS[kind])
    assert warehouse_type(field) == f"ARRAY<{kind}>"


@pytest.mark.parametrize("kind", ["DATE", "DATETIME", "TIMESTAMP"])
def test_a_range_is_its_two_ends(kind: str) -> None:
    field = only(SchemaField("x", "RANGE", range_element_type=kind))
    assert field.type == pa.struct([("start", SCALARS[kind]), ("end", SCALARS[kind])])
    assert warehouse_type(field) == f"RANGE<{kind}>"


@pytest.mark.parametrize("word", ["RECORD", "STRUCT"])
def test_a_struct_holds_its_members(word: str) -> None:
    members = pa.struct([("a", pa.int64()), ("b", pa.string()), ("c", pa.list_(pa.decimal128(38, 9)))])
    field = only(SchemaField("x", word, fields=MEMBERS))
    assert field.type == members
    assert warehouse_type(field) == "STRUCT<a INT64, b JSON, c ARRAY<NUMERIC>>"
    assert only(SchemaField("x", word, mode="REPEATED", fields=MEMBERS)).type == pa.list_(members)


def test_a_declared_precision_changes_nothing() -> None:
    assert only(SchemaField("x", "NUMERIC", precision=10, scale=2)).type == pa.decimal128(38, 9)
    assert only(SchemaField("x", "STRING", max_length=5)).type == pa.string()


def test_every_column_may_be_null() -> None:
    assert only(SchemaField("x", "STRING", mode="REQUIRED")).nullable


STORAGE_SENDS = {
    "NUMERIC": pa.array([Decimal("-1E-9"), Decimal(f"{'9' * 29}.{'9' * 9}")], pa.decimal128(38, 9)),
    "BIGNUMERIC": pa.array([Decimal("5.7E37"), None], pa.decimal256(76, 38)),
    "GEOGRAPHY": pa.array(["POINT(1 2)", None]),
    "JSON": pa.array(['{"a":1}', "null"]),
    "INTERVAL": pa.array([(1, 2, 3), None], pa.month_day_nano_interval()),
    "INT64": pa.array([2**63 - 1, None]),
}
"""As the Storage Read API sends them; JSON and GEOGRAPHY are told apart by metadata only."""


@pytest.mark.parametrize("kind", STORAGE_SENDS)
def test_what_the_storage_api_sends_is_in_the_announced_type(kind: str) -> None:
    sent = STORAGE_SENDS[kind]
    sql_type = {"ARROW:extension:name": f"google:sqlType:{kind.lower()}"}
    message = pa.record_batch([sent], schema=pa.schema([pa.field("x", sent.type, metadata=sql_type)]))
    schema = schema_of([SchemaField("x", kind)], LABEL)
    (batch,) = conform(message, schema, batch_rows=10, label=LABEL)
    assert batch.schema.equals(schema, check_metadata=True)
    assert batch.column("x").to_pylist() == sent.to_pylist()


NARROWER: dict[str, tuple[Any, list[Any]]] = {
    "INT64": (pa.array([1, None], pa.int32()), [1, None]),
    "NUMERIC": (pa.array([Decimal("0.5")], pa.decimal128(18, 3)), [Decimal("0.5")]),
    "BIGNUMERIC": (pa.array([Decimal("0.5")], pa.decimal128(38, 8)), [Decimal("0.5")]),
}


@pytest.mark.parametrize("kind", NARROWER)
def test_a_narrower_type_is_widened(kind: str) -> None:
    sent, values = NARROWER[kind]
    schema = schema_of([SchemaField("x", kind), SchemaField("y", kind, mode="REPEATED")], LABEL)
    message = pa.record_batch([sent, pa.array([[value.as_py()] for value in sent], pa.list_(sent.type))], ["x", "y"])
    (batch,) = conform(message, schema, batch_rows=10, label=LABEL)
    assert batch.column("x").to_pylist() == values
    assert batch.column("y").to_pylist() == [[value] for value in values]


@pytest.mark.parametrize(
    ("field", "named"),
    [
        (SchemaField("x", "FOREIGN"), "'x' is FOREIGN"),
        (SchemaField("x", "RECORD", fields=(SchemaField("y", "FOREIGN"),)), "'x.y' is FOREIGN"),
        (SchemaField.from_api_repr({"name": "x", "type": "TIMESTAMP", "timestampPrecision": "12"}), "picoseconds"),
    ],
)
def test_a_type_that_cannot_be_read_is_refused_by_name(field: SchemaField, named: str) -> None:
    with pytest.raises(ModelInvalid, match=named):
        schema_of([field], LABEL)
