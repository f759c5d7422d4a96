"""Everything on one machine: the API among it, and its token for the owner only."""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import psycopg
import pytest

from console.machine import token_file
from console.operations import Operations
from sandbox.flower import DEFAULT_PORT as FLOWER_PORT
from sandbox.services import Services
from shared.access import Role
from shared.endpoints import database_url
from shared.settings import PREFIX, Settings
from tests.shared.store.stage import Stage

LIMIT_S = 120


@pytest.fixture
def operations(services: Services, stage: Stage) -> Iterator[Operations]:
    url = stage.database.url.render_as_string(hide_password=False)
    opened = Operations(Settings.model_validate({"database_url": url, "broker_url": services.broker_url}))
    yield opened
    opened.close()


def test_a_home_keeps_one_admins_token_for_its_owner_until_it_is_revoked(
    operations: Operations, tmp_path: Path
) -> None:
    path = token_file(operations, tmp_path)
    text = path.read_text().strip()
    found = operations.access.identify(text)
    assert found is not None
    assert found.role is Role.ADMIN
    assert path.stat().st_mode & 0o777 == 0o600
    assert token_file(operations, tmp_path).read_text().strip() == text
    operations.access.revoke_token(found.name)
    assert token_file(operations, tmp_path).read_text().strip() != text


def test_up_serves_the_api_and_says_where_its_token_is(tmp_path: Path) -> None:
    environment = {name: value for name, value in os.environ.items() if not name.startswith(PREFIX)}
    environment |= {f"{PREFIX}HOME": str(tmp_path / "home"), "COLUMNS": "300"}
    argv = [sys.executable, "-u", "-c", "from console.cli import main; main()", "up"]
    printed = tmp_path / "printed"
    with printed.open("w") as file, subprocess.Popen(argv, env=environment, stdout=file, stderr=file) as up:
        try:
            url, token = told(printed, up)
            headers = {"Authorization": f"Bearer {Path(token).read_text().strip()}"}
            asked = httpx.get(f"{url}/platform/v2/workspaces/any/feeds", headers=headers, timeout=LIMIT_S)
            assert (asked.status_code, asked.json()) == (200, [])
            assert httpx.get(f"{url}/platform/v2/workspaces/any/feeds", timeout=LIMIT_S).status_code == 401
            flower, password_file = flower_of(printed)
            password = Path(password_file).read_text().strip()
            assert httpx.get(f"{flower}/api/workers", auth=("operator", password), timeout=LIMIT_S).status_code == 200
            assert httpx.get(f"{flower}/api/workers", timeout=LIMIT_S).status_code == 401
            assert password not in printed.read_text()
            is_default = flower.endswith(f":{FLOWER_PORT}")
            assert (f"another program has port {FLOWER_PORT}, so Flower is at" in printed.read_text()) is not is_default
        finally:
            up.send_signal(signal.SIGTERM)
            up.wait(timeout=LIMIT_S)
    assert up.returncode == 0


def test_up_with_services_only_starts_the_servers_and_changes_nothing_in_them(tmp_path: Path) -> None:
    environment = {name: value for name, value in os.environ.items() if not name.startswith(PREFIX)}
    home = tmp_path / "home"
    environment |= {f"{PREFIX}HOME": str(home)}
    argv = [sys.executable, "-u", "-c", "from console.cli import main; main()", "up", "--services-only"]
    with subprocess.Popen(argv, env=environment, stdout=subprocess.PIPE, text=True) as up:
        try:
            assert up.stdout is not None
            assert "run, and nothing else" in up.stdout.readline()
            url = database_url(Settings.model_validate({"home": home}))
            with psycopg.connect(url.replace("+psycopg", "")) as connection:
                tables = "SELECT count(*) FROM pg_tables WHERE schemaname = 'public'"
                assert connection.execute(tables).fetchone() == (0,)
        finally:
            up.send_signal(signal.SIGTERM)
            up.wait(timeout=LIMIT_S)
    assert up.returncode == 0
    assert not (home / "endpoints.json").exists()


def flower_of(printed: Path) -> tuple[str, str]:
    found = re.search(r"Flower +(http://\S+) +\(user operator, password in (\S+)\)", printed.read_text())
    assert found is not None
    return found[1], found[2]


def told(printed: Path, up: subprocess.Popen[bytes]) -> tuple[str, str]:
    until = time.monotonic() + LIMIT_S
    while time.monotonic() < until and up.poll() is None:
        if found := re.search(r"API +(http://\S+) +\(token in (\S+)\)", printed.read_text()):
            return found[1], found[2]
        time.sleep(0.1)
    pytest.fail(f"`up` said nothing of its API: {printed.read_text()}")
