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
