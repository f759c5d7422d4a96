"""The verbs of declarations, on the stage."""

import pytest

from console.declaring import Declaring
from shared.run import RunId
from shared.settings import Settings
from shared.store.asked import Asked
from tests.shared.store.stage import Stage


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
