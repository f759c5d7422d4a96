"""The running stand-in of BigQuery, opened as workers do."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any, cast

import pytest

from shared.settings import Settings
from tests.standins.bigquery import BigQueryStandin
from tests.standins.starting import Standins
from worker.warehouses.base import Label, Warehouse
from worker.warehouses.registry import open_warehouse

Opened = Callable[..., AbstractContextManager[Warehouse]]


@pytest.fixture
def standin(standins: Standins, monkeypatch: pytest.MonkeyPatch) -> BigQueryStandin:
    found = cast("BigQueryStandin", standins["bigquery"])
    for name, value in found.variables().items():
        monkeypatch.setenv(name, value)
    return found


@pytest.fixture
def opened(standin: BigQueryStandin) -> Opened:
    """Open the connection as one of its accounts, with changes to its declaration."""

    @contextmanager
    def _opened(account: str = "reader", *, timeout_s: float = 60, **changed: Any) -> Iterator[Warehouse]:
        label = Label("run 7", pipeline_id="Users/EU")
        with open_warehouse(
            standin.connection(account, **changed), Settings(query_timeout_s=timeout_s), label=label
        ) as found:
            yield found

    return _opened
