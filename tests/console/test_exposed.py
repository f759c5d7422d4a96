"""The doctor says where passwords travel beyond a private network without TLS, and says nothing elsewhere."""

from pathlib import Path

import pytest
from pydantic import SecretStr

from console.examining.exposed import is_exposed, of_ways
from console.operations import Operations
from shared.settings import Settings


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://user:sesame@127.0.0.1:5432/db",
        "postgresql://user:sesame@localhost/db",
        "postgresql://user:sesame@postgres:5432/db",
        "postgresql://user:sesame@10.2.3.4/db",
        "postgresql://user:sesame@[fd00::5]/db",
        "postgresql://user:sesame@db.internal/db",
        "postgresql://user:sesame@db.sync.svc.cluster.local/db",
        "postgresql://user:sesame@db.example.com/db?sslmode=verify-full&sslrootcert=/ca.pem",
        "rediss://user:sesame@cache.example.com:6379/0",
        "redis://valkey:6379/0",
    ],
)
def test_a_private_network_and_proven_tls_are_well(url: str) -> None:
    assert not is_exposed(url)


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://user:sesame@db.example.com/db",
        "postgresql+psycopg://user:sesame@db.example.com/db?sslmode=require",
        "postgresql://user:sesame@8.8.8.8/db",
        "redis://user:sesame@cache.example.com:6379/0",
    ],
)
def test_a_name_of_the_internet_without_it_is_not(url: str) -> None:
    assert is_exposed(url)


def test_each_finding_has_its_cure_and_no_password(tmp_path: Path) -> None:
    operations = Operations(
        Settings(
            home=tmp_path,
            database_url=SecretStr("postgresql://user:sesame@db.example.com/db"),
            broker_url=SecretStr("redis://user:sesame@cache.example.com/0"),
        )
    )
    found = list(of_ways(operations))
    operations.close()
    assert [one.subject for one in found] == ["way to the state database", "way to the broker"]
    assert ["verify-full" in str(found[0].cure), "rediss://" in str(found[1].cure)] == [True, True]
    assert "sesame" not in str(found)
