"""Whether a process works is told by a file's age, or by its answer over HTTP; the answer costs next to nothing."""

import http.server
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from threading import Thread

import pytest

from sandbox.ports import free_port
from shared import pulse


def test_a_process_that_has_just_worked_is_well(tmp_path: Path) -> None:
    pulse.beat(tmp_path / "pulse")
    touched_at = (tmp_path / "pulse").stat().st_mtime
    assert pulse.ails(tmp_path / "pulse", now=touched_at + pulse.SILENT_AFTER_S) is None


def test_one_that_has_been_silent_for_a_minute_is_not(tmp_path: Path) -> None:
    pulse.beat(tmp_path / "pulse")
    touched_at = (tmp_path / "pulse").stat().st_mtime
    assert "last touched 61 s ago" in str(pulse.ails(tmp_path / "pulse", now=touched_at + 61))


def test_one_that_has_never_worked_is_not(tmp_path: Path) -> None:
    assert "not there" in str(pulse.ails(tmp_path / "pulse", now=0))


def test_each_beat_counts_anew(tmp_path: Path) -> None:
    path = tmp_path / "pulse"
    pulse.beat(path)
    os.utime(path, (0, 0))
    pulse.beat(path)
    assert path.stat().st_mtime > 0


def test_a_process_that_is_told_of_no_file_touches_none() -> None:
    pulse.beat(None)


def asked(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    root = str(Path(__file__).parents[2])
    command = [sys.executable, "-X", "importtime", "-m", "shared.pulse", *arguments]
    told = {"PYTHONPATH": root, **environment}
    return subprocess.run(command, env=told, capture_output=True, text=True, check=False, timeout=60)


def test_the_question_is_answered_by_the_exit_code_and_imports_nothing_of_others(tmp_path: Path) -> None:
    pulse.beat(tmp_path / "pulse")
    answer = asked(WAREHOUSE_SYNC_PULSE_FILE=str(tmp_path / "pulse"))
    assert answer.returncode == 0
    imported = {line.rpartition("|")[2].strip().partition(".")[0] for line in answer.stderr.splitlines()}
    assert imported.isdisjoint({"pydantic", "celery", "sqlalchemy", "redis", "structlog"})
    assert asked(WAREHOUSE_SYNC_PULSE_FILE=str(tmp_path / "none")).returncode == 1
    assert "WAREHOUSE_SYNC_PULSE_FILE is not set" in asked().stderr


@pytest.fixture
def server() -> Iterator[str]:
    class Answering(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200 if self.path == "/healthz" else 503)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with http.server.HTTPServer(("127.0.0.1", 0), Answering) as running:
        Thread(target=running.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{running.server_port}"
        running.shutdown()


def test_what_serves_is_asked_over_http(server: str) -> None:
    assert pulse.main([f"{server}/healthz"]) is None
    assert pulse.main([server]) == f"{server} answers 503"
    nobody = f"http://127.0.0.1:{free_port()}/healthz"
    assert pulse.main([nobody]) == f"{nobody} does not answer: ConnectionRefusedError"
