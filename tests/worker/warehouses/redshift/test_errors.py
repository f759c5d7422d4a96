"""Redshift's errors, as the stand-in says them or as they are put on the wire."""

import threading
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pytest

from shared.errors import ModelInvalid, QueryTimedOut, RightsMissing, SyncError, WarehouseBusy
from shared.run import Window
from shared.sql import Query, columns_query, windowed
from tests.standins.redshift import RedshiftStandin
from tests.standins.redshift_wire import Wire
from worker.warehouses.base import Label, Warehouse
from worker.warehouses.redshift import run as redshift_run
from worker.warehouses.redshift.errors import query_failed

VALUE = "alice@example.com"
DETAIL = """
  -----------------------------------------------
  error:  Invalid digit, Value 'a', Pos 0, Type: Integer
  code:      1207
  context:   alice@example.com
  query:     1234567
"""


def all_of(model: str) -> Query:
    return windowed(model, dialect="redshift", iterator=None, window=Window())


@pytest.fixture
def wired(wire: Wire, opened: Callable[..., Any]) -> Iterator[Warehouse]:
    with opened(port=wire.port) as warehouse:
        yield warehouse


def test_a_table_that_may_not_be_read_is_a_missing_right(warehouse: Warehouse, rows: Callable[..., Any]) -> None:
    model = "SELECT rolname FROM pg_authid"
    with pytest.raises(RightsMissing, match=r"permission denied for table pg_authid.*GRANT SELECT"):
        warehouse.describe(columns_query(model, "redshift"))
    with pytest.raises(RightsMissing, match="pg_authid"):
        rows(warehouse, model)


@pytest.mark.parametrize(
    ("model", "place"),
    [
        ("SELECT 'é', id,\n  surname FROM (SELECT 1 AS id) t", "at line 2, column 3: column"),
        ("SELECT 1 AS id FROM nowhere.people", "at line 1, column 21: relation"),
        ("SELECT 1 AS id\nORDER BY\n", "at its end"),
        ("SELECT no_such_function(1) AS id", "at line 1, column 8: function"),
    ],
)
def test_places_are_told_in_the_authors_own_lines(
    warehouse: Warehouse, rows: Callable[..., Any], model: str, place: str
) -> None:
    with pytest.raises(ModelInvalid, match=place):
        warehouse.describe(columns_query(model, "redshift"))
    with pytest.raises(ModelInvalid, match=place):
        rows(warehouse, model)


@pytest.mark.parametrize(
    "model",
    [
        "SELECT CAST(v AS INTEGER) AS n FROM ({rows}) t",
        "SELECT CAST(v AS DATE) AS n FROM ({rows}) t",
        "SELECT json_parse(v) AS n FROM ({rows}) t",
        "SELECT (SELECT w.v FROM ({rows}) w) AS n FROM ({rows}) t",
    ],
)
def test_no_error_quotes_a_row(warehouse: Warehouse, rows: Callable[..., Any], model: str) -> None:
    model = model.format(rows="SELECT 'user ' || generate_series(1, 3) AS v")
    with pytest.raises(ModelInvalid, match="SQLSTATE") as failed:
        rows(warehouse, model)
    assert "user " not in "".join(traceback.format_exception(failed.value))


@pytest.mark.parametrize(
    ("statement", "fields", "kind", "words"),
    [
        ("FETCH", {"C": "57014", "M": "Query (1) cancelled on user's request"}, WarehouseBusy, "somebody cancelled"),
        ("FETCH", {"C": "57014", "M": "canceling statement due to statement timeout"}, QueryTimedOut, "of its own"),
        ("FETCH", {"C": "57P01", "M": "terminating connection"}, WarehouseBusy, "57P01"),
        ("FETCH", {"C": "53100", "M": f"Disk Full {VALUE}"}, WarehouseBusy, "53100"),
        ("FETCH", {"C": "40001", "M": "conflict"}, WarehouseBusy, "40001"),
        ("DECLARE", {"C": "XX000", "M": "abort query", "D": DETAIL}, WarehouseBusy, "code 1207, query 1234567"),
        ("FETCH", {"C": "XX000", "M": "Query cancelled by WLM abort action"}, WarehouseBusy, "XX000"),
        ("FETCH", {"C": "XX000", "M": f"Invalid digit, Value '{VALUE}'", "D": DETAIL}, ModelInvalid, "query 1234567"),
        (
            "FETCH",
            {"C": "XX000", "M": "Invalid digit, Value 'connection aborted'"},
            ModelInvalid,
            "fails",
        ),
        ("FETCH", {"C": "XX000", "M": "exceeded the maximum size of a cursor result set"}, ModelInvalid, "cursor"),
        ("FETCH", {"C": "42703", "M": f"column {VALUE} is missing"}, ModelInvalid, "not shown"),
        ("DECLARE", {"C": "0A000", "M": "not supported on Redshift tables"}, ModelInvalid, "on Redshift tables"),
        ("SELECT *", {"C": "42501", "M": "permission denied for relation users"}, RightsMissing, "relation users"),
        ("BEGIN", {"C": "53300", "M": "connection limit"}, WarehouseBusy, "53300"),
    ],
)
def test_what_redshift_says_becomes_what_to_do(
    wired: Warehouse,
    wire: Wire,
    rows: Callable[..., Any],
    statement: str,
    fields: Mapping[str, str],
    kind: type[SyncError],
    words: str,
) -> None:
    wire.faults.statements[statement] = fields
    with pytest.raises(kind, match=words) as failed:
        rows(wired, "SELECT 1 AS id")
    assert VALUE not in "".join(traceback.format_exception(failed.value))
    assert rows(wired, "SELECT 1 AS id") == [{"id": 1}]


def test_text_that_is_no_text_is_the_models_to_repair() -> None:
    error = UnicodeDecodeError("utf-8", VALUE.encode(), 0, 1, "invalid start byte")
    failure = query_failed(error, label=Label("run 7"), query=Query("SELECT 1"), prefix="", is_reading=True)
    assert isinstance(failure, ModelInvalid)
    assert VALUE not in str(failure)


@pytest.mark.parametrize("cut_after_bytes", [3000, 50_000, 50_001, 50_003, 50_007])
def test_a_connection_that_breaks_in_the_middle_makes_the_warehouse_busy(
    redshift: RedshiftStandin, wired: Warehouse, wire: Wire, rows: Callable[..., Any], cut_after_bytes: int
) -> None:
    wire.faults.cut_after_bytes = cut_after_bytes
    with pytest.raises(WarehouseBusy, match="broke off"):
        rows(wired, f"SELECT id, 'some text' AS name FROM ({redshift.numbers(50_000)}) t")
    wire.faults.cut_after_bytes = None
    assert len(rows(wired, redshift.numbers(5))) == 5


def test_a_connection_that_breaks_while_describing_makes_the_warehouse_busy(wired: Warehouse, wire: Wire) -> None:
    wire.faults.cut_after_bytes = 0
    with pytest.raises(WarehouseBusy):
        wired.describe(columns_query("SELECT 1 AS id", "redshift"))
    with pytest.raises(WarehouseBusy):
        wired.clock()


def test_a_cluster_of_one_node_is_read_in_smaller_steps(
    redshift: RedshiftStandin, wired: Warehouse, wire: Wire, rows: Callable[..., Any]
) -> None:
    words = (
        "Fetch size 5000 exceeds the limit of 1000 for a single node configuration. "
        "Reduce the client fetch/cache size or upgrade to a multi node installation."
    )
    wire.faults.statements["FETCH FORWARD 5000"] = {"C": "XX000", "M": words}
    found = rows(wired, redshift.numbers(12_345), batch_rows=5000)
    assert [row["id"] for row in found] == list(range(12_345))
    assert "FETCH FORWARD 1000 FROM warehouse_sync" in wire.faults.statements_seen


def test_a_query_that_cannot_be_cancelled_in_the_warehouse_is_cut_off(
    redshift: RedshiftStandin, wired: Warehouse, wire: Wire
) -> None:
    with wired.stream(all_of(redshift.endless), batch_rows=10) as stream:
        wire.faults.sign_in = {"C": "53300", "M": "too many connections"}  # So nobody can sign in to cancel.
        canceller = threading.Timer(0.3, stream.cancel)
        canceller.start()
        began = time.monotonic()
        with pytest.raises(WarehouseBusy, match="cancelled"):
            list(stream)
        canceller.join()
    assert time.monotonic() - began < 10


def test_a_cancellation_that_has_no_effect_is_followed_by_cutting_off(
    redshift: RedshiftStandin, wired: Warehouse, wire: Wire, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(redshift_run, "_PATIENCE_S", 0.0)
    with wired.stream(all_of(redshift.endless), batch_rows=10) as stream:
        canceller = threading.Timer(0.3, stream.cancel)
        canceller.start()
        with pytest.raises(WarehouseBusy, match="cancelled"):
            list(stream)
        canceller.join()
    assert not any("pg_cancel_backend" in statement for statement in wire.faults.statements_seen)
