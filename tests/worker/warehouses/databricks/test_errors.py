"""What a workspace may answer, and what it means for a run."""

import logging
import time
import traceback
from typing import Any

import pytest
from databricks.sql.auth.retry import DatabricksRetryPolicy
from databricks.sql.cloudfetch.downloader import ResultSetDownloadHandler
from databricks.sql.exc import Error as ClientError
from databricks.sql.thrift_api.TCLIService import ttypes

from shared.errors import (
    CredentialsRefused,
    ModelInvalid,
    QueryTimedOut,
    RightsMissing,
    SyncError,
    WarehouseBusy,
    WarehouseUnreachable,
)
from shared.sql import Query
from tests.worker.warehouses.databricks.conftest import TOKEN
from tests.worker.warehouses.databricks.responder import CUT, Http, Responder, failed
from worker.warehouses.base import Label
from worker.warehouses.databricks import sessions
from worker.warehouses.databricks.errors import query_failed

VALUE = "alice@example.com"
REASON = "x-databricks-reason-phrase"


def rows(opened: Any, query: Query) -> list[int]:
    with opened() as warehouse, warehouse.stream(query, batch_rows=2) as stream:
        return [value for batch in stream for value in batch.column("id").to_pylist()]


@pytest.mark.parametrize(
    ("answer", "error", "named"),
    [
        (Http(401), CredentialsRefused, "access_token"),
        (Http(403, {REASON: "Invalid access token."}), CredentialsRefused, "HTTP 403"),
        (Http(403, {REASON: "Source IP address: 1.2.3.4 is blocked by Databricks IP ACL"}), RightsMissing, "IP access"),
        (Http(403, {REASON: "PERMISSION_DENIED: You do not have permission"}), RightsMissing, "CAN USE"),
        (Http(404, {REASON: "RESOURCE_DOES_NOT_EXIST"}), WarehouseUnreachable, "http_path"),
        (Http(400, {REASON: "Invalid http path"}), WarehouseUnreachable, "http_path"),
        (Http(503, {"Retry-After": "100"}), WarehouseBusy, "starting"),
        (Http(429, {"Retry-After": "100"}), WarehouseBusy, "throttled"),
        (Http(501), WarehouseBusy, "127.0.0.1"),
    ],
)
def test_a_refused_session_says_what_to_correct(
    responder: Responder, opened: Any, answer: Http, error: type[SyncError], named: str
) -> None:
    responder.http["OpenSession"] = [answer] * 5
    began = time.monotonic()
    with pytest.raises(error, match=named) as refused, opened():
        pass
    assert "bricks" in str(refused.value)
    assert TOKEN not in "".join(traceback.format_exception(refused.value))
    assert time.monotonic() - began < 10


@pytest.mark.parametrize(
    ("status", "error", "named"),
    [
        (failed("[SCHEMA_NOT_FOUND] The schema `mp` cannot be found. SQLSTATE: 42704"), WarehouseUnreachable, "`mp`"),
        (failed("[INSUFFICIENT_PERMISSIONS] No USE SCHEMA on mp. SQLSTATE: 42501"), RightsMissing, "USE SCHEMA"),
        (failed("TEMPORARILY_UNAVAILABLE: The service is not ready"), WarehouseBusy, "now"),
        (failed("Thrift is not supported", state="KP001"), WarehouseUnreachable, "real-time"),
    ],
)
def test_a_session_that_databricks_refuses_in_words_is_sorted_by_them(
    responder: Responder, opened: Any, status: Any, error: type[SyncError], named: str
) -> None:
    responder.open_errors = [status]
    with pytest.raises(error, match=named), opened():
        pass


def test_a_warehouse_that_wakes_in_time_is_waited_for(
    responder: Responder, opened: Any, query: Query, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sessions, "_ATTEMPTS", 4)
    responder.http["OpenSession"] = [Http(503, {"Retry-After": "1"})]
    assert rows(opened, query) == [1, 2, 3]


def test_an_unknown_host_is_named(responder: Responder, opened: Any) -> None:
    with (
        pytest.raises(WarehouseUnreachable, match=r"no host nowhere\.invalid"),
        opened(endpoint=None, server_hostname="nowhere.invalid"),
    ):
        pass
    assert not responder.requests


@pytest.mark.parametrize(
    ("words", "error", "told"),
    [
        (
            "[UNRESOLVED_COLUMN.WITH_SUGGESTION] A column named `emial` is not there. SQLSTATE: 42703; line 3 pos 7",
            ModelInvalid,
            "at line 2, column 8: [UNRESOLVED_COLUMN.WITH_SUGGESTION] A column named `emial`",
        ),
        (
            "\n[PARSE_SYNTAX_ERROR] Syntax error at or near 'x'. SQLSTATE: 42601 (line 2, pos 0)\n\n== SQL ==\n",
            ModelInvalid,
            "at line 1, column 1: [PARSE_SYNTAX_ERROR] Syntax error",
        ),
        (
            "[UNRESOLVED_COLUMN] Column `at` is missing. SQLSTATE: 42703; line 4 pos 21",
            ModelInvalid,
            "at its end: [UNRESOLVED_COLUMN]",
        ),
        ("[INSUFFICIENT_PERMISSIONS] No SELECT on t. SQLSTATE: 42501", RightsMissing, "No SELECT on t"),
        (
            f"[CAST_INVALID_INPUT] The value '{VALUE}' cannot be cast. SQLSTATE: 22018\n== SQL (line 2, position 3) ==",
            ModelInvalid,
            "at line 1, column 3: CAST_INVALID_INPUT SQLSTATE 22018",
        ),
        (f"Job aborted due to stage failure: task 1: {VALUE} [ALICE]", ModelInvalid, "unknown error"),
        (f"[CAST_INVALID_INPUT] The value '{VALUE} SQLSTATE' cannot be cast.", ModelInvalid, "CAST_INVALID_INPUT"),
        ("[QUERY_EXECUTION_TIMEOUT_EXCEEDED] Ended after 60 s. SQLSTATE: 57014", QueryTimedOut, "STATEMENT_TIMEOUT"),
        ("Query has timed out after 60 seconds.", QueryTimedOut, "time limit"),
        ("[OPERATION_CANCELED] Operation has been canceled. SQLSTATE: HY008", WarehouseBusy, "OPERATION_CANCELED"),
        ("Invalid SessionHandle: SessionHandle [x]", WarehouseBusy, "broke off"),
        ("[INTERNAL_ERROR] Something with a value. SQLSTATE: XX000", WarehouseBusy, "INTERNAL_ERROR"),
        (f"[USER_RAISED_EXCEPTION] {VALUE} SQLSTATE: P0001", ModelInvalid, "USER_RAISED_EXCEPTION SQLSTATE P0001"),
        (f"[COLLECTION_SIZE_LIMIT_EXCEEDED.FUNCTION] {VALUE} SQLSTATE: 54000", ModelInvalid, "SQLSTATE 54000"),
        (
            f"[CAST_INVALID_INPUT] The value '{VALUE} SQLSTATE: 42000' cannot be cast. SQLSTATE: 22018",
            ModelInvalid,
            "CAST_INVALID_INPUT SQLSTATE 22018",
        ),
        (
            f"[CAST_INVALID_INPUT] The value '{VALUE} SQLSTATE: 57014' cannot be cast. SQLSTATE: 22018",
            ModelInvalid,
            "CAST_INVALID_INPUT SQLSTATE 22018",
        ),
        (
            f"[CAST_INVALID_INPUT] The value '{VALUE} SQLSTATE: 42000\n== SQL' cannot be cast. SQLSTATE: 22018",
            ModelInvalid,
            "CAST_INVALID_INPUT",
        ),
        (
            "[CAST_INVALID_INPUT] The value 'x' cannot be cast. SQLSTATE: 22018\n== SQL ==\nCAST('SQLSTATE: 57014')",
            ModelInvalid,
            "CAST_INVALID_INPUT SQLSTATE 22018",
        ),
    ],
)
def test_a_failed_query_is_sorted_by_its_state(
    responder: Responder, opened: Any, query: Query, words: str, error: type[SyncError], told: str
) -> None:
    responder.error = words
    with pytest.raises(error) as refused:
        rows(opened, query)
    assert told in str(refused.value)
    assert "run 7" in str(refused.value)
    assert VALUE not in "".join(traceback.format_exception(refused.value))


@pytest.mark.parametrize(
    ("method", "answer"),
    [("ExecuteStatement", CUT), ("FetchResults", CUT), *[("FetchResults", Http(status)) for status in (500, 502, 504)]],
)
def test_an_answer_that_is_lost_is_not_asked_for_again(
    responder: Responder, opened: Any, query: Query, method: str, answer: Http
) -> None:
    with opened() as warehouse, warehouse.stream(query, batch_rows=2) as stream:
        asked = len(responder.asked(method))
        responder.http[method] = [answer]
        with pytest.raises(WarehouseBusy, match="run 7"):
            list(stream)
        assert len(responder.asked(method)) == asked + 1


@pytest.mark.parametrize(
    ("method", "answer"),
    [("GetOperationStatus", Http(502)), ("FetchResults", Http(503, {"Retry-After": "1"}))],
)
def test_what_may_be_asked_twice_is_asked_again(
    responder: Responder, opened: Any, query: Query, monkeypatch: pytest.MonkeyPatch, method: str, answer: Http
) -> None:
    monkeypatch.setattr(DatabricksRetryPolicy, "sleep_for_retry", lambda *_: True)
    with opened() as warehouse, warehouse.stream(query, batch_rows=2) as stream:
        responder.http[method] = [answer]
        assert [value for batch in stream for value in batch.column("id").to_pylist()] == [1, 2, 3]


@pytest.mark.parametrize("method", ["ExecuteStatement", "GetOperationStatus", "FetchResults"])
@pytest.mark.parametrize("status", [400, 404])
def test_a_session_that_is_gone_is_replaced_by_repeating(
    responder: Responder, opened: Any, query: Query, method: str, status: int
) -> None:
    with opened() as warehouse, warehouse.stream(query, batch_rows=2) as stream:
        responder.http[method] = [Http(status, {REASON: "RESOURCE_DOES_NOT_EXIST"})]
        with pytest.raises(WarehouseBusy, match=f"run 7: .*HTTP {status}"):
            list(stream)


def test_a_query_that_the_server_closed_is_repeated(responder: Responder, opened: Any, query: Query) -> None:
    responder.is_closed = True
    with pytest.raises(WarehouseBusy, match="broke off"):
        rows(opened, query)


def test_a_permit_of_a_result_file_that_ran_out_is_busy(query: Query) -> None:
    with pytest.raises(ClientError) as expired:
        ResultSetDownloadHandler._validate_link(ttypes.TSparkArrowResultLink(expiryTime=0), 0)
    found = query_failed(expired.value, label=Label("run 7"), query=query, host="127.0.0.1")
    assert type(found) is WarehouseBusy


def test_a_query_that_was_stopped_while_its_last_page_came_is_not_complete(
    responder: Responder, opened: Any, query: Query, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer = responder.answer
    with opened() as warehouse, warehouse.stream(query, batch_rows=3) as stream:

        def stopped(name: str, request: Any) -> Any:
            given = answer(name, request)
            if name == "FetchResults":
                given.hasMoreRows = len(responder.table) > 0
                responder.table = responder.table.slice(0, 0)
                if not given.hasMoreRows:
                    stream.cancel()
            return given

        monkeypatch.setattr(responder, "answer", stopped)
        with pytest.raises(WarehouseBusy, match="cancelled"):
            list(stream)


def test_rows_that_the_server_skipped_are_noticed(responder: Responder, opened: Any, query: Query) -> None:
    responder.first_row = 2
    with pytest.raises(WarehouseBusy, match="broke off"):
        rows(opened, query)


def test_a_throttled_fetch_is_busy(responder: Responder, opened: Any, query: Query) -> None:
    with opened() as warehouse, warehouse.stream(query, batch_rows=2) as stream:
        responder.http["FetchResults"] = [Http(429, {"Retry-After": "100"})] * 3
        with pytest.raises(WarehouseBusy, match="throttled"):
            list(stream)


def test_a_page_that_is_cut_short_is_busy(responder: Responder, opened: Any, query: Query) -> None:
    with opened() as warehouse, warehouse.stream(query, batch_rows=2) as stream:
        responder.http["FetchResults"] = [Http(200, body="\x80\x01")]
        with pytest.raises(WarehouseBusy):
            list(stream)


def test_the_client_logs_neither_statements_nor_values_nor_tokens(
    responder: Responder, opened: Any, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sessions, "_ATTEMPTS", 2)
    caplog.set_level(logging.DEBUG)
    responder.error = f"[CAST_INVALID_INPUT] The value '{VALUE}' cannot be cast. SQLSTATE: 22018"
    responder.http["OpenSession"] = [CUT]
    with pytest.raises(ModelInvalid):
        rows(opened, Query("SELECT 'statement text' AS id"))
    assert all(secret not in caplog.text for secret in (TOKEN, VALUE, "statement text"))


def test_a_permit_in_the_address_of_a_result_file_is_cut_from_the_log(caplog: pytest.LogCaptureFixture) -> None:
    logging.getLogger("urllib3.connectionpool").warning("Retrying (%r): %s", 3, "/results_1?sig=permit&se=2026")
    assert "/results_1" in caplog.text
    assert "permit" not in caplog.text
