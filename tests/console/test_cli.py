"""The command as an operator uses it: a process of its own, its exit code and its sentences."""

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest
import yaml
from pydantic import BaseModel

from sandbox.premises import Premises, prepare_premises
from sandbox.services import Services
from shared.settings import PREFIX
from shared.store.database import Database

COMMAND = Path(sys.executable).parent / "warehouse-sync"


@pytest.fixture
def premises(tmp_path: Path, services: Services, database: Database) -> Premises:
    """A home with a database of its own; no workers run."""
    url = database.url.render_as_string(hide_password=False)
    return prepare_premises(tmp_path, Services(url, services.broker_url))


def command(environment: Mapping[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the command and wait for it to end."""
    argv = [str(COMMAND), *arguments]
    wide = {**environment, "COLUMNS": "200"}
    return subprocess.run(argv, env=wide, text=True, capture_output=True, timeout=120, check=False)


def run(premises: Premises, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the command with the premises' environment."""
    return command(premises.environment, *arguments)


def _bare(home: Path) -> dict[str, str]:
    """An environment that names no server and a home of the test's own."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(PREFIX)}
    return {**inherited, "WAREHOUSE_SYNC_HOME": str(home)}


def _declared(premises: Premises, folder: Path) -> Path:
    path = folder / "declared.yaml"
    resources: dict[str, list[BaseModel]] = {
        "feeds": [premises.feed()],
        "connections": [premises.connection()],
        "data_models": [premises.data_model()],
        "pipelines": [premises.pipeline("users")],
    }
    path.write_text(
        yaml.safe_dump({kind: [one.model_dump(mode="json") for one in some] for kind, some in resources.items()})
    )
    return path


def test_apply_declares_once_and_then_changes_nothing(premises: Premises, tmp_path: Path) -> None:
    path = _declared(premises, tmp_path)
    assert "+ pipeline users" in run(premises, "apply", str(path)).stdout
    assert run(premises, "apply", str(path)).stdout == "4 unchanged\n"


def test_a_wrong_mapping_is_refused_by_apply_with_the_nearest_destination(premises: Premises, tmp_path: Path) -> None:
    path = _declared(premises, tmp_path)
    mappings = [
        {"mapping_type": "column", "source": "customer_id", "destination": "user_identities.CustomerId"},
        {"mapping_type": "static", "value": "session_start", "destination": "events.event_type"},
        {"mapping_type": "column", "source": "email", "destination": "user_identities.email"},
    ]
    events = {"id": "visits", "name": "Visits", "mappings": mappings}
    content = {**yaml.safe_load(path.read_text()), "field_transformations": [events]}
    content["pipelines"][0]["field_transformation_id"] = "visits"
    path.write_text(yaml.safe_dump(content))
    refused = run(premises, "apply", str(path))
    assert refused.returncode == 1
    assert "'user_identities.CustomerId' does not exist; the nearest that does is 'user_identities.customer_id'" in (
        refused.stderr
    )
    mappings[0]["destination"] = "user_identities.customer_id"
    path.write_text(yaml.safe_dump(content))
    assert run(premises, "apply", str(path)).returncode == 0
    assert run(premises, "apply", str(path)).stdout == "5 unchanged\n"


def test_destinations_are_printed_as_a_table() -> None:
    printed = command(dict(os.environ), "destinations")
    assert printed.returncode == 0
    assert "| `events.data.screen_name` | text | screen_view, commerce_event | screen_view |" in printed.stdout


def test_a_busy_pipeline_refuses_a_second_trigger(premises: Premises, tmp_path: Path) -> None:
    run(premises, "apply", str(_declared(premises, tmp_path)))
    run(premises, "activate", "users", "--unchecked")
    assert run(premises, "trigger", "users").returncode == 0
    second = run(premises, "trigger", "users")
    assert second.returncode == 1
    assert "Pipeline users is already in progress." in second.stderr
    assert "Pipeline users is already in progress." in run(premises, "notices", "users").stdout


def test_a_run_is_cancelled_then_abandoned(premises: Premises, tmp_path: Path) -> None:
    run(premises, "apply", str(_declared(premises, tmp_path)))
    run(premises, "activate", "users", "--unchecked")
    run_id = run(premises, "trigger", "users").stdout.split()[1]
    assert "only a failed or cancelled run can be abandoned" in run(premises, "abandon", run_id).stderr
    assert run(premises, "cancel", run_id).returncode == 0
    assert "is held by cancelled run" in run(premises, "trigger", "users").stderr
    abandoned = run(premises, "abandon", run_id, "--yes")
    assert "0 accepted rows will be sent again" in abandoned.stdout
    assert "abandoned" in run(premises, "runs").stdout


def test_a_run_is_named_by_the_beginning_of_its_id(premises: Premises, tmp_path: Path) -> None:
    run(premises, "apply", str(_declared(premises, tmp_path)))
    run(premises, "activate", "users", "--unchecked")
    run_id = run(premises, "trigger", "users").stdout.split()[1]
    assert run(premises, "cancel", run_id[:8]).returncode == 0
    assert "no run begins with 'zzz'" in run(premises, "cancel", "zzz").stderr
    assert "the id is empty" in run(premises, "retry", "").stderr


def test_a_pipeline_that_nobody_declared_is_named(premises: Premises) -> None:
    answer = run(premises, "trigger", "nobody")
    assert answer.returncode == 1
    assert "there is no pipeline 'nobody'" in answer.stderr


def test_a_feed_at_a_strangers_host_is_refused(premises: Premises, tmp_path: Path) -> None:
    path = _declared(premises, tmp_path)
    path.write_text(path.read_text().replace("127.0.0.1", "stranger.example"))
    answer = run(premises, "apply", str(path))
    assert answer.returncode == 1
    assert "WAREHOUSE_SYNC_FEED_HOSTS" in answer.stderr


def test_without_any_server_the_command_says_what_to_start(tmp_path: Path) -> None:
    answer = command(_bare(tmp_path), "runs")
    assert answer.returncode == 1
    assert "warehouse-sync up" in answer.stderr


def test_a_wrong_setting_is_named(tmp_path: Path) -> None:
    answer = command({**_bare(tmp_path), "WAREHOUSE_SYNC_CHUNK_MAX_ROWS": "none"}, "runs")
    assert answer.returncode == 1
    assert "WAREHOUSE_SYNC_CHUNK_MAX_ROWS" in answer.stderr


def test_the_demo_agrees_with_the_stand_in_on_every_count(tmp_path: Path) -> None:
    answer = command(_bare(tmp_path), "demo", "--users", "2000", "--json")
    assert answer.returncode == 0, answer.stderr
    result = json.loads(answer.stdout)
    assert [(run["mode"], run["extracted"], run["accepted"]) for run in result["runs"]] == [
        ("full", 2000, 2000),
        ("incremental", 20, 20),
    ]
    assert result["sandbox"] == {"batches": 2020, "duplicates": 0, "dropped": 0, "profiles": 2000}
