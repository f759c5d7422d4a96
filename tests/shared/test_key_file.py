"""Private keys are read from a file that only its owner can read, and no message repeats a line of it."""

import os
from pathlib import Path

import pytest

from shared.errors import SecretUnavailable
from shared.key_file import add_key, read_keys
from shared.sealing import generate


def _refusal(path: Path) -> str:
    with pytest.raises(SecretUnavailable, match="WAREHOUSE_SYNC_PRIVATE_KEYS") as refused:
        read_keys(path)
    return str(refused.value)


def _file(path: Path, content: str, mode: int = 0o600) -> Path:
    path.write_text(content)
    path.chmod(mode)
    return path


def test_without_a_file_there_are_no_keys() -> None:
    assert read_keys(None) == ()


def test_each_key_that_is_added_comes_first_in_a_file_of_its_owner(tmp_path: Path) -> None:
    path = tmp_path / "keys"
    first = add_key(path)
    assert read_keys(path) == (first,)
    second = add_key(path)
    assert read_keys(path) == (second, first)
    assert path.stat().st_mode & 0o777 == 0o600
    assert [one.name for one in tmp_path.iterdir()] == ["keys"]


def test_what_a_writer_that_died_left_behind_is_in_nobodys_way(tmp_path: Path) -> None:
    _file(tmp_path / "keys.new", "half", 0o644)
    add_key(tmp_path / "keys")
    assert (tmp_path / "keys").stat().st_mode & 0o777 == 0o600


def test_empty_lines_and_comments_do_not_count(tmp_path: Path) -> None:
    key = generate()
    path = _file(tmp_path / "keys", f"# made in May\n\n  {key.text}\n")
    assert read_keys(path) == (key,)


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o644, 0o620, 0o660])
def test_a_file_that_others_can_read_is_refused(tmp_path: Path, mode: int) -> None:
    said = _refusal(_file(tmp_path / "keys", generate().text, mode))
    assert f"mode {mode:04o}" in said
    assert "chmod 600" in said


@pytest.mark.parametrize(("mode", "is_taken"), [(0o440, True), (0o400, True), (0o444, False), (0o460, False)])
def test_a_mounted_file_of_somebody_else_may_be_read_through_its_group(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mode: int, *, is_taken: bool
) -> None:
    key = generate()
    path = _file(tmp_path / "keys", key.text, mode)
    other = os.geteuid() + 1
    monkeypatch.setattr("shared.key_file.os.geteuid", lambda: other)
    if is_taken:
        assert read_keys(path) == (key,)
    else:
        _refusal(path)


def test_a_line_that_is_no_key_is_named_by_its_number(tmp_path: Path) -> None:
    said = _refusal(_file(tmp_path / "keys", f"{generate().text}\nwsync-private-hunter2\n"))
    assert "line 2" in said
    assert "hunter2" not in said


def test_a_key_in_place_of_the_files_path_is_not_repeated() -> None:
    key = generate()
    assert key.text not in _refusal(Path(key.text))


def test_a_file_that_is_absent_no_text_or_no_file_is_named(tmp_path: Path) -> None:
    assert "No such file" in _refusal(tmp_path / "keys")
    (tmp_path / "binary").write_bytes(b"hunter2\xff")
    (tmp_path / "binary").chmod(0o600)
    assert "not UTF-8" in _refusal(tmp_path / "binary")
    assert "directory" in _refusal(tmp_path)


def test_a_file_that_is_damaged_or_cannot_be_written_keeps_what_it_has(tmp_path: Path) -> None:
    path = _file(tmp_path / "keys", "half a key")
    with pytest.raises(SecretUnavailable, match="line 1"):
        add_key(path)
    assert path.read_text() == "half a key"
    with pytest.raises(SecretUnavailable, match="cannot be written"):
        add_key(tmp_path / "absent" / "keys")
