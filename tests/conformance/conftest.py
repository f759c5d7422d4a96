"""One suite, every warehouse: the stand-ins that ``--warehouses`` names, each started once a session."""

import importlib
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager

import pytest

from shared.settings import Settings
from tests.standins.continuable import Continuable, ContinuableStandin
from tests.standins.standin import Differences, Standin
from tests.standins.starting import Standins
from worker.warehouses.base import Label, Warehouse
from worker.warehouses.registry import open_warehouse


class Subject:
    """A warehouse under test, opened as workers do."""

    def __init__(self, standin: Standin) -> None:
        self.standin = standin
        self.load = standin.load
        self.numbers = standin.numbers
        self.failing = standin.failing
        self.endless = standin.endless
        self.sizes = standin.sizes
        differences = _differences(standin.name)
        self.held_otherwise = differences.held_otherwise
        self.locates_failures = differences.locates_failures
        self.keeps_mib = differences.keeps_mib

    def opened(self, *, query_timeout_s: float = 60) -> AbstractContextManager[Warehouse]:
        return self._opened(query_timeout_s)

    @contextmanager
    def _opened(self, query_timeout_s: float) -> Iterator[Warehouse]:
        limits = Settings(query_timeout_s=query_timeout_s)
        label = Label("run 7", pipeline_id="users")
        with open_warehouse(self.standin.connection(), limits, label=label) as warehouse:
            yield Continuable(warehouse) if isinstance(self.standin, ContinuableStandin) else warehouse


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "subject" in metafunc.fixturenames:
        metafunc.parametrize("subject", metafunc.config.getoption("--warehouses").split(","), indirect=True)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what a warehouse lacks by its nature; its stand-in's ``DIFFERENCES`` says why."""
    left_out = [item for item in items if _is_lacking(item)]
    config.hook.pytest_deselected(items=left_out)
    items[:] = [item for item in items if item not in left_out]


def _is_lacking(item: pytest.Item) -> bool:
    parameters = item.callspec.params if isinstance(item, pytest.Function) and hasattr(item, "callspec") else {}
    if "subject" not in parameters:
        return False
    lacks = _differences(str(parameters["subject"])).lacks
    return any(name in lacks for name in (item.name.partition("[")[0], *map(str, parameters.values())))


def _differences(name: str) -> Differences:
    found: Differences = importlib.import_module(f"tests.standins.{name}").DIFFERENCES
    return found


@pytest.fixture
def subject(request: pytest.FixtureRequest, standins: Standins, monkeypatch: pytest.MonkeyPatch) -> Subject:
    standin = standins[request.param]
    for name, value in standin.variables().items():
        monkeypatch.setenv(name, value)
    return Subject(standin)
