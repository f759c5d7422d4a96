"""Every answer of BigQuery's means one thing to do, and says nothing of a row."""

import logging
import traceback
from collections.abc import Callable
from datetime import UTC, datetime

import pytest
from google.api_core.exceptions import Cancelled, InvalidArgument, OutOfRange

from shared.errors import (
    CredentialsRefused,
    ModelInvalid,
    QueryTimedOut,
    ResultExpired,
    RightsMissing,
    SyncError,
    WarehouseBusy,
    WarehouseUnreachable,
)
from shared.providers.bigquery import BigQueryConfig
from shared.run import Position
from shared.sql import Bound, Query, columns_query
from tests.standins.bigquery import DATASET, PROJECT, email_of
from tests.worker.warehouses.bigquery.conftest import Opened
from tests.worker.warehouses.bigquery.google import DONE, Answer, Google, failed_job, refusal
from worker.warehouses.base import Label, Warehouse
from worker.warehouses.bigquery.errors import Asked, reading_failed

VALUE = "alice@example.com"
RUNNING = DONE | {"status": {"state": "RUNNING"}}
QUERY = columns_query("SELECT id\nFROM users", "bigquery")
POSITION: Position = {"job_id": "a", "stream": "projects/p/locations/us/sessions/s/streams/0", "offset": 10}


def describe(warehouse: Warehouse) -> object:
    return warehouse.describe(QUERY)


def read(warehouse: Warehouse) -> object:
    with warehouse.stream(QUERY, batch_rows=10) as stream:
        return list(stream)


def go_on(warehouse: Warehouse) -> object:
    with warehouse.stream(QUERY, batch_rows=10, position=POSITION) as stream:
        return list(stream)


def failure(opened: Opened, ask: Callable[[Warehouse], object] = describe) -> SyncError:
    with opened() as warehouse, pytest.raises(SyncError) as failed:
        ask(warehouse)
    shown = "".join(traceback.format_exception(failed.value))
    assert VALUE not in shown
    assert "run 7" in str(failed.value)
    assert "google." not in shown
    return failed.value


@pytest.mark.parametrize(
    ("answer", "kind", "named"),
    [
        (refusal(401, "authError", "Invalid credentials"), CredentialsRefused, "reader@"),
        (refusal(403, "accessDenied", "Access Denied: Table p:d.t: no permission"), RightsMissing, "Table p:d.t"),
        (refusal(403, "billingNotEnabled", "Billing has not been enabled"), RightsMissing, "Billing"),
        (refusal(403, "accessNotConfigured", "BigQuery API is disabled"), WarehouseUnreachable, "API is disabled"),
        (refusal(404, "notFound", "Not found: Project standin-project"), WarehouseUnreachable, "project_id"),
        (refusal(404, "notFound", "Not found: Dataset standin-project:mp"), WarehouseUnreachable, "dataset_id"),
        (refusal(404, "notFound", "Not found: Dataset other-project:x"), ModelInvalid, "other-project:x"),
        (refusal(404, "notFound", "Not found: Table p:d.t was not found in location US"), ModelInvalid, "p:d.t"),
        (refusal(400, "invalidQuery", "Unrecognized name: surname at [2:8]"), ModelInvalid, "line 1, column 8"),
        (refusal(400, "invalidQuery", "Syntax error: end at [4:1]"), ModelInvalid, "at its end"),
        (refusal(400, "invalid", "Query parameter 'x' not found"), ModelInvalid, "'x'"),
        (refusal(403, "quotaExceeded", "Quota exceeded: too many"), WarehouseBusy, "too many"),
        (refusal(403, "rateLimitExceeded", "Exceeded rate limits"), WarehouseBusy, "rate limits"),
        (refusal(400, "resourcesExceeded", "Resources exceeded: memory"), ModelInvalid, "too large"),
        (refusal(500, "internalError", "An internal error"), WarehouseBusy, "internalError"),
        (refusal(503, "backendError", "Error encountered"), WarehouseBusy, "backendError"),
        ((502, "<html>Bad gateway</html>"), WarehouseBusy, "backendError"),
        ((429, {}), WarehouseBusy, "rateLimitExceeded"),
        ((200, "<html>Sign in to this network</html>"), WarehouseBusy, "could not be made"),
        (None, WarehouseBusy, "the connection to BigQuery broke"),
    ],
)
def test_a_refused_query_says_what_to_do(
    google: Google, opened: Opened, answer: Answer, kind: type[SyncError], named: str
) -> None:
    google.answers["look"] = [answer]
    found = failure(opened)
    assert type(found) is kind
    assert named in str(found)


@pytest.mark.parametrize(
    ("answer", "kind", "named"),
    [
        (failed_job("invalidQuery", f"Bad int64 value: {VALUE}"), ModelInvalid, "fails on some row (invalidQuery)"),
        (failed_job("invalidQuery", f"Bad int64 value: {VALUE} at [3:9]"), ModelInvalid, "at line 2, column 9"),
        (failed_job("badRequest", VALUE), ModelInvalid, "warehouse_sync_"),
        (failed_job("", VALUE), ModelInvalid, "SAFE_CAST"),
        (failed_job("resourcesExceeded", "Resources exceeded: sort"), ModelInvalid, "sort"),
        (failed_job("accessDenied", "Access Denied: View d.v"), RightsMissing, "View d.v"),
        (failed_job("notFound", "Not found: Table p:d.t"), ModelInvalid, "p:d.t"),
        (failed_job("rateLimitExceeded", "Exceeded"), WarehouseBusy, "rateLimitExceeded"),
        (failed_job("jobBackendError", "Retry the job"), WarehouseBusy, "Retry"),
        (failed_job("stopped", "Job execution was cancelled: User requested"), WarehouseBusy, "somebody cancelled"),
        (failed_job("stopped", "Job execution was cancelled: Job timed out after 1s"), QueryTimedOut, "30 s"),
        (failed_job("timeout", "Operation timed out"), QueryTimedOut, "30 s"),
    ],
)
def test_a_failed_job_says_what_to_do_and_never_a_value(
    google: Google, opened: Opened, answer: Answer, kind: type[SyncError], named: str
) -> None:
    google.answers["start"] = [answer]
    found = failure(opened, read)
    assert type(found) is kind
    assert named in str(found)


def test_a_job_whose_start_was_not_answered_is_not_started_twice(google: Google, opened: Opened) -> None:
    google.answers["start"] = [None, refusal(409, "duplicate", "Already Exists: Job")]
    google.answers["job"] = [failed_job("invalidQuery", f"Bad int64 value: {VALUE}")]
    assert "fails on some row" in str(failure(opened, read))
    names = [body["jobReference"]["jobId"] for body in google.bodies("start")]
    assert len(names) == 2
    assert len(set(names)) == 1


def test_a_request_that_failed_for_a_moment_is_repeated(google: Google, opened: Opened) -> None:
    google.answers["look"] = [refusal(503, "backendError", "later"), None, *google.answers["look"]]
    with opened() as warehouse:
        assert warehouse.describe(QUERY).names == ["id"]


def test_the_cost_is_what_the_dry_run_says(opened: Opened) -> None:
    with opened() as warehouse:
        assert warehouse.scanned_bytes(QUERY) == 1234


def test_every_request_names_the_product(google: Google, opened: Opened) -> None:
    google.answers |= {"start": [(200, RUNNING)], "job": [failed_job("invalidQuery", VALUE)]}
    failure(opened, read)
    assert len(google.agents) == 3
    assert all("warehouse-sync" in agent for agent in google.agents)


def test_a_job_that_bigquery_does_not_know_is_tried_again(google: Google, opened: Opened) -> None:
    google.answers |= {"start": [(200, RUNNING)], "cancel": [refusal(404, "notFound", "Not found: Job")]}
    google.answers["job"] = [refusal(404, "notFound", "Not found: Job")]
    assert type(failure(opened, read)) is WarehouseBusy


def test_describing_runs_nothing(google: Google, opened: Opened) -> None:
    with opened() as warehouse:
        warehouse.describe(QUERY)
    assert google.bodies("start") == []


def test_a_statement_that_is_no_select_is_refused(google: Google, opened: Opened) -> None:
    google.answers["look"] = [(200, DONE | {"statistics": {"query": {"statementType": "SCRIPT"}}})]
    assert "other than one SELECT" in str(failure(opened))


@pytest.mark.parametrize("error", [Cancelled(VALUE), InvalidArgument(VALUE), OutOfRange(VALUE)])
def test_a_reading_that_breaks_off_says_nothing_of_a_row(error: Exception) -> None:
    config = BigQueryConfig(
        project_id=PROJECT,
        dataset_id=DATASET,
        region="US",
        service_account_id=email_of("reader"),
        service_account_key="env:KEY",
    )
    found = reading_failed(error, Asked(QUERY, Label("run 7"), config, 30), job_id="warehouse_sync_1")
    assert type(found) is WarehouseBusy
    assert "job warehouse_sync_1" in str(found)
    assert VALUE not in str(found)


def test_a_listing_that_breaks_off_says_nothing_of_a_row(google: Google, opened: Opened) -> None:
    table = {"projectId": "p", "datasetId": "_x", "tableId": "anon"}
    google.answers["start"] = [(200, DONE | {"configuration": {"query": {"query": "", "destinationTable": table}}})]
    google.answers["data"] = [refusal(400, "invalid", VALUE)]
    found = failure(opened, lambda warehouse: warehouse.clock())
    assert type(found) is WarehouseBusy
    assert "job warehouse_sync_" in str(found)


def test_asking_for_a_job_in_vain_says_nothing_of_a_row(google: Google, opened: Opened) -> None:
    google.answers |= {"start": [(200, RUNNING)], "cancel": [(200, {"job": DONE})]}
    google.answers["job"] = [refusal(400, "invalid", VALUE)]
    found = failure(opened, read)
    assert type(found) is WarehouseBusy
    assert "job warehouse_sync_" in str(found)


@pytest.mark.parametrize("missing", ["job", "table"])
def test_a_result_that_is_gone_cannot_be_continued(google: Google, opened: Opened, missing: str) -> None:
    table = {"projectId": "p", "datasetId": "_x", "tableId": "anon"}
    google.answers["job"] = [(200, DONE | {"configuration": {"query": {"query": "", "destinationTable": table}}})]
    google.answers["table"] = google.answers[missing] = [refusal(404, "notFound", "Not found")]
    assert type(failure(opened, go_on)) is ResultExpired


def test_a_job_that_is_still_running_when_its_stream_is_left_is_cancelled(google: Google, opened: Opened) -> None:
    google.answers |= {
        "start": [(200, RUNNING)],
        "job": [refusal(400, "invalid", "unexpected")],
        "cancel": [(200, {"job": DONE})],
    }
    failure(opened, read)
    assert len(google.bodies("cancel")) == 1


def test_nothing_that_is_logged_holds_a_parameter_or_a_secret(
    google: Google, opened: Opened, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    google.answers["start"] = [failed_job("invalidQuery", f"Bad int64 value: {VALUE}")]
    bounds = {"low": Bound(datetime(2026, 3, 1, 1, 2, 3, tzinfo=UTC), "TIMESTAMP")}
    query = Query(f"SELECT '{VALUE}' AS id WHERE CURRENT_TIMESTAMP() > @low", bounds)
    with (
        opened() as warehouse,
        pytest.raises(ModelInvalid) as failed,
        warehouse.stream(query, batch_rows=1) as stream,
    ):
        list(stream)
    shown = caplog.text + "".join(traceback.format_exception(failed.value))
    assert not any(secret in shown for secret in (VALUE, "01:02:03", "token-of-test", "PRIVATE KEY"))
