"""Who signs in, as whom, and what the server learns of it."""

import json
import subprocess
import sys
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
import psutil, threading
from shared.settings import Settings
from tests.standins.snowflake import Keys, SnowflakeStandin
from worker.warehouses.base import Label
from worker.warehouses.registry import open_warehouse

elsewhere, over = set(), threading.Event()

def look():
    while not over.wait(0.002):
        peers = (found.raddr.ip for found in psutil.Process().net_connections() if found.raddr)
        elsewhere.update(peer for peer in peers if not peer.startswith("127."))

looking = threading.Thread(target=look)
looking.start()
with open_warehouse(SnowflakeStandin(URL, "", Keys("", "", "")).connection(), Settings(), label=Label("run 7")) as opened:
    for _ in range(5):
        opened.clock()
over.set()
looking.join()
print("connected elsewhere:", elsewhere or "never")
"""


def test_a_worker_leaves_nothing_behind_and_asks_nobody_else(snowflake: Any, tmp_path: Path) -> None:
    environment = {"HOME": str(tmp_path), "PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin", "TMPDIR": str(tmp_path)}
    before = len(snowflake.look()["requests"])
    ran = subprocess.run(
        [sys.executable, "-c", f"URL = {snowflake.url!r}{PROGRAM}"],
        env=environment | dict(snowflake.variables()),
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        stdin=subprocess.DEVNULL,
    )
    assert (ran.stdout, ran.stderr) == ("connected elsewhere: never\n", "")
    assert list(tmp_path.rglob("*")) == []
    assert not any("telemetry" in request for request in snowflake.look()["requests"][before:])
