"""The commands as clients of the API: in this process, and of a server elsewhere that asks who they are."""

import json
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import redis
import uvicorn
from structlog.testing import capture_logs
from typer.testing import CliRunner, Result

from console.api.app import build_api
from console.cli import app, exit_code
from console.operations import Operations
from sandbox.ports import free_port
from sandbox.services import Services
from shared.access import Role
from shared.endpoints import spool_url
from shared.errors import (
    AlreadyInProgress,
    MoveNotAllowed,
    NotFound,
    NoWorker,
    RoleTooLow,
    ServerUnavailable,
    ServiceUnavailable,
    SignInRefused,
    StillAtWork,
    StoreUnavailable,
)
from shared.ledger import RejectCode
from shared.rejects import MASK
from shared.run import RunId, Window
from shared.settings import PREFIX, Settings, settings
from shared.spool import Spool
from tests.rejected import Rejected
from tests.shared.store.stage import T0, T1, Stage

_START_LIMIT_S = 60.0


@pytest.fixture
def here(stage: Stage, services: Services, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Have commands find the stage's database and the session's Valkey in their environment."""
    with redis.Redis.from_url(services.broker_url) as client:
        client.flushdb()
    stage.clear()
    url = stage.database.url.render_as_string(hide_password=False)
    own = {"DATABASE_URL": url, "BROKER_URL": services.broker_url, "PROBE_TIMEOUT_S": "0.2", "HOME": str(tmp_path)}
    for name, value in own.items():
        monkeypatch.setenv(f"{PREFIX}{name}", value)
    settings.cache_clear()
    yield
    settings.cache_clear()


def run(*arguments: str, **environment: str) -> Result:
    return CliRunner(env={"COLUMNS": "200", **environment}).invoke(app, arguments)


def told(*arguments: str, **environment: str) -> Any:
    """Give the one JSON document that a command printed."""
    result = run(*arguments, "--json", **environment)
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


@pytest.mark.usefixtures("here")
def test_a_pipeline_lives_its_life_by_commands(stage: Stage) -> None:
    stage.declare(is_active=False)
    refused = run("activate", "people")
    assert isinstance(refused.exception, NoWorker)
    assert "--unchecked" in str(refused.exception)
    assert "pipeline people is active; trigger it" in run("activate", "people", "--unchecked").output
    assert isinstance(run("activate", "people").exception, MoveNotAllowed)
    assert told("pause", "people")["state"] == "paused"
    assert "pipeline people is active" in run("resume", "people").output
    assert "Delete pipeline people?" in run("delete", "people").output
    assert run("pipelines", "delete", "people", "--yes").output == "pipeline people is deleted\n"
    assert told("pipelines") == []
    assert isinstance(run("delete", "people", "--yes").exception, NotFound)


@pytest.mark.usefixtures("here")
def test_pipelines_are_listed_by_provider_with_what_holds_them(stage: Stage) -> None:
    stage.declare()
    run_id = stage.started()
    number = stage.run(run_id).number
    run("cancel", str(number))
    listed = run("pipelines").output
    assert listed.startswith("DuckDB\n")
    assert f"people is held by cancelled run {number}: `warehouse-sync retry {number}` continues it" in listed
    assert [one["id"] for one in told("pipelines", "--provider", "duckdb")] == ["people"]
    page = run("status", "people").output
    assert page == run("pipelines", "show", "people").output
    for fact in (
        "people (people)",
        "active, idle",
        "users on lake (DuckDB), full",
        "on demand",
        "is held by cancelled",
    ):
        assert fact in page


@pytest.mark.usefixtures("here")
def test_runs_are_triggered_watched_and_given_up_by_commands(stage: Stage) -> None:
    stage.declare()
    begun = told("trigger", "people")
    assert begun["status"] == "trigger_requested"
    number = str(begun["pipeline_run_id"])
    busy = run("trigger", "people").exception
    assert isinstance(busy, AlreadyInProgress)
    assert str(busy).splitlines()[0] == "Pipeline people is already in progress."
    assert "Pipeline people is already in progress." in run("notices", "people").output
    assert [one["number"] for one in told("runs")] == [int(number)]
    assert told("runs", "people", "--state", "settled") == []
    assert told("cancel", number)["state"] == "cancelled"
    assert "is on its way" in run("retry", number).output
    run("cancel", number)
    shown = run("run", number).output
    assert "cancelled" in shown
    assert "local " in shown, "who cancelled it"
    assert "0 accepted rows will be sent again" in run("abandon", number, "--yes").output
    assert isinstance(run("abandon", number, "--yes").exception, MoveNotAllowed)


@pytest.mark.usefixtures("here")
def test_runs_of_nobody_are_an_error_and_no_empty_list(stage: Stage) -> None:
    stage.declare()
    assert "superseded" in run("runs", "people", "--wide").output
    for command in (("runs", "nope"), ("status", "nope"), ("notices", "nope"), ("run", "zzz"), ("runs", "a/b")):
        assert isinstance(run(*command).exception, NotFound), command
    assert isinstance(run("status", "").exception, NotFound)


@pytest.mark.usefixtures("here")
def test_more_runs_than_a_page_holds_are_fetched(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    stage.declare()
    for _ in range(5):
        stage.complete(stage.started(), sizes=())
    monkeypatch.setattr("console.client.MOST", 2)
    assert len(told("runs", "people", "--limit", "5")) == 5
    assert len(told("runs", "people", "--limit", "3")) == 3


@pytest.mark.usefixtures("here")
def test_waiting_follows_a_run_to_its_end(stage: Stage) -> None:
    stage.declare()
    worker = threading.Thread(target=_settle_when_asked, args=(stage,), daemon=True)
    worker.start()
    result = run("trigger", "people", "--wait")
    worker.join(_START_LIMIT_S)
    assert result.exit_code == 0, result.output
    assert "3 of 3 rows" in result.output
    assert "balances" in result.output


@pytest.mark.usefixtures("here")
def test_a_run_that_found_nothing_new_is_shown_with_the_instant_up_to_which_it_read(stage: Stage) -> None:
    stage.past_history()
    run_id = stage.started()
    stage.complete(run_id, Window(T0, T1), sizes=())
    number = stage.run(run_id).number
    said = f"run {number} of people found nothing new: it read rows changed before {T1:%Y-%m-%d %H:%M:%S} UTC"
    for command in (("runs",), ("runs", "people"), ("run", str(number)), ("status", "people")):
        assert run(*command).output.count(f"{said} (`delay` is 5m)") == 1


def _settle_when_asked(stage: Stage) -> None:
    """Do what workers do once there is a run."""
    deadline = time.monotonic() + _START_LIMIT_S
    while not (asked := stage.rows("SELECT id FROM runs")) and time.monotonic() < deadline:
        time.sleep(0.01)
    stage.complete(RunId(asked[0].id), sizes=(3,))


@pytest.fixture
def server(here: None) -> Iterator[tuple[str, Operations]]:  # noqa: ARG001 - its environment
    """A server on a port of its own, as ``warehouse-sync serve`` runs it, and the verbs that it calls."""
    operations = Operations(Settings())
    port = free_port()
    serving = uvicorn.Server(uvicorn.Config(build_api(operations), port=port, log_level="error"))
    thread = threading.Thread(target=serving.run, daemon=True)
    thread.start()
    deadline = time.monotonic() + _START_LIMIT_S
    while not serving.started and time.monotonic() < deadline:
        time.sleep(0.01)
    assert serving.started
    with capture_logs():  # What a server of its own writes elsewhere would stand among what commands print here.
        yield f"http://127.0.0.1:{port}", operations
    serving.should_exit = True
    thread.join(_START_LIMIT_S)


def test_a_server_elsewhere_is_driven_by_the_same_commands(
    server: tuple[str, Operations], stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    url, operations = server
    stage.declare()
    tokens = {role: operations.access.create_token(f"some-{role}", role).text for role in Role}
    monkeypatch.setenv(f"{PREFIX}DATABASE_URL", "postgresql://nobody@127.0.0.1:1/none")  # No command needs it.
    settings.cache_clear()
    place = {"WAREHOUSE_SYNC_API_URL": url}
    assert isinstance(run("pipelines", **place).exception, SignInRefused)
    wrong = run("pipelines", **place, WAREHOUSE_SYNC_API_TOKEN="ws_" + "x" * 43).exception
    assert isinstance(wrong, SignInRefused)
    viewer = place | {"WAREHOUSE_SYNC_API_TOKEN": tokens[Role.VIEWER]}
    operator = place | {"WAREHOUSE_SYNC_API_TOKEN": tokens[Role.OPERATOR]}
    assert [one["id"] for one in told("pipelines", **viewer)] == ["people"]
    assert isinstance(run("trigger", "people", **viewer).exception, RoleTooLow)
    begun = told("trigger", "people", **operator)
    (run_shown,) = told("runs", "people", **viewer)
    assert run_shown["number"] == begun["pipeline_run_id"]
    worker = threading.Thread(target=stage.complete, args=(RunId(stage.rows("SELECT id FROM runs")[0].id),))
    worker.start()
    worker.join()
    assert told("runs", **viewer)[0]["state"] == "settled"
    assert "some-operator" in run("run", str(run_shown["number"]), **viewer).output


def test_history_rejects_and_the_doctor_are_asked_of_a_server_elsewhere(
    server: tuple[str, Operations], stage: Stage, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    url, operations = server
    operations.adopt_spool()
    table = pa.table({"email": ["a@planted.example", None]})
    rejected = Rejected(stage.database, Spool.open(spool_url(operations.settings)))
    run_id = rejected.run((table, {0: RejectCode.NO_IDENTITY, 1: RejectCode.NO_IDENTITY}))
    rejected.keep_secret("email")
    place = {"WAREHOUSE_SYNC_API_URL": url}
    admin, operator = (
        place | {"WAREHOUSE_SYNC_API_TOKEN": operations.access.create_token(f"some-{role}", role).text}
        for role in (Role.ADMIN, Role.OPERATOR)
    )
    monkeypatch.setenv(f"{PREFIX}DATABASE_URL", "postgresql://nobody@127.0.0.1:1/none")  # No command needs it.
    settings.cache_clear()
    path = tmp_path / "rejects.jsonl"
    assert isinstance(run("rejects", str(run_id), "--to", str(path), **operator).exception, RoleTooLow)
    assert not path.exists()
    assert "masked" in run("rejects", str(run_id), "--to", str(path), "--masked", **operator).output
    assert "planted" not in path.read_text()
    assert "2 rejected rows" in run("rejects", str(run_id), "--to", str(path), "--overwrite", **admin).output
    assert "planted" in path.read_text()
    assert [row["values"] for row in told("rejects", str(run_id), **operator)["rows"]] == [
        {"email": MASK},
        {"email": None},
    ]
    assert told("backfills", **operator) == []
    assert isinstance(run("test", "lake", **operator).exception, NoWorker)
    monkeypatch.setattr(Operations, "workers", lambda _: {})  # There are none; asking for them takes a while.
    sick = run("doctor", "lake", "--json", **operator)
    assert sick.exit_code == 1
    assert [one["subject"] for one in json.loads(sick.stdout) if not one["is_well"]][:1] == ["workers"]


def test_the_doctor_here_says_so_where_the_database_is_down(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(f"{PREFIX}DATABASE_URL", f"postgresql://nobody@127.0.0.1:{free_port()}/none")
    monkeypatch.setenv(f"{PREFIX}BROKER_URL", f"redis://127.0.0.1:{free_port()}/0")
    settings.cache_clear()
    sick = run("doctor", "--json")
    settings.cache_clear()
    assert sick.exit_code == 1
    assert json.loads(sick.stdout)[0]["found"] == "StoreUnavailable"


def test_a_server_that_is_not_there_is_named() -> None:
    place = {"WAREHOUSE_SYNC_API_URL": f"http://127.0.0.1:{free_port()}", "WAREHOUSE_SYNC_API_TOKEN": "ws_x"}
    gone = run("pipelines", **place).exception
    assert isinstance(gone, ServerUnavailable)
    assert "warehouse-sync serve" in str(gone)


def test_exit_codes_say_whether_repeating_helps() -> None:
    assert exit_code(NotFound("x")) == exit_code(AlreadyInProgress("x")) == 1
    assert exit_code(StoreUnavailable("x")) == exit_code(NoWorker("x")) == exit_code(ServerUnavailable("x")) == 3
    assert exit_code(SignInRefused("x")) == exit_code(RoleTooLow("x")) == 4


@pytest.mark.usefixtures("here")
def test_a_held_run_is_shown_as_held_and_approved_by_its_number(stage: Stage) -> None:
    stage.declare()
    run_id = stage.started()
    (slice_id,) = stage.plan(run_id, snapshot={"max_volume_rows": 4})
    stage.publish(*stage.claim_slice(slice_id), [5])
    number = stage.run(run_id).number
    listed = run("runs").output
    assert " held " in listed
    assert "is held (volume_unusual): run" in listed
    page = run("status", "people").output
    for shown in (listed, page):
        assert shown.count(f"warehouse-sync approve {number}") == 1
        assert shown.count(f"warehouse-sync abandon {number}") == 1
    assert "active, held" in run("pipelines").output
    assert f"people waits for a decision: run {number} is held" in page
    with_reason = str(run("trigger", "people").exception)
    assert with_reason.count(f"warehouse-sync approve {number}") == 1
    assert f"run {number} is on its way" in run("approve", str(number)).output
    assert isinstance(run("approve", str(number)).exception, MoveNotAllowed)


@pytest.mark.usefixtures("here")
def test_recover_shows_what_it_would_hold_and_then_holds_it(stage: Stage) -> None:
    stage.declare()
    run_id, _ = stage.uploading([3, 2])
    number = stage.run(run_id).number
    shown = run("recover", "--dry-run").output
    assert "1 run would be held; nothing was changed" in shown
    assert "active, would be held" in shown
    assert f"run {number}: The state database was restored as of" in shown
    assert not stage.run(run_id).is_held
    found = told("recover", "--pause-all")
    assert [one["number"] for one in found["runs"]] == [number]
    assert (found["paused"], found["pipelines"][0]["is_held"], found["is_dry_run"]) == (["people"], True, False)
    assert stage.run(run_id).is_held
    again = run("recover").output
    assert "1 run is held; numbers" in again
    assert "next: start the API, the workers and a beat, then `approve` or `abandon` each" in again
    event = told("run", str(number))
    assert event["held_for"] == "restored"


@pytest.mark.usefixtures("here")
def test_recover_works_from_database_and_spool_where_no_broker_is_known(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(f"{PREFIX}BROKER_URL")
    settings.cache_clear()
    stage.declare()
    run_id, _ = stage.uploading([3, 2])
    refused = run("recover").exception
    assert isinstance(refused, StillAtWork)
    assert "no Redis or Valkey is known" in str(refused)
    assert "warehouse-sync up" not in str(refused)
    shown = run("recover", "--dry-run").output
    assert shown.startswith("warning: whether workers run cannot be told: no Redis or Valkey is known")
    assert "1 run is held" in run("recover", "--force").output
    assert stage.run(run_id).is_held
    monkeypatch.delenv(f"{PREFIX}DATABASE_URL")
    settings.cache_clear()
    unknown = run("recover", "--force").exception
    assert isinstance(unknown, ServiceUnavailable)
    assert "warehouse-sync up" not in str(unknown)
