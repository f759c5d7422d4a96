"""``warehouse-sync rejects`` shows rows on a screen: long values cut, and nothing that moves the cursor."""

import json
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from typer.testing import CliRunner

from console.cli import app
from console.commands import rejects as commands

COUNTS = {
    "run_id": "00000000-0000-0000-0000-000000000001",
    "number": 17,
    "pipeline_id": "people",
    "rejected": 1,
    "counts": {"value_too_long": 1},
    "purged": 0,
    "removed": 0,
    "left_to_replay": 0,
    "left_by_code": {},
    "replays": [],
}


class Answering:
    """An API that knows one run and one row that it rejected."""

    values: dict[str, object]

    def text(self, _method: str, path: str, **_: object) -> str:
        row = {"code": "value_too_long", "reason": "bio has 5,000 characters", "values": self.values}
        return json.dumps([row] if path.endswith("rows") else COUNTS)


@pytest.fixture
def answering(monkeypatch: pytest.MonkeyPatch) -> Answering:
    client = Answering()

    @contextmanager
    def here() -> Iterator[Answering]:
        yield client

    monkeypatch.setattr(commands, "api", here)
    return client


def shown(*options: str) -> str:
    return CliRunner().invoke(app, ["rejects", "17", *options], catch_exceptions=False).stdout


def test_a_long_value_is_cut_on_the_screen_and_whole_as_json(answering: Answering) -> None:
    answering.values = {"id": "a" * 60, "bio": "b" * 5_000, "scores": [1] * 100, "gone": None}
    screen = shown()
    assert f"id={'a' * 60}, bio={'b' * 59}…, scores=[1,1," in screen
    assert "b" * 60 not in screen
    assert "--json and --to give them whole" in screen
    assert json.loads(shown("--json"))["rows"][0]["values"] == answering.values


def test_short_values_are_whole_and_nothing_is_said_of_cutting(answering: Answering) -> None:
    answering.values = {"name": "Änne 👩‍🔬", "n": 1.5}
    assert "name=Änne 👩‍🔬, n=1.5" in shown()
    assert "--to" not in shown()


def test_what_would_move_the_cursor_is_spelled_out(answering: Answering) -> None:
    answering.values = {"name": "a\nb\x1b[2Jc\u2028d", "markup": "[red]x[/]"}
    assert r"name=a\nb\x1b[2Jc\u2028d, markup=[red]x[/]" in shown()
