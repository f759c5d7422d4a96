"""Backfills on the command line, without workers: begun, listed, moved, and what is wrong with them told first."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from console.cli import app
from sandbox.services import Services
from shared.errors import DeclarationInvalid, NotFound
from shared.settings import settings
from shared.store.database import Database
from tests.shared.store.stage import Stage


@pytest.fixture(autouse=True)
def here(
    services: Services, common_database: Database, stage: Stage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[None]:
    """Have the command work on the stage's database, with a pipeline whose initial sync is over."""
    monkeypatch.setenv("WAREHOUSE_SYNC_DATABASE_URL", common_database.url.render_as_string(hide_password=False))
    monkeypatch.setenv("WAREHOUSE_SYNC_BROKER_URL", services.broker_url)
    monkeypatch.setenv("WAREHOUSE_SYNC_HOME", str(tmp_path))
    settings.cache_clear()
    stage.past_history()
    yield
    settings.cache_clear()


def invoke(*arguments: str) -> Result:
    return CliRunner(env={"COLUMNS": "200"}).invoke(app, arguments, catch_exceptions=False)


def test_a_backfill_is_begun_listed_and_moved() -> None:
    begun = invoke("backfill", "people", "--from", "2024-04-28", "--uncounted", "--yes")
    backfill_id = begun.output.split()[1]
    assert "is on its way" in begun.output
    listed = invoke("backfills", "people").output
    assert backfill_id[:8] in listed
    assert "2024-04-28 00:00:00" in listed
    assert [one["kind"] for one in json.loads(invoke("backfills", "--json").output)] == ["backfill", "initial"]
    assert len(json.loads(invoke("backfills", "--json", "--limit", "1").output)) == 1
    for move, state in (("pause", "paused"), ("resume", "running"), ("cancel", "cancelled")):
        assert json.loads(invoke(f"{move}-backfill", backfill_id[:8], "--json").output)["state"] == state
    assert "goes on" in invoke("resume-backfill", backfill_id).output


def test_what_is_wrong_with_a_backfill_is_told_before_anything_is_asked_or_counted() -> None:
    with pytest.raises(DeclarationInvalid, match="expected an instant such as"):
        invoke("backfill", "people", "--from", "yesterday")
    with pytest.raises(DeclarationInvalid, match="lies beyond the watermark"):
        invoke("backfill", "people", "--until", "2030-01-01")
    with pytest.raises(NotFound, match="no pipeline 'nobody'"):
        invoke("backfill", "nobody")
    with pytest.raises(NotFound, match="the id is empty"):
        invoke("pause-backfill", "")


def test_nothing_is_begun_unless_somebody_says_yes() -> None:
    refused = CliRunner().invoke(app, ["backfill", "people", "--uncounted"], input="n\n")
    assert refused.exit_code == 1
    assert "Send them once more, in 1 part?" in refused.output
    assert [one["kind"] for one in json.loads(invoke("backfills", "--json").output)] == ["initial"]
