import os
import signal
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from worker.warehouses.duckdb.spill import SpillFolder

HOLDER = """
import os, sys, tempfile
tempfile.tempdir = sys.argv[1]
from worker.warehouses.duckdb.spill import SpillFolder
folder = SpillFolder()
(folder.path / "rows").write_text("alice@example.com")
print(folder.path, flush=True)
sys.stdin.read()
"""


@pytest.fixture(autouse=True)
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))


@pytest.fixture
def holder(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(tmp_path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    ) as process:
        yield process
        process.kill()


def path_of(holder: subprocess.Popen[str]) -> Path:
    assert holder.stdout is not None
    return Path(holder.stdout.readline().strip())


def test_a_spill_folder_is_nobody_elses_to_read() -> None:
    folder = SpillFolder()
    assert stat.S_IMODE(folder.path.stat().st_mode) == 0o700


def test_removing_leaves_nothing_and_may_be_repeated(tmp_path: Path) -> None:
    folder = SpillFolder()
    (folder.path / "rows").write_text("x")
    folder.remove()
    folder.remove()
    assert list(tmp_path.iterdir()) == []


def test_what_a_dead_process_left_is_removed(holder: subprocess.Popen[str]) -> None:
    left = path_of(holder)
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    assert (left / "rows").exists()
    mine = SpillFolder()
    assert not left.exists()
    assert mine.path.exists()


def test_what_a_living_process_uses_stays(holder: subprocess.Popen[str]) -> None:
    theirs = path_of(holder)
    mine, another = SpillFolder(), SpillFolder()
    assert (theirs / "rows").exists()
    assert mine.path.exists()
    assert another.path.exists()
