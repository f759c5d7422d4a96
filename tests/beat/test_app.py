"""Beat as a process of its own."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sandbox.ports import free_port
from sandbox.processes import wait_for
from shared.settings import PREFIX

LIMIT_S = 60


@contextmanager
def beat(log: Path, **told: str) -> Iterator[None]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(PREFIX)}
    with log.open("w") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "celery", "-A", "beat.app", "beat", "--schedule", str(log.with_suffix(".schedule"))],
            env=kept | {PREFIX + name: value for name, value in told.items()},
            stdout=output,
            stderr=subprocess.STDOUT,
        )
        try:
            yield
        finally:
            process.kill()
            process.wait()


def test_a_beat_that_reaches_no_service_names_both_at_its_start(tmp_path: Path) -> None:
    log, store, broker = tmp_path / "beat.log", free_port(), free_port()
    nowhere = {
        "DATABASE_URL": f"postgresql+psycopg://me:hunter2@127.0.0.1:{store}/none",
        "BROKER_URL": f"redis://127.0.0.1:{broker}/0",
    }
    with beat(log, LOG_FORMAT="json", **nowhere):
        assert wait_for(lambda: "services_not_reached" in log.read_text(), LIMIT_S), log.read_text()
    (told,) = (json.loads(line) for line in log.read_text().splitlines() if "services_not_reached" in line)
    assert told["error"].index(f"127.0.0.1:{store}") < told["error"].index(f"127.0.0.1:{broker}")
    assert "hunter2" not in log.read_text()
