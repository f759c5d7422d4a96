"""Types and values of BigQuery's as they arrive, through both of its interfaces.

bqemulator cannot produce BIGNUMERIC and GEOGRAPHY as BigQuery does; those are proven from their Arrow form alone.
"""

from datetime import UTC, date, datetime, time
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest

from shared.columns import JSON, warehouse_type
from shared.errors import ModelInvalid, RightsMissing
from shared.run import Window
from shared.sql import columns_query, windowed
from tests.warehouses.bigquery.conftest import Opened

MOMENT = datetime(2026, 3, 1, 1, 2, 3, 4, UTC)
ORDINARY = {
    "INT64": ("9223372036854775807", pa.int64(), 2**63 - 1),
    "FLOAT64": ("CAST(-1.5 AS FLOAT64)", pa.float64(), -1.5),
    "BOOL": ("TRUE", pa.bool_(), True),
    "NUMERIC": ("CAST('-0.5' AS NUMERIC)", pa.decimal128(38, 9), Decimal("-0.5")),
    "STRING": ("'Zoë 😀'", pa.string(), "Zoë 😀"),
    "BYTES": ("b'ab'", pa.binary(), b"ab"),
    "DATE": ("DATE '0001-01-01'", pa.date32(), date(1, 1, 1)),
    "TIME": ("TIME '23:59:59.999999'", pa.time64("us"), time(23, 59, 59, 999_999)),
    "DATETIME": (
        "DATETIME '2026-03-29 02:30:00.000001'",
        pa.timestamp("us"),
        datetime(2026, 3, 29, 2, 30, 0, 1),  # noqa: DTZ001 - zone-less
    ),
    "TIMESTAMP": ("TIMESTAMP '2026-03-01 01:02:03.000004+00:00'", pa.timestamp("us", "UTC"), MOMENT),
    "JSON": ("""JSON '{"a": [1, null]}'""", JSON, None),
    "ARRAY<INT64>": ("[1, 2]", pa.list_(pa.int64()), [1, 2]),
    "ARRAY<STRING>": ("['b', 'a']", pa.list_(pa.string()), ["b", "a"]),
    "STRUCT<a INT64, b STRING>": (
        "STRUCT(1 AS a, 'x' AS b)",
        pa.struct([("a", pa.int64()), ("b", pa.string())]),
        {"a": 1, "b": "x"},
    ),
    "ARRAY<STRUCT<a INT64>>": (
        "[STRUCT(1 AS a), STRUCT(2 AS a)]",
        pa.list_(pa.struct([("a", pa.int64())])),
        [{"a": 1}, {"a": 2}],
    ),
}
accounts = pytest.mark.parametrize("account", ["reader", "slow-reader"])


def read(opened: Opened, account: str, expression: str) -> tuple[Any, list[Any]]:
    model = f"SELECT {expression} AS x"
    with opened(account) as warehouse:
        described = warehouse.describe(columns_query(model, warehouse.dialect)).field("x")
        query = windowed(model, dialect=warehouse.dialect, iterator=None, window=Window())
        with warehouse.stream(query, batch_rows=10) as stream:
            batches = list(stream)
            assert all(batch.schema.field("x").equals(described, check_metadata=True) for batch in batches)
    return described, [value for batch in batches for value in batch.column("x").to_pylist()]


@accounts
@pytest.mark.parametrize("kind", ORDINARY)
def test_a_type_and_its_value_arrive(opened: Opened, account: str, kind: str) -> None:
    expression, arrow_type, value = ORDINARY[kind]
    field, values = read(opened, account, expression)
    assert field.type == arrow_type
    assert len(values) == 1
    if value is not None:
        assert values == [value]
        assert warehouse_type(field) == kind


@accounts
def test_a_null_of_every_scalar_arrives(opened: Opened, account: str) -> None:
    for kind in ("INT64", "FLOAT64", "BOOL", "STRING", "BYTES", "DATE", "TIME", "DATETIME", "TIMESTAMP"):
        field, values = read(opened, account, f"CAST(NULL AS {kind})")
        assert (field.type, values) == (ORDINARY[kind][1], [None])


@accounts
def test_json_arrives_as_its_text(opened: Opened, account: str) -> None:
    _, (text,) = read(opened, account, """JSON '{"a": [1, null]}'""")
    assert str(text).replace(" ", "") == '{"a":[1,null]}'


def test_a_span_of_time_has_a_type_and_no_meaning(opened: Opened) -> None:
    field, values = read(opened, "reader", "INTERVAL 1 DAY")
    assert field.type == pa.month_day_nano_interval()
    assert len(values) == 1


def test_a_span_of_time_cannot_be_listed(opened: Opened) -> None:
    with pytest.raises(RightsMissing, match=r"'x' is INTERVAL.*bigquery\.readsessions\.create"):
        read(opened, "slow-reader", "INTERVAL 1 DAY")


@accounts
def test_types_inside_of_others_arrive(opened: Opened, account: str) -> None:
    members = (
        "TIMESTAMP '2026-03-01 01:02:03.000004+00:00' AS at, TIME '01:02:03' AS opens, b'a' AS raw, JSON '{}' AS j"
    )
    field, values = read(opened, account, f"[STRUCT({members})]")
    # bqemulator calls JSON inside of a STRUCT a STRING.
    assert warehouse_type(field).startswith("ARRAY<STRUCT<at TIMESTAMP, opens TIME, raw BYTES, j ")
    assert values == [[{"at": MOMENT, "opens": time(1, 2, 3), "raw": b"a", "j": "{}"}]]


@accounts
@pytest.mark.parametrize("text", ["0001-01-01 00:00:00+00:00", "9999-12-31 23:59:59.999999+00:00"])
def test_the_first_and_the_last_moment_arrive(opened: Opened, account: str, text: str) -> None:
    _, values = read(opened, account, f"TIMESTAMP '{text}'")
    assert values == [datetime.fromisoformat(text)]


@accounts
def test_a_range_arrives_as_its_ends(opened: Opened, account: str) -> None:
    field, values = read(opened, account, "RANGE(DATE '2026-01-01', DATE '2026-02-01')")
    assert field.type == pa.struct([("start", pa.date32()), ("end", pa.date32())])
    assert values == [{"start": date(2026, 1, 1), "end": date(2026, 2, 1)}]


def test_a_zone_less_time_is_utc_where_sql_compares_it(opened: Opened) -> None:
    _, values = read(
        opened, "reader", "TIMESTAMP(DATETIME '2026-03-01 01:02:03.000004') = TIMESTAMP '2026-03-01 01:02:03.000004+00'"
    )
    assert values == [True]


def test_a_value_that_does_not_fit_is_told_by_its_column(opened: Opened) -> None:
    # bqemulator widens sums past BigQuery's INT64; BigQuery itself would fail the query.
    with pytest.raises(ModelInvalid, match="'x'"):
        read(opened, "reader", "(SELECT SUM(v) FROM UNNEST([9223372036854775807, 9223372036854775807]) AS v)")
