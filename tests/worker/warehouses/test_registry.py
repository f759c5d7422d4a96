"""A warehouse's client is loaded when it is used, and a missing one is named with its cure."""

import subprocess
import sys

import pytest

from shared.catalog import Connection
from shared.errors import DeclarationInvalid, DriverMissing, SecretUnavailable
from shared.settings import Settings
from tests.shared.test_connections import CONFIGS, declared
from worker.warehouses.base import Label
from worker.warehouses.registry import open_warehouse

CLIENTS = {
    "snowflake": "snowflake.connector",
    "bigquery": "google.cloud.bigquery",
    "redshift": "redshift_connector",
    "databricks": "databricks.sql",
}


def open_it(connection: Connection, settings: Settings | None = None) -> None:
    with open_warehouse(connection, settings or Settings(), label=Label("run 7")):
        pass


@pytest.mark.parametrize(("provider", "module"), CLIENTS.items())
def test_a_client_that_is_not_installed_is_named_with_the_extra_to_install(
    provider: str, module: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [*sys.modules]:
        if name.startswith(f"worker.warehouses.{provider}"):
            monkeypatch.delitem(sys.modules, name)
    package, _, name = module.rpartition(".")
    if package in sys.modules:
        monkeypatch.delattr(sys.modules[package], name, raising=False)  # Left by an earlier import.
    monkeypatch.setitem(sys.modules, module, None)  # What Python itself writes for "there is no such module".
    monkeypatch.setenv("WAREHOUSE_SYNC_SECRET_W", "hunter2")
    with pytest.raises(DriverMissing, match=rf"warehouse-sync\[{provider}\]"):
        open_it(declared(provider))


@pytest.mark.parametrize("provider", CLIENTS)
def test_a_secret_that_is_not_there_is_named_before_anybody_is_asked(provider: str) -> None:
    with pytest.raises(SecretUnavailable, match="WAREHOUSE_SYNC_SECRET_W"):
        open_it(declared(provider))


def test_a_strangers_host_is_not_signed_in_to(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WAREHOUSE_SYNC_SECRET_W", "hunter2")
    with pytest.raises(DeclarationInvalid, match="WAREHOUSE_SYNC_WAREHOUSE_HOSTS"):
        open_it(declared("redshift", host="redshift.stranger.example"))


def test_no_client_is_loaded_before_it_is_used() -> None:
    program = "import sys, worker.app, worker.warehouses.registry; print([m for m in sys.modules])"
    environment = {"WAREHOUSE_SYNC_BROKER_URL": "redis://nowhere", "PYTHONPATH": ":".join(sys.path)}
    told = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, env=environment
    ).stdout
    assert not [module for module in (*CLIENTS.values(), "duckdb") if f"'{module}'" in told]


def test_every_provider_is_known() -> None:
    assert set(CLIENTS) == set(CONFIGS) - {"duckdb"}
