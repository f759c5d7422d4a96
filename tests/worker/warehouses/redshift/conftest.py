from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any, cast

import pytest

from shared.run import Window
from shared.settings import Settings
from shared.sql import windowed
from tests.standins.redshift import RedshiftStandin
from tests.standins.redshift_wire import Wire, wire_to
from tests.standins.starting import Standins
from worker.warehouses.base import Label, Warehouse
from worker.warehouses.registry import open_warehouse

Opened = Callable[..., AbstractContextManager[Warehouse]]


@pytest.fixture
def redshift(standins: Standins, monkeypatch: pytest.MonkeyPatch) -> RedshiftStandin:
    standin = cast("RedshiftStandin", standins["redshift"])
    for name, value in standin.variables().items():
        monkeypatch.setenv(name, value)
    return standin


@pytest.fixture
def opened(redshift: RedshiftStandin) -> Opened:
    """Open the stand-in as workers do; what is given changes the declaration."""

    @contextmanager
    def opened(*, query_timeout_s: float = 60, **declared: Any) -> Iterator[Warehouse]:
        label = Label("run 7", pipeline_id="users")
        settings = Settings(query_timeout_s=query_timeout_s)
        with open_warehouse(redshift.connection(**declared), settings, label=label) as warehouse:
            yield warehouse

    return opened


@pytest.fixture
def warehouse(opened: Opened) -> Iterator[Warehouse]:
    with opened() as warehouse:
        yield warehouse


@pytest.fixture
def wire(redshift: RedshiftStandin) -> Iterator[Wire]:
    with wire_to(redshift.port) as wire:
        yield wire
    redshift.end_sessions()  # A server does not notice by itself that a connection was cut.


@pytest.fixture
def rows() -> Callable[..., list[dict[str, object]]]:
    """Read a model's rows."""

    def rows(warehouse: Warehouse, model: str, *, batch_rows: int = 1000) -> list[dict[str, object]]:
        query = windowed(model, dialect="redshift", iterator=None, window=Window())
        with warehouse.stream(query, batch_rows=batch_rows) as stream:
            return [row for batch in stream for row in batch.to_pylist()]

    return rows
