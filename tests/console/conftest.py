"""The stage of the store's tests, and the verbs of declarations on it."""

from collections.abc import Iterator

import pytest

from console.declaring import Declaring
from sandbox.services import Services
from shared.run import RunId
from shared.settings import Settings
from shared.store.asked import Asked
from shared.store.database import Database
from tests.shared.store.conftest import database_in_common
from tests.shared.store.stage import Stage


@pytest.fixture(scope="session")
def common_database(services: Services, template: str) -> Iterator[Database]:
    """A database for the stage, apart from the one of the store's tests."""
    with database_in_common(services, template, "common_to_console_tests") as database:
        yield database


@pytest.fixture
def stage(common_database: Database) -> Stage:
    """An empty database, and everybody who works on it."""
    found = Stage(common_database)
    found.clear()
    return found


@pytest.fixture
def sent() -> list[Asked]:
    """What was to be sent."""
    return []


@pytest.fixture
def declaring(stage: Stage, sent: list[Asked]) -> Declaring:
    """The verbs of declarations, with nobody who works."""

    def send(asked: Asked) -> tuple[RunId, ...]:
        sent.append(asked)
        return asked.runs

    return Declaring(stage.database, Settings(), send)
