"""Every type of Redshift's, from the stand-in where it has the type, else as Redshift would describe and send it."""

from collections.abc import Callable
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest
from redshift_connector.utils.oids import RedshiftOID as Oid

from shared.columns import JSON, warehouse_type
from shared.errors import ModelInvalid
from shared.mapping.destinations import ValueType
from shared.mapping.meanings import why_not
from shared.run import Window
from shared.sql import columns_query, windowed
from tests.standins.redshift import RedshiftStandin
from worker.warehouses.base import Label, Warehouse
from worker.warehouses.redshift.columns import Described, column_of

LABEL = Label("run 7")


@pytest.mark.parametrize(
    ("expression", "word", "arrow_type", "value"),
    [
        ("CAST(-32768 AS SMALLINT)", "smallint", pa.int16(), -32768),
        ("2147483647", "integer", pa.int32(), 2147483647),
        ("CAST(-9223372036854775808 AS BIGINT)", "bigint", pa.int64(), -(2**63)),
        ("CAST(1.50 AS DECIMAL(4, 2))", "numeric(4,2)", pa.decimal128(4, 2), Decimal("1.50")),
        ("CAST('-" + "9" * 38 + "' AS DECIMAL(38, 0))", "numeric(38,0)", pa.decimal128(38, 0), Decimal("-" + "9" * 38)),
        ("CAST('1e-37' AS DECIMAL(38, 37))", "numeric(38,37)", pa.decimal128(38, 37), Decimal("1e-37")),
        ("CAST(0.5 AS REAL)", "real", pa.float32(), 0.5),
        ("CAST('Infinity' AS DOUBLE PRECISION)", "double precision", pa.float64(), float("inf")),
        ("true", "boolean", pa.bool_(), True),
        ("CAST('ab' AS CHAR(4))", "char(4)", pa.string(), "ab  "),
        ("CAST('Zoë' AS VARCHAR(10))", "varchar(10)", pa.string(), "Zoë"),
        ("CAST('x' AS VARCHAR)", "varchar", pa.string(), "x"),
        ("CAST('x' AS TEXT)", "text", pa.string(), "x"),
        ("current_user", "name", pa.string(), "warehouse_sync"),
        ("DATE '0001-01-01'", "date", pa.date32(), date(1, 1, 1)),
        ("DATE '1500-02-28'", "date", pa.date32(), date(1500, 2, 28)),
        ("TIME '23:59:59.999999'", "time", pa.time64("us"), time(23, 59, 59, 999_999)),
        ("TIMETZ '10:00:00.5+02'", "timetz", pa.string(), "10:00:00.5+02"),
        ("TIMESTAMP '1500-01-01 00:00:00.000001'", "timestamp", pa.timestamp("us"), datetime(1500, 1, 1, 0, 0, 0, 1)),  # noqa: DTZ001
        (
            "TIMESTAMPTZ '2026-03-01 10:00:00+02'",
            "timestamptz",
            pa.timestamp("us", "UTC"),
            datetime(2026, 3, 1, 8, tzinfo=UTC),
        ),
        ("json_parse('[1, {\"a\": null}]')", "super", JSON, '[1, {"a": null}]'),
        ("CAST('\\x00ff' AS BYTEA)", "varbyte", pa.binary(), b"\x00\xff"),
        ("CAST(5 AS OID)", "oid", pa.int64(), 5),
    ],
)
def test_a_type_arrives_as_arrows(
    warehouse: Warehouse, rows: Callable[..., Any], expression: str, word: str, arrow_type: Any, value: object
) -> None:
    field = warehouse.describe(columns_query(f"SELECT {expression} AS v", "redshift")).field("v")
    assert (warehouse_type(field), field.type) == (word, arrow_type)
    assert rows(warehouse, f"SELECT {expression} AS v") == [{"v": value}]
    nothing = f"SELECT t.v FROM (SELECT 0 AS i) a LEFT JOIN (SELECT {expression} AS v, 1 AS i) t ON a.i = t.i"
    assert rows(warehouse, nothing) == [{"v": None}]


@pytest.mark.parametrize(
    ("oid", "modifier", "word", "arrow_type", "received", "value"),
    [
        (Oid.UNKNOWN, -1, "unknown", pa.string(), "x", "x"),
        (Oid.CHAR, -1, '"char"', pa.string(), "r", "r"),
        (Oid.INTERVALY2M, -1, "interval year to month", pa.month_day_nano_interval(), 14, pa.MonthDayNano([14, 0, 0])),
        (Oid.INTERVALD2S, -1, "interval day to second", pa.duration("us"), 1_500_000, timedelta(seconds=1.5)),
    ],
)
def test_a_type_that_only_redshift_has_arrives_as_arrows(
    oid: int, modifier: int, word: str, arrow_type: Any, received: object, value: object
) -> None:
    column = column_of(Described("v", oid, modifier), label=LABEL)
    assert (warehouse_type(column.field), column.field.type) == (word, arrow_type)
    array = column.to_arrow([received, None], column.field.type)
    assert array.type == arrow_type
    assert array.to_pylist() == [value, None]


@pytest.mark.parametrize(
    ("oid", "cure"),
    [
        (Oid.GEOMETRY, "geometry.*ST_AsText"),
        (Oid.GEOMETRYHEX, "geometry.*ST_AsGeoJSON"),
        (Oid.GEOGRAPHY, "geography.*ST_AsText"),
        (Oid.INTERVAL, "interval.*DATEDIFF"),
        (Oid.NUMERIC, r"NUMERIC without a precision.*CAST\(\.\.\. AS NUMERIC"),
        (Oid.ABSTIME, "of a type.*OID 702.*VARCHAR"),
        (Oid.TEXT_ARRAY, "of a type.*OID 1009.*VARCHAR"),
        (2935, "of a type.*OID 2935.*HLL_CARDINALITY"),
    ],
)
def test_what_cannot_be_read_without_loss_is_refused_with_the_cure(oid: int, cure: str) -> None:
    with pytest.raises(ModelInvalid, match=f"run 7: column 'v' is {cure}"):
        column_of(Described("v", oid, -1), label=LABEL)


def test_a_column_that_cannot_be_read_is_refused_before_anything_runs(warehouse: Warehouse) -> None:
    for model in ("SELECT 1.5 AS v", "SELECT INTERVAL '1 day' AS v", "SELECT ARRAY['a'] AS v"):
        with pytest.raises(ModelInvalid, match="'v'"):
            warehouse.describe(columns_query(model, "redshift"))


def test_spans_of_time_and_bytes_have_a_type_and_no_meaning() -> None:
    for oid in (Oid.INTERVALY2M, Oid.INTERVALD2S, Oid.VARBYTE):
        column = column_of(Described("v", oid, -1), label=LABEL)
        assert why_not(ValueType.ATTRIBUTE, column.field.type) is not None


def test_lists_and_structs_are_super(redshift: RedshiftStandin, warehouse: Warehouse, rows: Callable[..., Any]) -> None:
    redshift.load("supers", pa.table({"v": pa.array([[], ["a", None], None], pa.list_(pa.string()))}))
    assert warehouse.describe(columns_query("SELECT * FROM supers", "redshift")).field("v").type == JSON
    assert rows(warehouse, "SELECT * FROM supers") == [{"v": "[]"}, {"v": '["a", null]'}, {"v": None}]


def test_years_and_times_that_python_cannot_say_arrive_as_counts(warehouse: Warehouse) -> None:
    model = (
        "SELECT DATE '0044-03-15 BC' AS old, DATE '10000-01-01' AS far, DATE 'infinity' AS never, "
        "TIMESTAMP '0044-03-15 BC' AS old_at, TIMESTAMPTZ '10000-01-01 00:00:00+00' AS far_at, "
        "TIMESTAMP 'infinity' AS never_at, TIMESTAMP '-infinity' AS always_at, TIME '24:00:00' AS midnight"
    )
    with warehouse.stream(windowed(model, dialect="redshift", iterator=None, window=Window()), batch_rows=10) as stream:
        (batch,) = stream
    counts = [column.view(pa.int32() if pa.types.is_date(column.type) else pa.int64())[0].as_py() for column in batch]
    assert dict(zip(batch.schema.names, counts, strict=True)) == {
        "old": -735_160,
        "far": 2_932_897,
        "never": 2**31 - 1,
        "old_at": -735_160 * 86_400_000_000,
        "far_at": 2_932_897 * 86_400_000_000,
        "never_at": 2**63 - 1,
        "always_at": -(2**63) + 946_684_800_000_000,
        "midnight": 86_400_000_000,
    }
