"""The verbs of declarations, on the stage, and a screen that is wide wherever tests run."""

import pytest

from console.declaring import Declaring
from console.terminal import screen
from shared.run import RunId
from shared.settings import Settings
from shared.store.asked import Asked
from tests.shared.store.stage import Stage


@pytest.fixture(autouse=True)
def _wide_screen(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever starts the tests may say that the terminal is narrow, as pytest-xdist does."""
    monkeypatch.setattr(screen, "width", 160)


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
