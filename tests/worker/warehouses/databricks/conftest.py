"""A workspace that answers as it is told, and the ways to read from it."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import Any

import pytest
from databricks.sql.backend import reyden_warehouse_cache

from shared.run import Window
from shared.settings import Settings
from shared.sql import Query, windowed
from tests.worker.warehouses.databricks.responder import Responder, responding
from worker.warehouses.base import Label, Warehouse
from worker.warehouses.databricks import sessions
from worker.warehouses.registry import open_warehouse

TOKEN = "dapi-very-secret"


@pytest.fixture
def responder(monkeypatch: pytest.MonkeyPatch) -> Iterator[Responder]:
    monkeypatch.setenv("WAREHOUSE_SYNC_SECRET_TOKEN", TOKEN)
    monkeypatch.setenv("WAREHOUSE_SYNC_WAREHOUSE_HOSTS", '["127.0.0.1", "nowhere.invalid"]')
    monkeypatch.setattr(sessions, "_ATTEMPTS", 1)
    reyden_warehouse_cache.clear_cache()
    with responding() as found:
        yield found


@pytest.fixture
def opened(responder: Responder) -> Callable[..., AbstractContextManager[Warehouse]]:
    def open_it(**changed: Any) -> AbstractContextManager[Warehouse]:
        label = Label("run 7", pipeline_id="users")
        return open_warehouse(responder.connection(**changed), Settings(query_timeout_s=60), label=label)

    return open_it


@pytest.fixture
def query() -> Query:
    return windowed("SELECT id\nFROM people", dialect="databricks", iterator=None, window=Window())
