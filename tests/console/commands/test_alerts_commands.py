"""``warehouse-sync alerts`` shows what is the matter first, and says whether people can be told."""

import json
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from typer.testing import CliRunner

from console.cli import app
from console.commands import alerts as commands
from console.shapes.alerts import AlertDetail, AlertShape, ChannelShape, TrialShape

OPEN: dict[str, object] = {
    "id": "00000000-0000-0000-0000-000000000001",
    "name": "run_failed",
    "state": "open",
    "title": "run 17 of pipeline People failed: FeedRefused",
    "sentence": "mParticle refuses every batch",
    "pipeline_id": "people",
    "pipeline_name": "People",
    "run": None,
    "error_kind": "FeedRefused",
    "counts": {},
    "cure": "correct it",
    "command": "warehouse-sync retry 17",
    "since": "2026-05-04T12:00:00Z",
    "opened_on": "2026-05-04T12:00:00Z",
    "recovered_on": None,
}
DELIVERY: dict[str, object] = {
    "channel": "slack",
    "attempts": 3,
    "delivered_on": None,
    "given_up_on": None,
    "next_on": None,
    "error": "AlertUnsent: hooks.slack.com answered 404",
}
CHANGE = {"id": OPEN["id"], "change": "opened", "title": "t", "sentence": "s", "changed_on": OPEN["since"]}


class Answering:
    """An API that knows one alert."""

    channels: tuple[ChannelShape, ...] = ()

    def newest(self, _path: str, _item: type, _limit: int, **query: object) -> list[AlertShape]:
        return [] if query["pipelineId"] else [AlertShape.model_validate(OPEN)]

    def get(self, _path: str, _answer: type) -> AlertDetail:
        return AlertDetail.model_validate({**OPEN, "changes": [{**CHANGE, "deliveries": [DELIVERY]}]})

    def post(self, _path: str, _answer: type) -> TrialShape:
        return TrialShape(channels=self.channels)


@pytest.fixture
def answering(monkeypatch: pytest.MonkeyPatch) -> Answering:
    client = Answering()

    @contextmanager
    def api() -> Iterator[Answering]:
        yield client

    monkeypatch.setattr(commands, "api", api)
    return client


def run(*arguments: str) -> tuple[int, str]:
    result = CliRunner(env={"COLUMNS": "200"}).invoke(app, ["alerts", *arguments])
    return result.exit_code, result.output


@pytest.mark.usefixtures("answering")
def test_what_is_open_is_shown_with_its_cure_and_command() -> None:
    code, output = run()
    assert code == 0
    for said in (OPEN["title"], OPEN["sentence"], "cure: correct it", OPEN["command"], OPEN["id"]):
        assert str(said) in output
    assert json.loads(run("--json")[1])[0]["name"] == "run_failed"
    assert run("--pipeline", "other") == (0, "nothing is the matter\n")


@pytest.mark.usefixtures("answering")
def test_one_alert_is_shown_with_what_each_channel_was_told() -> None:
    code, output = run("show", str(OPEN["id"]))
    assert code == 0
    for said in ("opened", "slack", "3", "not yet", "hooks.slack.com answered 404"):
        assert said in output


def test_trying_the_channels_fails_where_one_does_or_there_is_none(answering: Answering) -> None:
    code, output = run("test")
    assert (code, "no channel" in output) == (1, True)
    answering.channels = (ChannelShape(channel="slack", is_well=True, said="hooks.slack.com answered 200 ok"),)
    assert run("test") == (0, "slack: told, hooks.slack.com answered 200 ok\n")
    answering.channels += (ChannelShape(channel="email", is_well=False, said="AlertUnsent: x answered 535"),)
    code, output = run("test")
    assert code == 1
    assert "email: not told, AlertUnsent: x answered 535" in output
