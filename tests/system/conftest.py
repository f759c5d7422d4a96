"""One deployment that the tests of a session share; each test has people and a pipeline of its own in it."""

import re
from collections.abc import Iterator

import pytest

from shared.settings import settings
from tests.collector import Collector, collecting
from tests.system.deployment import LIMITS, Deployment, deployed
from tests.system.flower import Flower, flower_of
from tests.system.people import People


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Strike at as many seeded moments as are asked for."""
    if metafunc.definition.get_closest_marker("each_seed"):
        metafunc.parametrize("seed", range(metafunc.config.getoption("--seeds")))


@pytest.fixture(scope="session")
def collector() -> Iterator[Collector]:
    with collecting() as running:
        yield running


@pytest.fixture(scope="session")
def deployment(tmp_path_factory: pytest.TempPathFactory, collector: Collector) -> Iterator[Deployment]:
    with deployed(tmp_path_factory.mktemp("deployment"), limits={**LIMITS, **collector.environment}) as running:
        yield running


@pytest.fixture(scope="session")
def flower(deployment: Deployment) -> Iterator[Flower]:
    with flower_of(deployment) as running:
        yield running


@pytest.fixture
def people(deployment: Deployment, request: pytest.FixtureRequest) -> Iterator[People]:
    """People named after the test, who are in no other's warehouse; the stand-in behaves when they come and go."""
    deployment.turn_faults()
    yield People(deployment, re.sub(r"[^a-z0-9]+", "-", request.node.name.removeprefix("test_")).strip("-")[:128])
    deployment.wake()
    deployment.turn_faults()


@pytest.fixture
def as_command(deployment: Deployment, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Let the command run in this process as if it had the deployment's environment."""
    for name, value in deployment.premises.environment.items():
        if name.startswith("WAREHOUSE_SYNC_"):
            monkeypatch.setenv(name, value)
    settings.cache_clear()
    yield
    settings.cache_clear()
