"""A home keeps a secret once made, for its owner alone."""

import stat
from collections.abc import Callable
from itertools import count
from pathlib import Path

import pytest

from sandbox.kept import keep, kept


@pytest.fixture
def make() -> Callable[[], str]:
    numbers = count(1)
    return lambda: f"secret-{next(numbers)}"


def test_a_secret_is_made_once_and_kept_for_its_owner_alone(tmp_path: Path, make: Callable[[], str]) -> None:
    path = tmp_path / "password"
    assert [kept(path, make) for _ in range(3)] == ["secret-1"] * 3
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_one_that_others_could_read_or_that_is_lost_is_made_anew(tmp_path: Path, make: Callable[[], str]) -> None:
    path = tmp_path / "password"
    kept(path, make)
    path.chmod(0o644)
    assert kept(path, make) == "secret-2"
    path.write_text("\n")
    assert kept(path, make) == "secret-3"
    path.write_bytes(b"\xff")
    assert kept(path, make) == "secret-4"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_what_was_left_half_written_does_not_lend_its_rights(tmp_path: Path) -> None:
    left = tmp_path / "password.new"
    left.write_text("half")
    left.chmod(0o644)
    keep(tmp_path / "password", "whole")
    assert (tmp_path / "password").read_text() == "whole\n"
    assert stat.S_IMODE((tmp_path / "password").stat().st_mode) == 0o600
    assert not left.exists()
