"""What queries give, and how they end."""

import threading
import time
import traceback
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest

from shared.catalog import IteratorType
from shared.columns import JSON, warehouse_type
from shared.errors import ModelInvalid, QueryTimedOut, ResultExpired, WarehouseBusy
from shared.iterator import find_iterator
from shared.run import Window
from shared.sql import Iterator, Query, columns_query, windowed
from worker.warehouses.base import Warehouse
from worker.warehouses.snowflake import warehouse as module

LOW, HIGH = datetime(2026, 3, 1, tzinfo=UTC), datetime(2026, 3, 2, tzinfo=UTC)
GUIDE = """SELECT
    a.date_updated,
    a.customer_id,
    a.firstname AS "$firstname",
    c.propensity_to_buy AS "propensity_to_buy",
    ARRAY_AGG(f.value) WITHIN GROUP (ORDER BY f.value ASC) AS "favorite_categories"
FROM analytics.public.attr a
JOIN analytics.public.calc c ON a.customer_id = c.customer_id
JOIN analytics.public.favs f ON a.customer_id = f.customer_id
GROUP BY
    a.date_updated,
    a.customer_id,
    a.firstname,
    c.propensity_to_buy"""


def all_of(model: str) -> Query:
    return windowed(model, dialect="snowflake", iterator=None, window=Window())


def rows(warehouse: Warehouse, query: Query, *, batch_rows: int = 1000) -> list[dict[str, Any]]:
    with warehouse.stream(query, batch_rows=batch_rows) as stream:
        return [row for batch in stream for row in batch.to_pylist()]


def ask_for_all(warehouse: Warehouse, query: Query) -> None:
    with warehouse.stream(query, batch_rows=1000) as stream:
        for _ in stream:
            pass


def test_the_guides_query_gives_favourites_as_a_json_array(snowflake: Any, opened: Any) -> None:
    updated = pa.array([datetime(2026, 3, 1, 12, tzinfo=UTC)], pa.timestamp("us", "UTC"))
    snowflake.load("attr", pa.table({"DATE_UPDATED": updated, "CUSTOMER_ID": [7], "FIRSTNAME": ["Zoë"]}))
    snowflake.load("calc", pa.table({"CUSTOMER_ID": [7], "PROPENSITY_TO_BUY": [0.5]}))
    snowflake.load("favs", pa.table({"CUSTOMER_ID": [7, 7, 7], "VALUE": ["toys", "books", "games"]}))
    with opened() as warehouse:
        iterator = Iterator("DATE_UPDATED", IteratorType.TIMESTAMP_TZ, warehouse_type="TIMESTAMP_TZ(6)")
        query = windowed(GUIDE, dialect="snowflake", iterator=iterator, window=Window(LOW, HIGH))
        assert warehouse.describe(query).field("favorite_categories").type == JSON
        assert rows(warehouse, query) == [
            {
                "DATE_UPDATED": datetime(2026, 3, 1, 12, tzinfo=UTC),
                "CUSTOMER_ID": 7,
                "$firstname": "Zoë",
                "propensity_to_buy": 0.5,
                "favorite_categories": '["books","games","toys"]',
            }
        ]


def test_names_are_in_upper_case_unless_quoted(opened: Any) -> None:
    with opened() as warehouse:
        schema = warehouse.describe(columns_query('SELECT 1 AS id, 2 AS "name", 3 AS "First Name"', "snowflake"))
    assert schema.names == ["ID", "name", "First Name"]


@pytest.mark.parametrize(
    ("expression", "arrow_type", "value"),
    [
        ("CAST(7 AS NUMBER(18, 0))", pa.int64(), 7),
        ("CAST(7 AS INTEGER)", pa.decimal128(38, 0), 7),
        ("CAST(-1.25 AS NUMBER(10, 2))", pa.decimal128(10, 2), Decimal("-1.25")),
        ("CAST('99999999999999999999999999999999999.99' AS NUMBER(38, 2))", pa.decimal128(38, 2),
         Decimal("99999999999999999999999999999999999.99")),
        ("CAST(1.5 AS FLOAT)", pa.float64(), 1.5),
        ("CAST('a' AS VARCHAR)", pa.string(), "a"),
        ("TRUE", pa.bool_(), True),
        ("CAST('2026-03-01' AS DATE)", pa.date32(), date(2026, 3, 1)),
        ("PARSE_JSON('{\"a\": [1, null]}')", JSON, '{"a":[1,null]}'),
        ("ARRAY_CONSTRUCT('a', 'b')", JSON, '["a","b"]'),
        ("OBJECT_CONSTRUCT('a', 1)", JSON, '{"a":1}'),
        ("CAST(NULL AS VARCHAR)", pa.string(), None),
        ("NULL", pa.string(), None),
    ],
)  # fmt: skip
def test_an_expression_arrives_in_its_type(opened: Any, expression: str, arrow_type: Any, value: object) -> None:
    with opened() as warehouse:
        query = all_of(f"SELECT {expression} AS v")
        assert warehouse.describe(query).field("V").type == arrow_type
        assert rows(warehouse, query) == [{"V": value}]


@pytest.mark.parametrize(
    ("unit", "kind", "word", "arrow_type"),
    [
        ("s", "TIMESTAMP_NTZ", "TIMESTAMP_NTZ(0)", pa.timestamp("us")),
        ("ms", "TIMESTAMP_NTZ", "TIMESTAMP_NTZ(3)", pa.timestamp("us")),
        ("us", "TIMESTAMP_NTZ", "TIMESTAMP_NTZ(6)", pa.timestamp("us")),
        ("ns", "TIMESTAMP_NTZ", "TIMESTAMP_NTZ(9)", pa.timestamp("ns")),
        ("us", "TIMESTAMP_TZ", "TIMESTAMP_TZ(6)", pa.timestamp("us", "UTC")),
        ("us", "TIMESTAMP_LTZ", "TIMESTAMP_LTZ(6)", pa.timestamp("us", "UTC")),
    ],
)
def test_a_window_is_bound_in_the_iterators_own_type(
    snowflake: Any, opened: Any, unit: str, kind: str, word: str, arrow_type: Any
) -> None:
    zone = None if kind == "TIMESTAMP_NTZ" else "UTC"
    moments = [LOW.replace(tzinfo=None) + timedelta(hours=step) for step in (-1, 0, 23, 24)]
    stored = pa.array(moments, pa.timestamp("us")).cast(pa.timestamp(unit))
    snowflake.load("moments", pa.table({"NO": [0, 1, 2, 3], "SEEN_AT": stored.cast(pa.timestamp(unit, zone))}))
    snowflake.change(zoned_type=kind)
    with opened() as warehouse:
        model = "SELECT no, seen_at FROM moments"
        schema = warehouse.describe(columns_query(model, "snowflake"))
        assert (schema.field("SEEN_AT").type, warehouse_type(schema.field("SEEN_AT"))) == (arrow_type, word)
        column, found = find_iterator(schema, "seen_at", IteratorType.TIMESTAMP)
        iterator = Iterator(column, found, warehouse_type=word)
        query = windowed(model, dialect="snowflake", iterator=iterator, window=Window(LOW, HIGH))
        assert [row["NO"] for row in rows(warehouse, query)] == [1, 2]
    bound = snowflake.look()["queries"][-1]["bindings"]
    assert [bound[place]["type"] for place in ("1", "2")] == [kind, kind]


def test_a_vector_is_a_list(snowflake: Any, opened: Any) -> None:
    vectors = pa.array([[0.5, 1.5], None], pa.list_(pa.float32(), 2))
    snowflake.load("vectors", pa.table({"V": vectors}))
    with opened() as warehouse:
        assert [row["V"] for row in rows(warehouse, all_of("SELECT v FROM vectors"))] == [[0.5, 1.5], None]


def test_the_client_itself_reads_the_same_values(snowflake: Any, opened: Any) -> None:
    moments = [datetime(1969, 12, 31, 23, 59, 59, 7, UTC), datetime(2026, 3, 1, tzinfo=UTC), None]
    columns = {
        "N": pa.array([-1, 2**40, None]),
        "PRICE": pa.array([Decimal("-0.01"), Decimal("7.5"), None], pa.decimal128(12, 2)),
        "LONG": pa.array([Decimal(10**30), Decimal(-1), None], pa.decimal128(38, 0)),
        "LOCAL": pa.array(moments, pa.timestamp("us", "UTC")).cast(pa.timestamp("us")),
        "LOCAL_NS": pa.array(moments, pa.timestamp("us", "UTC")).cast(pa.timestamp("ns")),
        "INSTANT": pa.array(moments, pa.timestamp("us", "UTC")),
        "OPENS": pa.array([0, 86_399_999_999, None], pa.time64("us")),
    }
    snowflake.load("mixed", pa.table(columns))
    with opened() as warehouse, warehouse.stream(all_of("SELECT * FROM mixed"), batch_rows=10) as stream:
        ours = pa.Table.from_batches(list(stream))
        query_id = stream.position["query_id"]
        (part,) = warehouse._connection.cursor().query_result(query_id).get_result_batches()
        theirs = part.to_arrow(number_to_decimal=True)
    for name in columns:
        assert theirs.column(name).cast(ours.column(name).type).equals(ours.column(name)), name


@pytest.mark.parametrize("part_rows", [1, 7, 1000])
def test_rows_are_the_same_in_parts_of_any_size(snowflake: Any, opened: Any, part_rows: int) -> None:
    snowflake.change(part_rows=part_rows)
    model = 'SELECT SEQ8() * SEQ8() AS "n" FROM TABLE(GENERATOR(ROWCOUNT => 300))'
    with opened() as warehouse, warehouse.stream(all_of(model), batch_rows=50) as stream:
        batches = list(stream)
    assert [value for batch in batches for value in batch.column(0).to_pylist()] == [n * n for n in range(300)]
    assert all(batch.schema.equals(stream.schema) for batch in batches)


def test_addresses_that_expire_while_reading_are_replaced(snowflake: Any, opened: Any) -> None:
    snowflake.change(part_rows=100)
    with opened() as warehouse, warehouse.stream(all_of(snowflake.numbers(1000)), batch_rows=50) as stream:
        batches = iter(stream)
        read = next(batches).column(0).to_pylist()
        snowflake.change(part_rows=100, forget_chunks=True)
        read += [value for batch in batches for value in batch.column(0).to_pylist()]
    assert read == list(range(1000))


def test_a_result_that_is_gone_is_told_as_such(snowflake: Any, opened: Any) -> None:
    query = all_of(snowflake.numbers(10))
    with opened() as warehouse:
        with warehouse.stream(query, batch_rows=5) as stream:
            list(stream)
            start = stream.start
        snowflake.change(results_expired=True)
        with (
            pytest.raises(ResultExpired, match="run 7"),
            warehouse.stream(query, batch_rows=5, position=start) as stream,
        ):
            list(stream)


def test_a_session_that_is_gone_is_a_passing_trouble(snowflake: Any, opened: Any) -> None:
    with opened() as warehouse:
        snowflake.change(forget_sessions=True)
        with pytest.raises(WarehouseBusy):
            warehouse.describe(all_of(snowflake.numbers(10)))


def test_snowflake_ends_a_query_in_time_by_itself(snowflake: Any, opened: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    class Blind:
        """No time limit of ours, as if the worker slept."""

        def __init__(self, *_: object, **__: object) -> None: ...
        def cancel(self) -> None: ...
        def close(self) -> None: ...
        def raise_if_stopped(self) -> None: ...

    monkeypatch.setattr(module, "Watch", Blind)
    with opened(query_timeout_s=1) as warehouse, pytest.raises(QueryTimedOut, match="longer than 1 s"):
        ask_for_all(warehouse, all_of(snowflake.endless))


def test_a_query_that_somebody_else_cancels_is_repeated_later(snowflake: Any, opened: Any) -> None:
    with opened() as warehouse, opened() as other, warehouse.stream(all_of(snowflake.endless), batch_rows=1) as stream:
        query_id = snowflake.look()["queries"][-1]["id"]
        abort = threading.Timer(0.2, lambda: other._connection.cursor().abort_query(query_id))
        abort.start()
        with pytest.raises(WarehouseBusy, match="cancelled in Snowflake"):
            list(stream)
        abort.join()


def test_leaving_a_stream_ends_its_query(snowflake: Any, opened: Any) -> None:
    with opened() as warehouse, warehouse.stream(all_of(snowflake.endless), batch_rows=1):
        assert snowflake.running_queries() == 1
    deadline = time.monotonic() + 10
    while snowflake.running_queries():
        assert time.monotonic() < deadline, "the query goes on although nobody reads it"
        time.sleep(0.05)


def test_a_place_is_told_in_the_models_own_lines(opened: Any) -> None:
    model = "SELECT *\nFROM (SELECT 1 AS id) AS people\nWHERE surname = 'x'"
    with opened() as warehouse, pytest.raises(ModelInvalid, match=r"at line 3, column 7 invalid identifier 'SURNAME'"):
        warehouse.describe(all_of(model))


def test_a_failing_row_shows_its_value_nowhere(snowflake: Any, opened: Any, caplog: pytest.LogCaptureFixture) -> None:
    secret = "alice@example.com"
    with caplog.at_level("DEBUG"), opened() as warehouse, pytest.raises(ModelInvalid, match="code 100038") as failed:
        ask_for_all(warehouse, all_of(snowflake.failing(at=5, count=10, secret=secret)))
    assert secret not in "".join(traceback.format_exception(failed.value))
    assert secret not in caplog.text


def test_a_submitted_query_runs_in_the_background(snowflake: Any, opened: Any) -> None:
    with opened() as warehouse, warehouse.stream(all_of(snowflake.endless), batch_rows=1):
        # Another query of the same session goes through meanwhile.
        assert len(rows(warehouse, all_of(snowflake.numbers(10)))) == 10
