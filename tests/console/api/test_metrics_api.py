"""``/metrics``: behind a token on the API's port, and alone on a port of its own."""

import http.client
from http import HTTPStatus

import httpx
import pytest

from console import metrics_listener
from console.api.app import build_api
from console.operations import Operations
from sandbox.ports import free_port
from shared.access import Role
from shared.errors import DeclarationInvalid
from tests.console.api.conftest import HOST, Api
from tests.shared.store.stage import Stage

LOCAL = "127.0.0.1"


def test_a_viewer_reads_all_metrics_in_the_format_that_is_asked_for(viewer: Api, stage: Stage) -> None:
    stage.declare()
    plain = viewer.get(f"{HOST}/metrics")
    assert plain.status_code == HTTPStatus.OK
    assert plain.headers["Content-Type"].startswith("text/plain; version=")
    assert 'warehouse_sync_pipeline_faulted{pipeline="people"} 0.0' in plain.text
    opened = viewer.send("GET", f"{HOST}/metrics", headers={"Accept": "application/openmetrics-text; version=1.0.0"})
    assert opened.headers["Content-Type"].startswith("application/openmetrics-text")
    assert opened.text.endswith("# EOF\n")


def test_nobody_reads_them_from_the_api_without_a_token(operations: Operations, viewer: Api) -> None:
    transport = httpx.ASGITransport(build_api(operations))
    token = operations.access.create_token("prometheus", Role.VIEWER).text

    async def answers() -> list[int]:
        async with httpx.AsyncClient(transport=transport) as client:
            signed_in = {"Authorization": f"Bearer {token}"}
            return [(await client.get(f"{HOST}/metrics", headers=headers)).status_code for headers in ({}, signed_in)]

    assert viewer.runner.run(answers()) == [HTTPStatus.UNAUTHORIZED, HTTPStatus.OK]


def test_a_port_of_its_own_serves_them_without_a_sign_in_and_nothing_else(operations: Operations) -> None:
    port = free_port()
    with metrics_listener.listening(operations, LOCAL, port):
        assert asked(port, "GET", "/metrics") == HTTPStatus.OK
        for path in ("/", "/healthz", "/openapi.json", "/platform/v2/workspaces/1/pipelines", "/metrics/more"):
            assert asked(port, "GET", path) == HTTPStatus.NOT_FOUND
        for method in ("POST", "PUT", "DELETE"):
            assert asked(port, method, "/metrics") == HTTPStatus.METHOD_NOT_ALLOWED
    with pytest.raises(ConnectionRefusedError):
        asked(port, "GET", "/metrics")


def test_a_port_that_is_taken_is_refused_before_anything_is_served(operations: Operations) -> None:
    port = free_port()
    with (
        metrics_listener.listening(operations, LOCAL, port),
        pytest.raises(DeclarationInvalid, match="choose another --metrics-port"),
        metrics_listener.listening(operations, LOCAL, port),
    ):
        pass


def asked(port: int, method: str, path: str) -> int:
    connection = http.client.HTTPConnection(LOCAL, port, timeout=30)
    try:
        connection.request(method, path)
        return connection.getresponse().status
    finally:
        connection.close()
