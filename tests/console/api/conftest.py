"""The API in this process, over the stage's database and the session's Valkey: a client for each role, no workers."""

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import httpx
import pytest
import redis

from console.api.app import build_api
from console.operations import Operations
from sandbox.services import Services
from shared.access import Identity, Role
from shared.settings import Settings
from shared.store.database import Database
from tests.shared.store.stage import Stage

HOST: Final = "http://api.test"
WORKSPACE: Final = "/platform/v2/workspaces/12345"


@dataclass(frozen=True)
class Api:
    """One caller of the API; paths are those below the workspace, and of answers nothing is hidden."""

    http: httpx.AsyncClient
    runner: asyncio.Runner

    def get(self, path: str, **query: object) -> httpx.Response:
        return self.send("GET", path, params=query)

    def post(self, path: str, body: object = None, **query: object) -> httpx.Response:
        return self.send("POST", path, json=body, params=query)

    def put(self, path: str, body: object, **options: Any) -> httpx.Response:
        return self.send("PUT", path, json=body, **options)

    def delete(self, path: str, **options: Any) -> httpx.Response:
        return self.send("DELETE", path, **options)

    def send(self, method: str, path: str, **options: Any) -> httpx.Response:
        """Send any request; a path that begins with the host is taken as it is."""
        # An empty query would take the place of the one that a path has.
        options = {
            name: value for name, value in options.items() if value is not None and (name, value) != ("params", {})
        }
        url = path if path.startswith(HOST) else f"{HOST}{WORKSPACE}{path}"
        return self.runner.run(self.http.request(method, url, **options))


@pytest.fixture(scope="session")
def api_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of what this session's API reads and writes: its spool, and the warehouse that it may name."""
    return tmp_path_factory.mktemp("api")


@pytest.fixture(scope="session")
def operations(services: Services, common_database: Database, api_home: Path) -> Iterator[Operations]:
    """The verbs over the stage's database."""
    url = common_database.url.render_as_string(hide_password=False)
    own = {
        "home": api_home,
        "database_url": url,
        "broker_url": services.broker_url,
        "duckdb_folders": (Path("/lake"),),
        "probe_timeout_s": 0.2,  # Nobody answers here.
    }
    opened = Operations(Settings.model_validate(own))
    yield opened
    opened.close()


@pytest.fixture(autouse=True)
def nothing_else(stage: Stage, services: Services) -> None:
    """Begin each test with an empty store and an empty broker."""
    stage.clear()
    with redis.Redis.from_url(services.broker_url) as client:
        client.flushdb()


@pytest.fixture(scope="session")
def viewer(operations: Operations) -> Iterator[Api]:
    yield from _calling(operations, Role.VIEWER)


@pytest.fixture(scope="session")
def operator(operations: Operations) -> Iterator[Api]:
    yield from _calling(operations, Role.OPERATOR)


@pytest.fixture(scope="session")
def admin(operations: Operations) -> Iterator[Api]:
    yield from _calling(operations, Role.ADMIN)


def _calling(operations: Operations, role: Role) -> Iterator[Api]:
    app = build_api(operations, local=Identity(f"some {role}", role))
    with asyncio.Runner() as runner:
        http = httpx.AsyncClient(transport=httpx.ASGITransport(app))
        yield Api(http, runner)
        runner.run(http.aclose())
