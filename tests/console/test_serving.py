"""The server: where it may listen, and that it ends in order."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from console.operations import Operations
from console.serving import cautions, configured, require_sign_in, serve
from console.sockets import Listening, require_free
from console.terminal import screen
from sandbox.ports import free_port
from sandbox.services import Services
from shared.access import Role
from shared.errors import DeclarationInvalid, MoveNotAllowed
from shared.settings import Settings
from shared.store.database import Database
from tests.shared.store.stage import Stage

ANY = "0.0.0.0"  # noqa: S104 - what must not be bound without further ado
WIDE = (ANY, "::", "192.0.2.7", "api.example.com")
LOCAL = ("127.0.0.1", "127.8.9.1", "::1", "localhost")
LIMIT_S = 60


@pytest.fixture
def own(services: Services, common_database: Database, tmp_path: Path) -> Settings:
    url = common_database.url.render_as_string(hide_password=False)
    return Settings.model_validate({"home": tmp_path, "database_url": url, "broker_url": services.broker_url})


@pytest.fixture
def operations(own: Settings, stage: Stage) -> Iterator[Operations]:  # noqa: ARG001 - it begins empty
    opened = Operations(own)
    yield opened
    opened.close()


@pytest.mark.parametrize("host", WIDE)
def test_others_are_let_in_only_once_somebody_can_sign_in_as_an_admin(operations: Operations, host: str) -> None:
    operations.access.create_token("watcher", Role.VIEWER)
    with pytest.raises(MoveNotAllowed, match="warehouse-sync tokens create NAME --role admin"):
        require_sign_in(operations, Listening(host))
    operations.access.create_client("anna", Role.ADMIN)
    require_sign_in(operations, Listening(host))


@pytest.mark.parametrize("host", LOCAL)
def test_this_machine_needs_no_admin_beforehand(operations: Operations, host: str) -> None:
    require_sign_in(operations, Listening(host))


def test_who_listens_to_others_without_tls_is_warned(tmp_path: Path) -> None:
    key = tmp_path / "key.pem"
    assert all("--tls-certificate" in cautions(Listening(host))[0] for host in WIDE)
    assert not any(cautions(Listening(host)) for host in LOCAL)
    assert not cautions(Listening(ANY, certificate=key, key=key))
    assert not cautions(Listening(ANY, proxies="10.0.0.1"))


def test_a_certificate_without_its_key_is_refused(own: Settings, tmp_path: Path) -> None:
    with pytest.raises(DeclarationInvalid, match="both"):
        serve(own, Listening(certificate=tmp_path / "some.pem"), screen)
    with pytest.raises(DeclarationInvalid, match=r"some.pem is no file"):
        serve(own, Listening(certificate=tmp_path / "some.pem", key=tmp_path / "some.pem"), screen)


def test_a_word_about_the_callers_address_is_believed_of_named_proxies_only(operations: Operations) -> None:
    assert configured(operations, Listening()).proxy_headers is False
    named = configured(operations, Listening(proxies="10.0.0.1"))
    assert (named.proxy_headers, named.forwarded_allow_ips) == (True, "10.0.0.1")


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_server_answers_until_it_is_told_to_stop(
    own: Settings, stage: Stage, number: signal.Signals, code: int
) -> None:
    port = free_port()
    assert own.database_url is not None
    assert own.broker_url is not None
    environment = {
        **os.environ,
        "WAREHOUSE_SYNC_HOME": str(own.home),
        "WAREHOUSE_SYNC_DATABASE_URL": stage.database.url.render_as_string(hide_password=False),
        "WAREHOUSE_SYNC_BROKER_URL": own.broker_url.get_secret_value(),
        "WAREHOUSE_SYNC_LOG_FORMAT": "json",
    }
    # Whoever runs the tests in the background has SIGINT ignored, and what they start would inherit that.
    heard = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); "
    argv = [sys.executable, "-c", f"{heard}from console.cli import main; main()", "serve", "--port", str(port)]
    with subprocess.Popen(argv, env=environment, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as server:
        try:
            assert until_it_answers(f"http://127.0.0.1:{port}/healthz", server) == {"status": "ok"}
            refused = httpx.get(f"http://127.0.0.1:{port}/platform/v2/workspaces/1/feeds", timeout=LIMIT_S)
            assert refused.status_code == 401
            assert "server" not in refused.headers
        finally:
            server.send_signal(number)
            _, told = server.communicate(timeout=LIMIT_S)
    assert server.returncode == code
    assert all(line.startswith("{") for line in told.splitlines()), told
    assert '"event": "request_answered"' in told


def until_it_answers(url: str, server: subprocess.Popen[str]) -> object:
    until = time.monotonic() + LIMIT_S
    while time.monotonic() < until and server.poll() is None:
        try:
            return httpx.get(url).json()
        except httpx.TransportError:
            time.sleep(0.05)
    pytest.fail(f"{url} did not answer within {LIMIT_S} s")


def test_a_port_that_is_taken_is_named_with_the_cure() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(DeclarationInvalid, match=f"127.0.0.1, port {port} .*another --port"):
            require_free("127.0.0.1", port)
    require_free("127.0.0.1", port)
