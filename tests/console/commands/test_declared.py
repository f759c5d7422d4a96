"""Commands that declare, show and give access, in this process over the stage's database; nobody works."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner, Result

from console.cli import app, exit_code
from sandbox.services import Services
from shared import sealing
from shared.feed import Feed
from shared.key_file import read_keys
from shared.sealing import PrivateKey
from shared.secret_fields import purpose
from shared.settings import settings
from tests.shared.store.stage import FEED, LAKE, USERS, Stage

Command = Callable[..., Result]
PIPELINE = {
    "id": "people",
    "name": "People",
    "connection_id": "lake",
    "data_model_id": "users",
    "feed_id": "us1",
    "environment": "development",
    "sync_mode": {"type": "full"},
}
DOCUMENT: dict[str, Any] = {
    "feeds": [FEED.model_dump(mode="json")],
    "connections": [LAKE.model_dump(mode="json")],
    "data_models": [USERS.model_dump(mode="json")],
    "pipelines": [PIPELINE],
}


@pytest.fixture
def command(stage: Stage, services: Services, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    own = {
        "HOME": str(tmp_path),
        "DATABASE_URL": stage.database.url.render_as_string(hide_password=False),
        "BROKER_URL": services.broker_url,
        "DUCKDB_FOLDERS": "/lake",
    }
    for name, value in own.items():
        monkeypatch.setenv(f"WAREHOUSE_SYNC_{name}", value)
    settings.cache_clear()

    def run(*arguments: str, given: str | None = None) -> Result:
        return CliRunner(env={"COLUMNS": "200"}).invoke(app, arguments, input=given)

    yield run
    settings.cache_clear()


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "all.yaml"
    path.write_text(yaml.safe_dump(DOCUMENT))
    return path


def fine(result: Result) -> str:
    assert result.exit_code == 0, (result.output, result.exception)
    return result.stdout


def test_apply_shows_what_it_does_and_a_repeat_does_nothing(command: Command, file: Path) -> None:
    assert "+ pipeline people" in fine(command("apply", str(file)))
    assert fine(command("apply", str(file))) == "4 unchanged\n"
    assert [one["id"] for one in json.loads(fine(command("feeds", "list", "--json")))] == ["us1"]


def test_a_dry_run_changes_nothing(command: Command, file: Path) -> None:
    assert "4 created" in fine(command("apply", str(file), "--dry-run"))
    assert json.loads(fine(command("feeds", "list", "--json"))) == []


def test_what_cannot_be_is_shown_and_refused(command: Command, tmp_path: Path) -> None:
    file = tmp_path / "orphan.yaml"
    file.write_text(yaml.safe_dump({"pipelines": [PIPELINE]}))
    refused = command("apply", str(file))
    assert exit_code(refused.exception) == 1  # type: ignore[arg-type] # what main() makes of it
    assert "REFUSED" in refused.stdout
    assert command("apply", str(file), "--dry-run").exit_code == 1
    assert command("diff", str(file), "--exit-code").exit_code == 1


def test_diff_tells_by_its_exit_code_whether_anything_would_change(command: Command, file: Path) -> None:
    assert command("diff", str(file)).exit_code == 0
    assert command("diff", str(file), "--exit-code").exit_code == 5
    fine(command("apply", str(file)))
    assert command("diff", str(file), "--exit-code").exit_code == 0
    plan = json.loads(fine(command("diff", str(file), "--json")))
    assert plan["is_empty"]


def test_deleting_needs_a_word(command: Command, file: Path, tmp_path: Path) -> None:
    fine(command("apply", str(file)))
    rest = tmp_path / "rest.yaml"
    rest.write_text(yaml.safe_dump({name: found for name, found in DOCUMENT.items() if name != "pipelines"}))
    assert command("apply", str(rest), "--prune", given="").exit_code == 1
    assert "- pipeline people" in fine(command("apply", str(rest), "--prune", "--yes"))


def test_files_are_validated_without_any_server(file: Path, tmp_path: Path) -> None:
    offline = CliRunner(env={"WAREHOUSE_SYNC_DATABASE_URL": "postgresql+psycopg://nobody@127.0.0.1:1/no"})
    assert "4 declarations" in offline.invoke(app, ["validate", str(file)]).stdout
    wrong = tmp_path / "wrong.yaml"
    wrong.write_text("feeds: [{id: us1, api_secret: hunter2}]")
    refused = offline.invoke(app, ["validate", str(wrong)])
    assert refused.exit_code == 1
    assert "wrong.yaml" in str(refused.exception)
    assert "hunter2" not in str(refused.exception)


def test_what_was_exported_is_no_difference(command: Command, file: Path, tmp_path: Path) -> None:
    fine(command("apply", str(file)))
    to = tmp_path / "exported.yaml"
    fine(command("export", "--to", str(to)))
    assert command("diff", str(to), "--prune", "--exit-code").exit_code == 0
    assert list(json.loads(fine(command("export", "--json", "--kind", "feeds")))) == ["feeds"]


def test_the_schema_is_json(command: Command) -> None:
    assert "pipelines" in json.loads(fine(command("schema")))["properties"]


@pytest.mark.parametrize(
    ("kind", "one", "says"),
    [
        ("feeds", "us1", "https://s2s.mparticle.com/v2"),
        ("connections", "lake", "DuckDB"),
        ("models", "users", "SELECT 1"),
    ],
)
def test_declarations_are_listed_shown_and_deleted(
    command: Command, file: Path, kind: str, one: str, says: str
) -> None:
    fine(command("apply", str(file)))
    assert says in fine(command(kind, "list"))
    assert says in fine(command(kind, "show", one))
    assert json.loads(fine(command(kind, "show", one, "--json")))["id"] == one
    used = command(kind, "delete", one, "--yes")
    assert "people" in str(used.exception)
    assert command(kind, "delete", one, given="n\n").exit_code == 1


def test_what_nothing_uses_is_deleted(command: Command, tmp_path: Path) -> None:
    file = tmp_path / "feed.yaml"
    file.write_text(yaml.safe_dump({"feeds": DOCUMENT["feeds"]}))
    fine(command("apply", str(file)))
    assert "feed us1 is deleted" in fine(command("feeds", "delete", "us1", "--yes"))
    assert json.loads(fine(command("transformations", "list", "--json"))) == []


def test_a_token_is_printed_once_and_by_itself(command: Command) -> None:
    made = command("tokens", "create", "anna", "--role", "operator", "--days", "3")
    assert fine(made).startswith("ws_")
    assert "anna" in fine(command("tokens", "list"))
    fine(command("tokens", "revoke", "anna"))
    (row,) = json.loads(fine(command("tokens", "list", "--json")))
    assert not row["is_valid"]
    assert "revoke" in fine(command("audit", "--id", "anna"))
    assert {one["actor"].partition(" ")[0] for one in json.loads(fine(command("audit", "--json")))} == {"local"}


def test_a_client_is_made_and_ended(command: Command) -> None:
    made = json.loads(fine(command("clients", "create", "ci", "--role", "admin", "--json")))
    assert made["client_secret"].startswith("ws_secret_")
    assert made["client_id"] in fine(command("clients", "list"))
    fine(command("clients", "revoke", "ci"))


def test_a_secret_is_sealed_for_a_declaration_in_a_file(
    command: Command, file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = tmp_path / "keys"
    public = fine(command("secrets", "keygen", str(keys))).strip().partition("=")
    monkeypatch.setenv(public[0], public[2])
    settings.cache_clear()
    sealed = fine(command("secrets", "seal", "feed", "us1", "--file", str(file), given="hunter2\n")).strip()
    (key,) = read_keys(keys)
    assert isinstance(key, PrivateKey)
    assert sealing.open_sealed(sealed, purpose(Feed.model_validate(DOCUMENT["feeds"][0])), [key]) == "hunter2"
    document = {**DOCUMENT, "feeds": [{**DOCUMENT["feeds"][0], "api_secret": sealed}]}
    file.write_text(yaml.safe_dump(document))
    fine(command("apply", str(file)))
    assert "feed us1" in fine(command("secrets", "status"))
    assert json.loads(fine(command("secrets", "status", "--json")))["current_key"] == key.public.id
    assert fine(command("secrets", "seal", "feed", "us1", given="hunter2")).startswith("sealed:")
    unknown = command("secrets", "seal", "feed", "us1", "password", given="hunter2")
    assert "api_secret" in str(unknown.exception)


def test_the_description_needs_no_server() -> None:
    printed = CliRunner().invoke(app, ["openapi"])
    assert json.loads(printed.stdout)["info"]["title"] == "Warehouse Sync"
