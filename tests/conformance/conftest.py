"""One suite, every warehouse: the stand-ins that ``--warehouses`` names, each started once a session."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager

import pytest

from shared.settings import Settings
from tests.standins.continuable import Continuable, ContinuableStandin
from tests.standins.standin import Standin
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
        self.held_otherwise = getattr(standin, "held_otherwise", {})
        self.locates_failures = getattr(standin, "locates_failures", True)

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


@pytest.fixture
def subject(request: pytest.FixtureRequest, standins: Standins, monkeypatch: pytest.MonkeyPatch) -> Subject:
    standin = standins[request.param]
    for name, value in standin.variables().items():
        monkeypatch.setenv(name, value)
    return Subject(standin)
