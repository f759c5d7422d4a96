import threading
import time
import traceback
from typing import Any

import pytest

from shared.errors import (
    ModelInvalid,
    QueryTimedOut,
    ResultExpired,
    RightsMissing,
    SyncError,
    WarehouseBusy,
    WarehouseUnreachable,
)
from shared.run import Position, Window
from shared.sql import windowed
from worker.warehouses.base import Warehouse
from worker.warehouses.snowflake import signin

VALUE = "alice@example.com"
QUERY = windowed("SELECT n\nFROM people", dialect="snowflake", iterator=None, window=Window())
ASKED, RESULT, STATUS, CHUNK = "/queries/v1/query-request", "/queries/01", "/monitoring/", "/chunks/"


QUERY_ID = "01b2c3d4-0000-0000-0000-000000000001"


def failed(code: str, message: str, sql_state: str = "42000") -> dict[str, Any]:
    data = {"errorCode": code, "sqlState": sql_state}
    return {"data": data, "code": code, "message": message, "success": False}


def ended(status: str) -> dict[str, Any]:
    return {"data": {"queries": [{"id": "01", "status": status, "state": status}]}, "success": True}


def read(warehouse: Warehouse, position: Position | None = None) -> list[int]:
    with warehouse.stream(QUERY, batch_rows=3, position=position) as stream:
        return [int(value) for batch in stream for value in batch.column("N").to_pylist()]


@pytest.mark.parametrize(
    ("code", "message", "kind", "told"),
    [
        ("000904", "SQL compilation error: error line 3 at position 5\ninvalid identifier 'X'", ModelInvalid,
         "at line 2, column 6 invalid identifier 'X'"),
        ("001003", "SQL compilation error:\nsyntax error line 4 at position 0 unexpected ')'.", ModelInvalid,
         "syntax error at its end unexpected"),
        ("002003", "SQL compilation error:\nObject 'PEOPLE' does not exist or not authorized.", ModelInvalid,
         "'PEOPLE' does not exist or not authorized"),
        ("090105", "Cannot perform SELECT. This session does not have a current database.", ModelInvalid, "database"),
        ("003001", "SQL access control error:\nInsufficient privileges to operate on table 'PEOPLE'", RightsMissing,
         "'PEOPLE'"),
        ("000606", "No active warehouse selected in the current session.", WarehouseUnreachable, "`warehouse`"),
        ("090073", "Warehouse 'LOADING' cannot be resumed because resource monitor 'M' has exceeded its quota.",
         WarehouseBusy, "resource monitor 'M'"),
        ("390111", "Session no longer exists. New login required.", WarehouseBusy, "390111"),
        ("300010", f"Processing aborted by error 300010, {VALUE}", WarehouseBusy, "300010"),
    ],
)  # fmt: skip
def test_describing_tells_what_snowflake_refuses(
    responder: Any, code: str, message: str, kind: type[SyncError], told: str
) -> None:
    responder.answers[ASKED] = failed(code, message)
    with responder.opened() as warehouse:
        for ask in (lambda: warehouse.describe(QUERY), lambda: read(warehouse)):
            with pytest.raises(SyncError) as refused:
                ask()
            assert type(refused.value) is kind
            assert told in str(refused.value)
            assert "run 7" in str(refused.value)
            assert VALUE not in "".join(traceback.format_exception(refused.value))


@pytest.mark.parametrize(
    ("code", "message", "sql_state", "kind", "told"),
    [
        ("100038", f"Numeric value '{VALUE}' is not recognized", "22018", ModelInvalid, "code 100038"),
        ("100132", f"JavaScript execution error: {VALUE}", "P0000", ModelInvalid, "TRY_CAST"),
        ("000603", f"SQL execution internal error:\nProcessing aborted due to error 300010:1087; incident 7. {VALUE}",
         "XX000", WarehouseBusy, "code 603"),
        ("000607", f"internal error: {VALUE}", "XX000", WarehouseBusy, "code 607"),
        ("000604", "SQL execution canceled", "57014", WarehouseBusy, "cancelled in Snowflake"),
        ("000630", "Statement reached its statement or warehouse timeout of 20 second(s) and was canceled.", "57014",
         QueryTimedOut, "20 s"),
        ("000710", "Result for query 01 has expired", "02000", ResultExpired, "no longer has"),
        ("000612", "Result not found", "02000", ResultExpired, "no longer has"),
    ],
)  # fmt: skip
def test_a_query_that_failed_while_running_tells_why(
    responder: Any, code: str, message: str, sql_state: str, kind: type[SyncError], told: str
) -> None:
    responder.answers[STATUS] = ended("FAILED_WITH_ERROR")
    responder.answers[RESULT] = failed(code, message, sql_state)
    with responder.opened() as warehouse, pytest.raises(SyncError) as refused:
        read(warehouse)
    assert type(refused.value) is kind
    assert told in str(refused.value)
    assert VALUE not in "".join(traceback.format_exception(refused.value))


@pytest.mark.parametrize("answer", [(503, b""), (429, b""), (200, b"<html>"), None])
@pytest.mark.parametrize("path", [ASKED, STATUS, RESULT])
def test_a_wire_that_breaks_at_any_step_is_repeated_later(responder: Any, path: str, answer: Any) -> None:
    with responder.opened() as warehouse:
        responder.answers[path] = answer
        with pytest.raises(WarehouseBusy, match=r"broke off|incomplete|garbled"):
            read(warehouse)
    assert responder.count(path) <= 2 * signin._ATTEMPTS


def test_describing_has_a_time_limit(responder: Any) -> None:
    over = threading.Event()
    responder.answers[ASKED] = lambda: (200 + over.wait(60), b"")
    with responder.opened(query_timeout_s=1) as warehouse:
        with pytest.raises(QueryTimedOut, match="longer than 1 s"):
            warehouse.describe(QUERY)
        over.set()


def test_a_lost_answer_in_between_is_asked_for_again(responder: Any) -> None:
    steps = iter([(503, b""), (503, b"")])
    responder.answers[STATUS] = lambda: next(steps, ended("SUCCESS"))
    with responder.opened() as warehouse:
        assert read(warehouse) == list(range(12))


@pytest.mark.parametrize("answer", [(403, b"<Error><Code>AccessDenied</Code></Error>"), None, (200, b"")])
def test_a_part_whose_address_expired_is_listed_anew(responder: Any, answer: Any) -> None:
    answers = iter([answer])
    responder.answers["/chunks/2"] = lambda: next(answers, (200, responder.parts[2].arrow))
    with responder.opened() as warehouse:
        assert read(warehouse) == list(range(12))
    assert responder.count(RESULT) == 2


def test_parts_that_never_come_are_given_up(responder: Any) -> None:
    responder.answers["/chunks/2"] = (403, b"")
    with responder.opened() as warehouse, pytest.raises(WarehouseBusy):
        read(warehouse)
    assert responder.count(RESULT) == 2


def test_a_part_with_missing_rows_is_no_result(responder: Any) -> None:
    responder.answers["/chunks/1"] = (200, responder.parts[0].arrow[:-8])
    shorter = responder.result()
    shorter["chunks"][0]["rowCount"] = 5
    responder.answers[RESULT] = {"data": shorter, "success": True}
    with responder.opened() as warehouse, pytest.raises(WarehouseBusy):
        read(warehouse)


def test_a_result_that_is_not_there_yet_is_no_empty_result(responder: Any) -> None:
    responder.answers[RESULT] = {"data": {"getResultUrl": RESULT}, "code": "333333", "success": True}
    with responder.opened() as warehouse, pytest.raises(WarehouseBusy):
        read(warehouse)


def test_reading_goes_on_in_the_middle_of_a_part(responder: Any) -> None:
    with responder.opened() as warehouse:
        for row in range(13):
            assert read(warehouse, position={"query_id": QUERY_ID, "row": row}) == list(range(row, 12))
    assert responder.count(ASKED) == 0


def test_no_more_than_one_part_is_downloaded_ahead(responder: Any) -> None:
    with responder.opened() as warehouse, warehouse.stream(QUERY, batch_rows=4) as stream:
        rows = iter(stream)
        next(rows)
        assert responder.count(CHUNK) <= 1
        list(rows)
    assert responder.count(CHUNK) == 2


def test_a_download_that_stalls_can_be_cancelled(responder: Any) -> None:
    over = threading.Event()
    responder.answers[CHUNK] = lambda: (200 + over.wait(60), b"")
    began = time.monotonic()
    with responder.opened() as warehouse, warehouse.stream(QUERY, batch_rows=3) as stream:
        canceller = threading.Timer(0.2, stream.cancel)
        canceller.start()
        with pytest.raises(WarehouseBusy, match="cancelled"):
            list(stream)
        canceller.join()
        over.set()
    assert time.monotonic() - began < 20


def test_a_position_holds_no_address(responder: Any) -> None:
    with responder.opened() as warehouse, warehouse.stream(QUERY, batch_rows=5) as stream:
        list(stream)
        assert set(stream.position or ()) == {"query_id", "row"}


def test_neither_a_secret_nor_a_value_is_logged(responder: Any, caplog: pytest.LogCaptureFixture) -> None:
    responder.answers["/chunks/2"] = (403, VALUE.encode())
    with caplog.at_level("INFO"):
        with responder.opened() as warehouse, pytest.raises(WarehouseBusy):
            read(warehouse)
        responder.answers[STATUS] = ended("FAILED_WITH_ERROR")
        responder.answers[RESULT] = failed("100038", f"Numeric value '{VALUE}' is not recognized", "22018")
        with responder.opened() as warehouse, pytest.raises(ModelInvalid):
            read(warehouse)
    assert "snowflake" not in caplog.text
    assert VALUE not in caplog.text
    assert "a-secret-password" not in caplog.text
