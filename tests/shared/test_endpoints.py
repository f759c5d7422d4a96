"""Servers are found by the environment first, then by what is recorded under the home."""

import stat
from pathlib import Path

import pytest
from pydantic import SecretStr

from shared.endpoints import broker_url, database_url, forget, public_key, record, service_urls, spool_url
from shared.errors import ServiceUnavailable
from shared.settings import Settings


def test_the_environment_comes_before_the_record(tmp_path: Path) -> None:
    record(tmp_path, database_url="postgresql://recorded", broker_url="redis://recorded")
    settings = Settings(home=tmp_path, database_url=SecretStr("postgresql://named"))
    assert database_url(settings) == "postgresql://named"
    assert broker_url(settings) == "redis://recorded"


def test_the_public_key_is_found_like_a_server_and_may_be_missing(tmp_path: Path) -> None:
    assert public_key(Settings(home=tmp_path)) is None
    record(tmp_path, database_url="a", broker_url="b")
    assert public_key(Settings(home=tmp_path)) is None
    record(tmp_path, database_url="a", broker_url="b", public_key="wsync-public-recorded")
    assert public_key(Settings(home=tmp_path)) == "wsync-public-recorded"
    assert public_key(Settings(home=tmp_path, public_key="wsync-public-named")) == "wsync-public-named"


def test_the_record_is_its_owners_alone(tmp_path: Path) -> None:
    record(tmp_path, database_url="a", broker_url="b")
    assert stat.S_IMODE((tmp_path / "endpoints.json").stat().st_mode) == 0o600


def test_what_is_forgotten_is_missing_and_said_to_be(tmp_path: Path) -> None:
    record(tmp_path, database_url="a", broker_url="b")
    forget(tmp_path)
    with pytest.raises(ServiceUnavailable, match="WAREHOUSE_SYNC_DATABASE_URL"):
        database_url(Settings(home=tmp_path))
    with pytest.raises(ServiceUnavailable, match="WAREHOUSE_SYNC_BROKER_URL"):
        broker_url(Settings(home=tmp_path))


def test_all_that_is_missing_is_named_at_once_the_database_first(tmp_path: Path) -> None:
    with pytest.raises(ServiceUnavailable) as neither:
        service_urls(Settings(home=tmp_path))
    assert str(neither.value) == (
        "no PostgreSQL and no Redis or Valkey are known: set WAREHOUSE_SYNC_DATABASE_URL and WAREHOUSE_SYNC_BROKER_URL"
        f", or start the embedded servers of {tmp_path} with `warehouse-sync up`"
    )
    one = SecretStr("postgresql://named")
    with pytest.raises(ServiceUnavailable, match="no Redis or Valkey is known: set WAREHOUSE_SYNC_BROKER_URL, or"):
        service_urls(Settings(home=tmp_path, database_url=one))
    both = Settings(home=tmp_path, database_url=one, broker_url=SecretStr("redis://named"))
    assert service_urls(both) == ("postgresql://named", "redis://named")


def test_a_record_that_is_damaged_is_as_none(tmp_path: Path) -> None:
    (tmp_path / "endpoints.json").write_text("{")
    with pytest.raises(ServiceUnavailable, match="warehouse-sync up"):
        database_url(Settings(home=tmp_path))


def test_the_spool_is_under_home_unless_named(tmp_path: Path) -> None:
    assert spool_url(Settings(home=tmp_path)) == (tmp_path / "spool").as_uri()
    assert spool_url(Settings(home=tmp_path, spool_url="s3://bucket/x")) == "s3://bucket/x"


def test_a_record_that_was_left_half_written_does_not_lend_its_rights(tmp_path: Path) -> None:
    left = tmp_path / "endpoints.json.new"
    left.write_text("{")
    left.chmod(0o644)
    record(tmp_path, database_url="a", broker_url="b")
    assert stat.S_IMODE((tmp_path / "endpoints.json").stat().st_mode) == 0o600


@pytest.mark.parametrize("text", ["[]", "1", '"database_url"', "{}", "\xff"])
def test_a_record_of_another_shape_is_as_none(tmp_path: Path, text: str) -> None:
    (tmp_path / "endpoints.json").write_text(text, encoding="latin-1")
    with pytest.raises(ServiceUnavailable, match="WAREHOUSE_SYNC_DATABASE_URL"):
        database_url(Settings(home=tmp_path))
