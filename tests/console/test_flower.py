"""``warehouse-sync flower``: a real Flower over a real broker, asked for everything that it serves."""

import base64
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from http import HTTPStatus
from pathlib import Path
from typing import Any

import httpx
import pytest
import redis
from celery import Celery
from flower.urls import handlers
from tornado.web import RequestHandler

from sandbox.ports import free_port
from sandbox.services import Services
from shared.broker import build_app, depths
from shared.messages import Queue, TaskName
from shared.settings import PREFIX, settings

LIMIT_S = 60
OPEN = {"/healthcheck", "/static/favicon.ico", "/login", "/logout", "/nowhere"}
"""What anybody may ask for: it says that Flower runs, what it looks like, and nothing of what it watches."""
USER, PASSWORD = "ann", "correct-horse"
ONLY_READS = "/tasks/datatable"
"""The one POST that changes nothing."""
SIGNED_IN = {"Authorization": f"Basic {base64.b64encode(f'{USER}:{PASSWORD}'.encode()).decode()}"}
GUESSED = {"Authorization": f"Basic {base64.b64encode(f'{USER}:guessed'.encode()).decode()}"}
TRIGGER = "/api/task/async-apply/warehouse_sync.trigger"


def routes() -> dict[str, type[RequestHandler]]:
    """Give a path for every route of Flower, and what serves it."""
    found: dict[str, type[RequestHandler]] = {}
    for route in handlers:
        pattern, handler = (
            (route[0], route[1]) if isinstance(route, tuple) else (route.regex.pattern, route.handler_class)
        )
        path = pattern.removesuffix("$").removesuffix("?").removesuffix("/") or "/"
        path = {"/static/(.*)": "/static/favicon.ico", ".*": "/nowhere"}.get(path, path)
        found[path.replace("(.+)", "any").replace("(.*)", "any")] = handler
    return found


@pytest.fixture
def broker_app(services: Services) -> Iterator[Celery]:
    with redis.Redis.from_url(services.broker_url) as client:
        client.flushdb()
    yield (app := build_app(settings(), broker_url=services.broker_url))
    app.close()


def bare(home: Path, services: Services) -> dict[str, str]:
    inherited = {name: value for name, value in os.environ.items() if not name.startswith((PREFIX, "FLOWER_"))}
    return {**inherited, f"{PREFIX}HOME": str(home), f"{PREFIX}BROKER_URL": services.broker_url, "COLUMNS": "200"}


def argv(*options: str) -> list[str]:
    return [sys.executable, "-c", "from console.cli import main; main()", "flower", *options]


@contextmanager
def running(home: Path, environment: Mapping[str, str], *options: str, prefix: str = "") -> Iterator[httpx.Client]:
    """Run the command; give a client that has not signed in."""
    port = free_port()
    with (home / "printed").open("a") as printed:
        flower = subprocess.Popen(
            argv("--port", str(port), *options), env=environment, stdout=printed, stderr=printed, cwd=home
        )
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}{prefix}", timeout=LIMIT_S) as client:
            until(lambda: flower.poll() is not None or answers(client), "Flower answers")
            assert flower.poll() is None, (home / "printed").read_text()
            yield client
    finally:
        flower.send_signal(signal.SIGTERM)
        assert flower.wait(LIMIT_S) == 0, (home / "printed").read_text()


def answers(client: httpx.Client) -> bool:
    try:
        return client.get("/healthcheck").text == "OK"
    except httpx.TransportError:
        return False


def until(condition: Callable[[], Any], what: str) -> None:
    deadline = time.monotonic() + LIMIT_S
    while not condition():
        assert time.monotonic() < deadline, f"within {LIMIT_S} s: {what}"
        time.sleep(0.05)


def send(app: Celery, pipeline_id: str) -> str:
    sent: Any = app.send_task(TaskName.TRIGGER.value, args=(pipeline_id,), queue=Queue.CONTROL.value)
    return str(sent.id)


def test_flower_asks_everybody_to_sign_in_changes_nothing_and_remembers(
    tmp_path: Path, services: Services, broker_app: Celery
) -> None:
    (tmp_path / "users").write_text(f"{USER}:{PASSWORD}\n")
    environment = {**bare(tmp_path, services), f"{PREFIX}FLOWER_USERS_FILE": str(tmp_path / "users")}

    with running(tmp_path, environment) as client:
        for path, handler in routes().items():
            if path in OPEN:
                continue
            for headers in ({}, GUESSED):
                asked = {client.request(method, path, headers=headers).status_code for method in ("GET", "POST")}
                assert HTTPStatus.UNAUTHORIZED in asked <= {HTTPStatus.UNAUTHORIZED, HTTPStatus.METHOD_NOT_ALLOWED}, (
                    path
                )
            if handler.post is not RequestHandler.post and path != ONLY_READS:
                refused = client.post(path, headers=SIGNED_IN, json={"args": ["users"]})
                assert (refused.status_code, refused.text) == (403, "Read only mode is enabled"), path
        assert depths(broker_app)[Queue.CONTROL] == 0
        assert client.get("/metrics", headers=SIGNED_IN).is_success
        queues = client.get("/api/queues/length", headers=SIGNED_IN).json()["active_queues"]
        assert {queue["name"] for queue in queues} == set(Queue), "also those that no worker serves"
        # Flower may have subscribed a moment after it answers.
        sent: list[str] = []

        def seen() -> bool:
            sent.append(send(broker_app, "users"))
            return bool(client.get("/api/tasks", headers=SIGNED_IN).json())

        until(seen, "Flower sees a task that is sent")
        known = client.get("/api/tasks", headers=SIGNED_IN).json().keys()
        assert known <= set(sent)
    state = tmp_path / "flower"
    assert state.stat().st_mode & 0o777 == 0o700

    with running(tmp_path, environment, "--allow-control", "--url-prefix", "/flower", prefix="/flower") as client:
        assert known <= client.get("/api/tasks", headers=SIGNED_IN).json().keys(), "it remembers what it saw"
        before = depths(broker_app)[Queue.CONTROL]
        assert client.post(TRIGGER, json={"args": ["users"]}).status_code == HTTPStatus.UNAUTHORIZED
        assert client.post(TRIGGER, headers=SIGNED_IN, json={"args": ["users"]}).is_success
        assert depths(broker_app)[Queue.CONTROL] == before + 1


def test_flower_does_not_start_without_a_sign_in(tmp_path: Path, services: Services) -> None:
    ran = subprocess.run(
        argv(), env=bare(tmp_path, services), cwd=tmp_path, capture_output=True, text=True, timeout=LIMIT_S, check=False
    )
    assert ran.returncode == 1
    assert "MoveNotAllowed: whoever reaches Flower could use it" in ran.stderr
    assert f"{PREFIX}FLOWER_USERS_FILE" in ran.stderr


def test_a_state_that_cannot_be_kept_is_refused(tmp_path: Path, services: Services) -> None:
    (tmp_path / "file").touch()
    environment = {**bare(tmp_path, services), f"{PREFIX}FLOWER_USERS": f"{USER}:{PASSWORD}"}
    ran = subprocess.run(
        argv("--state", str(tmp_path / "file")),
        env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=LIMIT_S, check=False,
    )  # fmt: skip
    assert ran.returncode == 1
    assert "cannot be made" in ran.stderr
    assert PASSWORD not in ran.stderr
