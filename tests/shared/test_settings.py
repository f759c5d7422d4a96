"""Settings come from the environment, are frozen, and name what is wrong."""

import pytest
from pydantic import ValidationError

from shared.errors import DeclarationInvalid
from shared.settings import Settings, settings


def test_a_variable_with_the_prefix_sets_its_field(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WAREHOUSE_SYNC_CHUNK_MAX_ROWS", "123")
    monkeypatch.setenv("WAREHOUSE_SYNC_FEED_HOSTS", '["127.0.0.1"]')
    assert Settings().chunk_max_rows == 123
    assert Settings().feed_hosts == ("127.0.0.1",)


def test_a_variable_that_is_empty_is_as_one_that_is_not_set(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("CHUNK_MAX_ROWS", "FEED_HOSTS", "PUBLIC_KEY", "DATABASE_URL"):
        monkeypatch.setenv(f"WAREHOUSE_SYNC_{name}", "")
    found = Settings()
    assert (found.chunk_max_rows, found.feed_hosts, found.public_key, found.database_url) == (10_000, (), None, None)


def test_settings_cannot_be_changed() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        Settings().chunk_max_rows = 5  # type: ignore[misc] # the attempt is the test


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("WAREHOUSE_SYNC_CHUNK_MAX_ROWS", "0"),
        ("WAREHOUSE_SYNC_BODY_MAX_BATCHES", "101"),
        ("WAREHOUSE_SYNC_BODY_MAX_BYTES", "256001"),
        ("WAREHOUSE_SYNC_UPLOAD_LEASE_S", "soon"),
    ],
)
def test_a_limit_that_cannot_be_is_refused_by_its_variable(
    name: str, value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, value)
    settings.cache_clear()
    try:
        with pytest.raises(DeclarationInvalid, match=name):
            settings()
    finally:
        settings.cache_clear()


def test_a_url_with_a_password_is_never_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WAREHOUSE_SYNC_DATABASE_URL", "postgresql://user:hunter2@host/name")
    assert "hunter2" not in repr(Settings())


def _complaint(monkeypatch: pytest.MonkeyPatch, **variables: str) -> str:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    settings.cache_clear()
    try:
        with pytest.raises(DeclarationInvalid) as refused:
            settings()
    finally:
        settings.cache_clear()
    return str(refused.value)


@pytest.mark.parametrize(
    ("value", "hosts"),
    [
        ("one.example", ("one.example",)),
        ("one.example, two.example,", ("one.example", "two.example")),
        ('["one.example", "two.example"]', ("one.example", "two.example")),
        ("", ()),
    ],
)
def test_a_list_is_written_as_people_write_it(
    value: str, hosts: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WAREHOUSE_SYNC_FEED_HOSTS", value)
    assert Settings().feed_hosts == hosts


def test_a_list_that_cannot_be_read_is_refused_by_its_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "WAREHOUSE_SYNC_FEED_HOSTS" in _complaint(monkeypatch, WAREHOUSE_SYNC_FEED_HOSTS="[one.example")


def test_several_wrong_variables_are_all_named(monkeypatch: pytest.MonkeyPatch) -> None:
    said = _complaint(monkeypatch, WAREHOUSE_SYNC_MAX_DEATHS="0", WAREHOUSE_SYNC_CHUNK_MAX_ROWS="many")
    assert "WAREHOUSE_SYNC_MAX_DEATHS" in said
    assert "WAREHOUSE_SYNC_CHUNK_MAX_ROWS" in said
    assert "'many'" in said


@pytest.mark.parametrize(
    ("variables", "named"),
    [
        (
            {"WAREHOUSE_SYNC_SPOOL_SOFT_BYTES": "10", "WAREHOUSE_SYNC_SPOOL_HARD_BYTES": "9"},
            ["WAREHOUSE_SYNC_SPOOL_SOFT_BYTES", "WAREHOUSE_SYNC_SPOOL_HARD_BYTES"],
        ),
        (
            {"WAREHOUSE_SYNC_VISIBILITY_TIMEOUT_S": "100"},
            ["WAREHOUSE_SYNC_VISIBILITY_TIMEOUT_S", "WAREHOUSE_SYNC_ATTEMPT_TARGET_S"],
        ),
    ],
)
def test_limits_that_contradict_each_other_are_refused_by_their_variables(
    variables: dict[str, str], named: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    said = _complaint(monkeypatch, WAREHOUSE_SYNC_DATABASE_URL="postgresql://user:hunter2@host/name", **variables)
    for name in named:
        assert name in said
    assert "hunter2" not in said


def test_every_limit_says_its_unit_and_its_reason() -> None:
    units = (
        "_s",
        "_bytes",
        "_rows",
        "_batches",
        "_events",
        "_chunks",
        "_deaths",
        "_reopenings",
        "_in_flight",
        "_ratio",
    )
    for name, field in Settings.model_fields.items():
        assert field.description, name
        if field.annotation in {int, float}:
            assert name.endswith(units), name
