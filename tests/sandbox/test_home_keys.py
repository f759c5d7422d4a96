"""A home has a key pair of its own; private keys go to workers and to nobody else."""

from pathlib import Path

import pytest

from sandbox import stack
from sandbox.home_keys import PRIVATE_KEYS, PUBLIC_KEY, key_variables
from shared.errors import SecretUnavailable
from shared.key_file import add_key, read_keys
from shared.sealing import generate


def test_a_home_makes_its_keys_once_and_keeps_them(tmp_path: Path) -> None:
    first = key_variables(tmp_path, {})
    assert key_variables(tmp_path, {}) == first
    path = Path(first[PRIVATE_KEYS])
    assert path.is_relative_to(tmp_path)
    assert path.stat().st_mode & 0o777 == 0o600
    assert [key.public.text for key in read_keys(path)] == [first[PUBLIC_KEY]]


def test_after_a_key_was_added_it_is_the_one_that_is_sealed_to(tmp_path: Path) -> None:
    path = Path(key_variables(tmp_path, {})[PRIVATE_KEYS])
    assert (
        key_variables(tmp_path, {})[PUBLIC_KEY] != add_key(path).public.text == key_variables(tmp_path, {})[PUBLIC_KEY]
    )


def test_what_the_environment_names_comes_first(tmp_path: Path) -> None:
    own = tmp_path / "own"
    key = add_key(own)
    assert key_variables(tmp_path, {PRIVATE_KEYS: str(own)})[PUBLIC_KEY] == key.public.text
    add_key(own)
    older = {PRIVATE_KEYS: str(own), PUBLIC_KEY: key.public.text}
    assert key_variables(tmp_path, older) == older
    assert not (tmp_path / "private-keys").exists()


def test_a_public_key_that_nobody_here_could_open_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SecretUnavailable, match="does not hold the private half"):
        key_variables(tmp_path, {PUBLIC_KEY: generate().public.text})


def test_a_named_file_is_never_made_and_must_hold_a_key(tmp_path: Path) -> None:
    with pytest.raises(SecretUnavailable, match="No such file"):
        key_variables(tmp_path, {PRIVATE_KEYS: str(tmp_path / "absent")})
    (tmp_path / "empty").touch(mode=0o600)
    with pytest.raises(SecretUnavailable, match="secrets keygen"):
        key_variables(tmp_path, {PRIVATE_KEYS: str(tmp_path / "empty")})


def test_private_keys_go_to_workers_only(tmp_path: Path) -> None:
    environment = {**key_variables(tmp_path, {}), "WAREHOUSE_SYNC_SECRET_FEED": "hunter2"}
    programs = [
        *stack.workers(tmp_path, environment, size=stack.Size()),
        stack.flower(tmp_path, environment, port=1, user="u", password="p"),
        stack.feed(tmp_path, environment, port=1),
    ]
    held = {program.name for program in programs if PRIVATE_KEYS in program.environment}
    assert held == {"control", "extract", "upload", "extract-backfill", "upload-backfill"}
    assert held == {program.name for program in programs if "WAREHOUSE_SYNC_SECRET_FEED" in program.environment}
    assert all(PUBLIC_KEY in program.environment for program in programs)


def test_the_channels_of_alerts_go_to_the_control_worker_only(tmp_path: Path) -> None:
    told = {
        "WAREHOUSE_SYNC_ALERT_SMTP_URL": "smtp://u:hunter2@mail",
        "WAREHOUSE_SYNC_ALERT_EMAIL_FROM": "a@example.com",
        "WAREHOUSE_SYNC_ALERT_EMAIL_TO": "b@example.com",
        "WAREHOUSE_SYNC_ALERT_SLACK_URL": "https://hooks/hunter2",
        "WAREHOUSE_SYNC_ALERT_WEBHOOK_SECRET": "hunter2",
    }
    held = {
        program.name: {name for name in program.environment if "_ALERT_" in name}
        for program in stack.workers(tmp_path, {**told, "WAREHOUSE_SYNC_BEAT_EVERY_S": "1"}, size=stack.Size())
    }
    beats = held.pop("beat")
    assert beats == {"WAREHOUSE_SYNC_ALERT_EMAIL_FROM", "WAREHOUSE_SYNC_ALERT_EMAIL_TO"}
    assert {name: names for name, names in held.items() if names} == {"control": set(told)}
