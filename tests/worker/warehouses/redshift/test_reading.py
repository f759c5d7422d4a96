"""How the stand-in is read: sessions, transactions, parameters, limits."""

import threading
import traceback
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest

from sandbox.processes import wait_for
from shared.catalog import IteratorType
from shared.columns import JSON, warehouse_type
from shared.errors import ModelInvalid, QueryTimedOut, RightsMissing, WarehouseBusy
from shared.iterator import find_iterator
from shared.run import Window
from shared.sql import Bound, Iterator, Query, columns_query, preview_query, windowed
from tests.standins.redshift import RedshiftStandin
from tests.standins.redshift_wire import Wire
from worker.warehouses.base import Label, Warehouse
from worker.warehouses.redshift import warehouse as redshift_warehouse
from worker.warehouses.redshift.session import Session, _shown

LOW, HIGH = datetime(2026, 3, 1, tzinfo=UTC), datetime(2026, 3, 2, tzinfo=UTC)
LIMIT_S = 60
EXAMPLE = """
SELECT
    a.date_updated,
    a.customer_id,
    a.firstname AS "$firstname",
    c.propensity_to_buy AS "propensity_to_buy",
    SPLIT_TO_ARRAY(LISTAGG(f.value, '|') WITHIN GROUP (ORDER BY f.value ASC), '|') AS "favorite_categories"
FROM mp.demo.attr a
JOIN mp.demo.calc c ON a.customer_id = c.customer_id
JOIN mp.demo.favs f ON a.customer_id = f.customer_id
GROUP BY
    a.date_updated,
    a.customer_id,
    a.firstname,
    c.propensity_to_buy
"""


def test_the_session_says_who_and_where(redshift: RedshiftStandin, warehouse: Warehouse) -> None:
    assert warehouse.session() == {
        "host": "127.0.0.1",
        "user": "warehouse_sync",
        "database": "mp",
        "version": warehouse.session()["version"],
    }
    assert redshift.name == warehouse.dialect


def test_the_warehouse_sees_for_whom_it_works(
    redshift: RedshiftStandin, warehouse: Warehouse, rows: Callable[..., Any]
) -> None:
    assert redshift.sessions() == ["warehouse-sync run=7 pipeline=users"]
    (row,) = rows(warehouse, "SELECT current_setting('redshift.query_group') AS label")
    assert row["label"] == "warehouse-sync run=7 pipeline=users"


@pytest.mark.parametrize(
    ("label", "shown"),
    [
        (Label("run 4f0", "users"), "warehouse-sync run=4f0 pipeline=users"),
        (Label("doctor's \\ look; SET"), "warehouse-sync doctor_s=_ look_ SET"),
        (Label("run " + "7" * 400), "warehouse-sync run=" + "7" * 44),
    ],
)
def test_a_label_needs_no_quoting(label: Label, shown: str) -> None:
    assert _shown(label, 63) == shown


def test_times_are_in_utc_whatever_the_server_says(
    redshift: RedshiftStandin, opened: Callable[..., Any], rows: Callable[..., Any]
) -> None:
    with redshift.administer() as session:
        session.execute("ALTER ROLE warehouse_sync SET timezone TO 'America/New_York'")
        session.execute("ALTER ROLE warehouse_sync SET datestyle TO 'SQL, DMY'")
    try:
        with opened() as warehouse:
            (row,) = rows(
                warehouse, "SELECT CAST(TIMESTAMP '2026-07-01 12:00:00' AS TIMESTAMPTZ) AS at, DATE '2026-02-01' AS d"
            )
            assert row == {"at": datetime(2026, 7, 1, 12, tzinfo=UTC), "d": date(2026, 2, 1)}
            assert abs(datetime.now(UTC) - warehouse.clock()) < timedelta(minutes=1)
    finally:
        with redshift.administer() as session:
            session.execute("ALTER ROLE warehouse_sync RESET ALL")


def test_nothing_can_be_written(redshift: RedshiftStandin, warehouse: Warehouse, rows: Callable[..., Any]) -> None:
    with redshift.administer() as session:
        session.execute(
            "CREATE OR REPLACE FUNCTION writes() RETURNS int LANGUAGE plpgsql AS "
            "$$ BEGIN CREATE TABLE written (id int); RETURN 1; END $$"
        )
    with pytest.raises(ModelInvalid, match="may only read"):
        rows(warehouse, "SELECT writes() AS id")
    for model in ("SELECT 1 AS id) AS x; DROP TABLE IF EXISTS changes; SELECT * FROM (SELECT 1", "SELECT 1; SELECT 2"):
        with pytest.raises(ModelInvalid, match="line"):
            warehouse.describe(Query(f"SELECT * FROM (\n{model}\n) AS data_model", lines_before=1))


def test_no_session_is_left_behind(
    redshift: RedshiftStandin, opened: Callable[..., Any], rows: Callable[..., Any]
) -> None:
    with opened() as warehouse:
        rows(warehouse, redshift.numbers(10))
        with pytest.raises(ModelInvalid):
            rows(warehouse, "SELECT nothing")
        warehouse.clock()
    assert wait_for(lambda: not redshift.sessions(), LIMIT_S)


def test_one_session_describes_and_tells_the_time(wire: Wire, opened: Callable[..., Any]) -> None:
    with opened(port=wire.port) as warehouse:
        warehouse.describe(columns_query("SELECT 1 AS id", "redshift"))
        warehouse.clock()
        warehouse.session()
    assert sum("pg_backend_pid" in statement for statement in wire.faults.statements_seen) == 1


NASTY = [
    "SELECT '?' AS a, '%s %(x)s :x $1' AS b, 'it''s' AS c, id, at FROM events",
    'SELECT id AS "a ? b :c %s $1", at FROM events',
    "SELECT id, at FROM events -- what? :x %s $1",
    "SELECT id, at FROM events /* ? /* :x */ %s $1 */",
    "SELECT id, at, $$ ? 'it' $1 $$ AS a, $x$ ? %s $$ $x$ AS b FROM events",
    "SELECT id, at, id % 2 AS odd, id::bigint AS n, CAST(id AS varchar)::varchar AS t FROM events WHERE id % 1 = 0",
    "SELECT id, at, E'\\' ? $1' AS a FROM events",
    "SELECT id, at, '[\"a\"]'::jsonb::varchar AS j FROM events WHERE '{\"a\": 1}'::jsonb ? 'a'",
    "SELECT id, at, (ARRAY[1, 2, 3])[1:2]::varchar AS part FROM events",
]


@pytest.mark.parametrize("model", NASTY)
def test_nothing_in_a_model_is_taken_for_a_parameter(
    redshift: RedshiftStandin, warehouse: Warehouse, model: str
) -> None:
    instants = [LOW - timedelta(seconds=1), LOW, HIGH]
    redshift.load("events", pa.table({"id": [0, 1, 2], "at": pa.array(instants, pa.timestamp("us", "UTC"))}))
    iterator = Iterator("at", IteratorType.TIMESTAMP_TZ)
    for query in (
        windowed(model, dialect="redshift", iterator=iterator, window=Window(LOW, HIGH)),
        preview_query(model, dialect="redshift", iterator=iterator, window=Window(LOW, HIGH), rows=5),
    ):
        described = warehouse.describe(query)
        with warehouse.stream(query, batch_rows=10) as stream:
            assert stream.schema == described
            assert [row["at"] for batch in stream for row in batch.to_pylist()] == [LOW]


def test_a_models_own_parameter_is_refused_when_it_is_described(warehouse: Warehouse) -> None:
    for model in ("SELECT $1 AS id", "SELECT 1 AS id WHERE 1 = $2"):
        with pytest.raises(ModelInvalid):
            warehouse.describe(columns_query(model, "redshift"))


@pytest.mark.parametrize(
    ("value", "word", "sent_as"),
    [
        (5, "smallint", "smallint"),
        (5, "integer", "integer"),
        (5, "bigint", "bigint"),
        (5, "", "bigint"),
        (5, "numeric(20,0)", "numeric"),
        (2**40, "integer", "bigint"),
        (date(2026, 3, 1), "date", "date"),
        (LOW, "timestamptz", "timestamp with time zone"),
        (LOW.replace(tzinfo=None), "timestamp", "timestamp without time zone"),
    ],
)
def test_a_bound_is_sent_as_its_columns_type(warehouse: Warehouse, value: Any, word: str, sent_as: str) -> None:
    query = Query("SELECT CAST(pg_typeof($1) AS VARCHAR) AS sent_as", {"window_low": Bound(value, word)})
    with warehouse.stream(query, batch_rows=1) as stream:
        assert [row for batch in stream for row in batch.to_pylist()] == [{"sent_as": sent_as}]


def test_a_window_is_bound_by_the_type_that_describing_told(redshift: RedshiftStandin, warehouse: Warehouse) -> None:
    at = pa.array([Decimal(int(moment.timestamp() * 1000)) for moment in (LOW, HIGH)], pa.decimal128(20, 0))
    redshift.load("numbered", pa.table({"id": [0, 1], "at": at}))
    model = "SELECT * FROM numbered"
    schema = warehouse.describe(columns_query(model, "redshift"))
    column, kind = find_iterator(schema, "AT", IteratorType.UNIXTIME_MS)
    iterator = Iterator(column, kind, warehouse_type=warehouse_type(schema.field(column)))
    query = windowed(model, dialect="redshift", iterator=iterator, window=Window(LOW, HIGH))
    with warehouse.stream(query, batch_rows=10) as stream:
        assert [row["id"] for batch in stream for row in batch.to_pylist()] == [0]


def test_the_guides_example_reads_favourites_as_json(
    redshift: RedshiftStandin, warehouse: Warehouse, rows: Callable[..., Any]
) -> None:
    with redshift.administer() as session:
        session.execute("DROP SCHEMA IF EXISTS demo CASCADE")
        session.execute("CREATE SCHEMA demo")
        session.execute(
            "CREATE TABLE demo.attr (date_updated timestamp, customer_id varchar(20), firstname varchar(20))"
        )
        session.execute("CREATE TABLE demo.calc (propensity_to_buy real, customer_id varchar(20))")
        session.execute("CREATE TABLE demo.favs (value varchar(20), customer_id varchar(20))")
        session.execute("INSERT INTO demo.attr VALUES ('2026-03-01 10:00:00', 'c1', 'Ann'), ('2026-03-02', 'c2', 'Bo')")
        session.execute("INSERT INTO demo.calc VALUES (0.5, 'c1'), (0.25, 'c2')")
        session.execute("INSERT INTO demo.favs VALUES ('shoes', 'c1'), ('hats, caps', 'c1'), ('bags', 'c2')")
    assert warehouse.describe(columns_query(EXAMPLE, "redshift")).field("favorite_categories").type == JSON
    by_customer = {row["customer_id"]: row for row in rows(warehouse, EXAMPLE)}
    assert by_customer["c1"] == {
        "date_updated": datetime(2026, 3, 1, 10),  # noqa: DTZ001 - zone-less
        "customer_id": "c1",
        "$firstname": "Ann",
        "propensity_to_buy": 0.5,
        "favorite_categories": '["hats, caps","shoes"]',
    }
    assert by_customer["c2"]["favorite_categories"] == '["bags"]'


def test_the_server_ends_a_query_that_nobody_watches_any_more(
    redshift: RedshiftStandin, opened: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(redshift_warehouse, "_GRACE_S", -59.8)
    query = windowed(redshift.endless, dialect="redshift", iterator=None, window=Window())
    with (
        opened(query_timeout_s=60) as warehouse,
        pytest.raises(QueryTimedOut, match="of its own"),
        warehouse.stream(query, batch_rows=10) as stream,
    ):
        list(stream)


def test_a_session_that_an_operator_ends_makes_the_warehouse_busy(
    redshift: RedshiftStandin, warehouse: Warehouse
) -> None:
    ending = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE 'FETCH%'"

    def end_it() -> None:
        with redshift.administer() as session:
            assert wait_for(lambda: session.execute(ending).fetchone() is not None, LIMIT_S), "nobody fetches"

    query = windowed(redshift.endless, dialect="redshift", iterator=None, window=Window())
    with warehouse.stream(query, batch_rows=10) as stream:
        ender = threading.Thread(target=end_it)
        ender.start()
        with pytest.raises(WarehouseBusy):
            list(stream)
        ender.join()


def test_a_query_that_was_stopped_while_its_last_rows_came_is_not_complete(
    redshift: RedshiftStandin, warehouse: Warehouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    query = windowed(redshift.numbers(10), dialect="redshift", iterator=None, window=Window())
    with warehouse.stream(query, batch_rows=10) as stream:
        fetched = Session.rows

        def stopped(session: Session, statement: str) -> tuple[list[Any], ...]:
            found = fetched(session, statement)
            if not found:
                stream.cancel()
            return found

        monkeypatch.setattr(Session, "rows", stopped)
        with pytest.raises(WarehouseBusy, match="cancelled"):
            list(stream)


def test_a_value_that_does_not_fit_is_told_by_its_column(warehouse: Warehouse, rows: Callable[..., Any]) -> None:
    with pytest.raises(ModelInvalid, match=r"'price'.*decimal128\(18, 4\)") as failed:
        rows(warehouse, "SELECT CAST('N' || 'aN' AS NUMERIC(18, 4)) AS price")
    assert "NaN" not in "".join(traceback.format_exception(failed.value))


@pytest.mark.parametrize("statement", ["SELECT 1 AS id", "SELECT nothing AS id"])
def test_the_client_logs_nothing(
    warehouse: Warehouse,
    rows: Callable[..., Any],
    statement: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("INFO")
    with suppress(ModelInvalid):
        rows(warehouse, statement)
    assert caplog.text == ""


def test_reading_needs_no_more_memory_for_more_rows(redshift: RedshiftStandin, warehouse: Warehouse) -> None:
    query = windowed(redshift.numbers(60_000), dialect="redshift", iterator=None, window=Window())
    with warehouse.stream(query, batch_rows=5000) as stream:
        sizes = [pa.total_allocated_bytes() for _ in stream]
    assert max(sizes) < 2 * sizes[0] + 2**20


def test_many_threads_read_one_warehouse(
    redshift: RedshiftStandin, warehouse: Warehouse, rows: Callable[..., Any]
) -> None:
    counts: list[int] = []
    threads = [
        threading.Thread(target=lambda: counts.append(len(rows(warehouse, redshift.numbers(3000))))) for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert counts == [3000] * 4


@pytest.mark.parametrize(
    ("column", "kind", "low", "high"),
    [
        ("TIMESTAMPTZ '2026-03-01 12:00+00'", IteratorType.TIMESTAMP_TZ, LOW, HIGH),
        ("TIMESTAMP '2026-03-01 12:00'", IteratorType.TIMESTAMP_NTZ, LOW, HIGH),
        ("DATE '2026-03-01'", IteratorType.DATE, LOW, HIGH),
        ("1772366400::BIGINT", IteratorType.UNIXTIME_S, LOW, HIGH),
    ],
)
def test_a_redshift_that_takes_no_parameters_in_declare_is_given_literals(
    opened: Callable[..., Any], wire: Wire, column: str, kind: IteratorType, low: datetime, high: datetime
) -> None:
    wire.faults.statements["DECLARE"] = {"S": "ERROR", "C": "0A000", "M": "parameters are not supported in DECLARE"}
    model = f"SELECT '$1 and $2' AS note, {column} AS changed_at"
    with opened(port=wire.port) as warehouse:
        for window, expected in ((Window(low, high), 1), (Window(high, high + timedelta(days=1)), 0)):
            query = windowed(model, dialect="redshift", iterator=Iterator("changed_at", kind), window=window)
            with warehouse.stream(query, batch_rows=10) as stream:
                rows = [row for batch in stream for row in batch.to_pylist()]
            assert [row["note"] for row in rows] == ["$1 and $2"] * expected
    declared = [statement for statement in wire.faults.statements_seen if statement.startswith("DECLARE")]
    assert len(declared) == 3
    assert "2026-03-0" in declared[1] or "1772323200" in declared[1]


def test_the_newest_rows_are_read_with_literals_too(opened: Callable[..., Any], wire: Wire) -> None:
    wire.faults.statements["DECLARE"] = {"S": "ERROR", "C": "0A000", "M": "parameters are not supported in DECLARE"}
    rows = [("ann", LOW), ("ann", HIGH), ("bob", LOW)]
    model = "\nUNION ALL ".join(
        f"SELECT '{user}'::VARCHAR AS customer_id, '{at.isoformat()}'::TIMESTAMPTZ AS changed_at" for user, at in rows
    )
    query = windowed(
        model,
        dialect="redshift",
        iterator=Iterator("changed_at", IteratorType.TIMESTAMP_TZ),
        window=Window(LOW, HIGH),
        one_row_per=["customer_id"],
        columns=["customer_id", "changed_at"],
        ranked_to=HIGH + timedelta(days=1),
    )
    with opened(port=wire.port) as warehouse, warehouse.stream(query, batch_rows=10) as stream:
        read = [row for batch in stream for row in batch.to_pylist()]
    assert [row["customer_id"] for row in read] == ["bob"]


def test_a_query_that_fails_in_declare_for_another_reason_says_why(opened: Callable[..., Any], wire: Wire) -> None:
    refusal = {"S": "ERROR", "C": "42501", "M": "permission denied for relation users"}
    query = windowed(
        "SELECT now() AS changed_at",
        dialect="redshift",
        iterator=Iterator("changed_at", IteratorType.TIMESTAMP_TZ),
        window=Window(LOW),
    )
    with opened(port=wire.port) as warehouse, warehouse.stream(query, batch_rows=10) as stream:
        wire.faults.statements["DECLARE"] = refusal
        wire.faults.statements["ROLLBACK"] = refusal
        with pytest.raises(RightsMissing, match="users"):
            list(stream)
