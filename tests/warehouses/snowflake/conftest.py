"""The running stand-in, as a worker finds it."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import pytest

from shared.settings import Settings
from tests.standins.starting import Standins
from worker.warehouses.base import Label, Warehouse
from worker.warehouses.registry import open_warehouse

Opened = Callable[..., AbstractContextManager[Warehouse]]


@pytest.fixture
def snowflake(standins: Standins, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    standin: Any = standins["snowflake"]
    for name, value in standin.variables().items():
        monkeypatch.setenv(name, value)
    standin.change()
    yield standin
    standin.change()


@pytest.fixture
def opened(snowflake: Any) -> Opened:
    @contextmanager
    def opened(*, query_timeout_s: float = 60, **changes: Any) -> Iterator[Warehouse]:
        limits = Settings(query_timeout_s=query_timeout_s)
        label = Label("run 7", pipeline_id="users")
        with open_warehouse(snowflake.connection(**changes), limits, label=label) as warehouse:
            yield warehouse

    return opened
