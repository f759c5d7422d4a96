"""Who a session is, and what it says of itself."""

import webbrowser
from base64 import b64encode
from typing import Any

import pytest

from shared.errors import CredentialsRefused, SecretUnavailable, WarehouseBusy, WarehouseUnreachable
from shared.sql import Query
from tests.worker.warehouses.databricks.conftest import TOKEN
from tests.worker.warehouses.databricks.responder import CUT, Http, Responder, failed
from worker.warehouses.databricks.signin import ServicePrincipal

SECRET = "dose-very-secret"
PRINCIPAL = {
    "access_token": None,
    "client_id": "5f4dcc3b",
    "client_secret": "env:WAREHOUSE_SYNC_SECRET_CLIENT",
}


@pytest.fixture
def principal(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    monkeypatch.setenv("WAREHOUSE_SYNC_SECRET_CLIENT", SECRET)
    return PRINCIPAL


def test_a_token_is_shown_with_every_request(responder: Responder, opened: Any) -> None:
    with opened():
        pass
    assert responder.requests
    assert {headers["authorization"] for _, _, headers in responder.requests} == {f"Bearer {TOKEN}"}


def test_a_secret_that_is_not_there_is_named(opened: Any) -> None:
    with (
        pytest.raises(SecretUnavailable, match="WAREHOUSE_SYNC_SECRET_NONE"),
        opened(access_token="env:WAREHOUSE_SYNC_SECRET_NONE"),
    ):
        pass


def test_a_service_principal_trades_its_secret_for_a_token(
    responder: Responder, opened: Any, principal: dict[str, Any], query: Query
) -> None:
    with opened(**principal) as warehouse, warehouse.stream(query, batch_rows=9) as stream:
        list(stream)
    (form,) = responder.asked("token")
    assert form == "grant_type=client_credentials&scope=all-apis"
    shown = {name: headers for name, _, headers in responder.requests}
    assert shown["token"]["Authorization"] == "Basic " + b64encode(f"5f4dcc3b:{SECRET}".encode()).decode()
    assert shown["FetchResults"]["authorization"] == "Bearer token-1"


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (Http(401, body='{"error": "invalid_client"}'), CredentialsRefused),
        (Http(400), CredentialsRefused),
        (Http(302, {"Location": "/elsewhere/token"}), WarehouseUnreachable),
        (Http(404), WarehouseUnreachable),
        (Http(200, body="<html>"), WarehouseUnreachable),
        (Http(200, body="[]"), WarehouseUnreachable),
        (Http(503), WarehouseBusy),
        (Http(429), WarehouseBusy),
        (CUT, WarehouseBusy),
    ],
)
def test_a_token_that_is_not_given_says_why(
    responder: Responder, opened: Any, principal: dict[str, Any], answer: Http, error: type[Exception]
) -> None:
    responder.http["token"] = [answer]
    with pytest.raises(error) as refused, opened(**principal):
        pass
    assert "bricks" in str(refused.value)
    assert SECRET not in str(refused.value)
    assert len(responder.requests) == 1


def test_a_token_is_renewed_before_it_ends(responder: Responder) -> None:
    times = [0.0]
    url = f"{responder.address}/oidc/v1/token"
    principal = ServicePrincipal("bricks", url, client_id="5f4dcc3b", secret=SECRET, clock=lambda: times[-1])

    def shown_at(now: float) -> str:
        times.append(now)
        return principal.headers()["authorization"]

    seen = [shown_at(now) for now in (0.0, 2800.0, 2900.0, 5000.0, 6000.0)]
    assert seen == [f"Bearer token-{number}" for number in (1, 1, 2, 2, 3)]


def test_a_renewal_that_is_refused_in_the_middle_is_told_as_that(
    responder: Responder, opened: Any, principal: dict[str, Any], query: Query
) -> None:
    responder.http["token"] = [Http(200, body='{"access_token": "short", "expires_in": 0.001}'), Http(401)]
    with pytest.raises(CredentialsRefused, match="OAuth secret"), opened(**principal) as warehouse:
        warehouse.describe(query)


def test_nobody_is_asked_to_sign_in_in_a_browser(
    responder: Responder, opened: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    monkeypatch.setattr(webbrowser, "open", asked.append)
    monkeypatch.setattr(webbrowser, "open_new", asked.append)
    responder.http["OpenSession"] = [Http(401)] * 3
    with pytest.raises(CredentialsRefused), opened():
        pass
    assert asked == []


def test_a_session_says_for_whom_it_is_and_how_long_it_may_take(responder: Responder, opened: Any) -> None:
    with opened():
        pass
    name, request, headers = responder.requests[0]
    assert name == "OpenSession"
    assert "(product=warehouse-sync; run=7; pipeline=users)" in headers["User-Agent"]
    assert request.configuration["QUERY_TAGS"] == "product:warehouse-sync,run:7,pipeline:users"
    assert request.configuration["STATEMENT_TIMEOUT"] == "60"
    assert request.initialNamespace.schemaName == "mp"
    assert responder.statements()[0] == "SET TIME ZONE 'UTC'"


def test_a_warehouse_without_query_tags_is_read_without_them(responder: Responder, opened: Any) -> None:
    responder.open_errors = [
        failed("[CONFIG_NOT_AVAILABLE] Configuration QUERY_TAGS is not available. SQLSTATE: 42K0I")
    ]
    with opened():
        pass
    first, second = responder.asked("OpenSession")
    assert "QUERY_TAGS" in first.configuration
    assert "QUERY_TAGS" not in second.configuration
