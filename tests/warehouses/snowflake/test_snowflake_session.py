"""Who signs in, as whom, and what the server learns of it."""

import json
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from shared.errors import CredentialsRefused, RightsMissing, WarehouseUnreachable
from tests.standins.snowflake import ROOT, Keys

KEY = {"password": None, "private_key": "env:WAREHOUSE_SYNC_SECRET_SNOWFLAKE_KEY"}
ENCRYPTED_KEY = {
    "password": None,
    "private_key": "env:WAREHOUSE_SYNC_SECRET_SNOWFLAKE_ENCRYPTED_KEY",
    "private_key_passphrase": "env:WAREHOUSE_SYNC_SECRET_SNOWFLAKE_PASSPHRASE",
}


@pytest.mark.parametrize("changes", [{}, KEY, ENCRYPTED_KEY])
def test_a_password_and_a_key_let_in(opened: Any, changes: dict[str, Any]) -> None:
    with opened(**changes) as warehouse:
        assert warehouse.session() == {
            "account": "standin",
            "user": "reader",
            "role": "SYNC",
            "warehouse": "LOADING",
            "database": "ANALYTICS",
            "schema": "PUBLIC",
        }


@pytest.mark.parametrize(
    ("variable", "value", "changes"),
    [
        ("WAREHOUSE_SYNC_SECRET_SNOWFLAKE", "wrong", {}),
        ("WAREHOUSE_SYNC_SECRET_SNOWFLAKE_KEY", Keys.made().private, KEY),
    ],
)
def test_a_wrong_secret_is_refused(
    opened: Any, monkeypatch: pytest.MonkeyPatch, variable: str, value: str, changes: dict[str, Any]
) -> None:
    monkeypatch.setenv(variable, value)
    with pytest.raises(CredentialsRefused, match=r"'subject'.*'reader'") as refused, opened(**changes):
        pass
    assert value not in str(refused.value)


@pytest.mark.parametrize(
    ("changes", "kind", "named"),
    [
        ({"user": "nobody"}, CredentialsRefused, "'nobody'"),
        ({"role": "owner"}, RightsMissing, "'owner'"),
        ({"database": "nowhere"}, WarehouseUnreachable, "'nowhere'"),
        ({"warehouse": "nothing"}, WarehouseUnreachable, "'nothing'"),
    ],
)
def test_what_does_not_exist_is_told_by_its_name(
    opened: Any, changes: dict[str, Any], kind: type[Exception], named: str
) -> None:
    with pytest.raises(kind, match=named), opened(**changes):
        pass


def test_the_session_tells_for_whom_it_works(snowflake: Any, opened: Any) -> None:
    with opened(query_timeout_s=12.5) as warehouse:
        login = snowflake.look()["sessions"][-1]["login"]
        parameters = login["SESSION_PARAMETERS"]
        assert json.loads(parameters["QUERY_TAG"]) == {"product": "warehouse-sync", "run": "7", "pipeline": "users"}
        assert parameters["TIMEZONE"] == "UTC"
        assert parameters["STATEMENT_TIMEOUT_IN_SECONDS"] == "13"
        assert parameters["ROWS_PER_RESULTSET"] == "0"
        assert login["CLIENT_ENVIRONMENT"]["APPLICATION"] == "warehouse_sync"
        warehouse.clock()
        assert json.loads(snowflake.look()["queries"][-1]["parameters"]["QUERY_TAG"])["run"] == "7"


def test_the_session_is_signed_out(snowflake: Any, opened: Any) -> None:
    with opened():
        assert snowflake.look()["sessions"][-1]["open"]
    assert not snowflake.look()["sessions"][-1]["open"]


PROGRAM = """
from shared.settings import Settings
from tests.standins.snowflake import Keys, SnowflakeStandin
from worker.warehouses.base import Label
from worker.warehouses.registry import open_warehouse

connection = SnowflakeStandin(URL, "", Keys("", "", "")).connection()
with open_warehouse(connection, Settings(), label=Label("run 7")) as warehouse:
    for _ in range(5):
        warehouse.clock()
"""


class Proxy:
    """Where requests by plain HTTP to anywhere but this machine end."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._socket.getsockname()[1]}"
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        with suppress(OSError):
            while True:
                peer, _ = self._socket.accept()
                with peer:
                    self.asked.append(peer.recv(2000).partition(b"\r\n")[0].decode())

    def close(self) -> None:
        self._socket.close()


@pytest.fixture
def proxy() -> Iterator[Proxy]:
    proxy = Proxy()
    yield proxy
    proxy.close()


def work(snowflake: Any, proxy: Proxy, home: Path, **variables: str) -> None:
    """Have a worker's process sign in and ask for the time."""
    own = {"HOME": str(home), "TMPDIR": str(home), "PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin"}
    proxied = {"HTTP_PROXY": proxy.url, "HTTPS_PROXY": proxy.url, "NO_PROXY": "127.0.0.1"}
    ran = subprocess.run(
        [sys.executable, "-c", f"URL = {snowflake.url!r}{PROGRAM}"],
        env={**own, **proxied, **snowflake.variables(), **variables},
        cwd=home,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        stdin=subprocess.DEVNULL,
    )
    assert (ran.stdout, ran.stderr, ran.returncode) == ("", "", 0)


def test_a_worker_leaves_nothing_behind_and_asks_nobody_else(snowflake: Any, proxy: Proxy, tmp_path: Path) -> None:
    before = len(snowflake.look()["requests"])
    work(snowflake, proxy, tmp_path)
    assert list(tmp_path.rglob("*")) == []
    assert proxy.asked == []
    assert not any("telemetry" in request for request in snowflake.look()["requests"][before:])


def test_the_client_would_ask_clouds_where_it_runs_if_it_were_let(snowflake: Any, proxy: Proxy, tmp_path: Path) -> None:
    work(snowflake, proxy, tmp_path, SNOWFLAKE_DISABLE_PLATFORM_DETECTION="false")
    assert any("169.254.169.254" in request for request in proxy.asked)
