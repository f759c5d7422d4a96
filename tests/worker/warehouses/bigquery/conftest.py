"""A BigQuery connection whose every answer is the test's."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

from shared.catalog import Connection, ServiceProvider
from shared.providers.bigquery import BigQueryConfig
from shared.settings import Settings
from tests.standins.bigquery import DATASET, PROJECT, email_of, key_of
from tests.worker.warehouses.bigquery.google import Google, answering
from worker.warehouses.base import Label, Warehouse
from worker.warehouses.bigquery import rows, run
from worker.warehouses.registry import open_warehouse

SECRET = "WAREHOUSE_SYNC_SECRET_KEY"

Opened = Callable[..., AbstractContextManager[Warehouse]]


@pytest.fixture(scope="session")
def private_key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(65537, 2048)


@pytest.fixture
def google(monkeypatch: pytest.MonkeyPatch) -> Iterator[Google]:
    for module in (rows, run):
        monkeypatch.setattr(module, "RETRY", rows.RETRY.with_timeout(0.3).with_delay(0.01))
    with answering() as found:
        yield found


@pytest.fixture
def opened(google: Google, private_key: rsa.RSAPrivateKey, monkeypatch: pytest.MonkeyPatch) -> Opened:
    """Open the connection, with changes to its declaration or another content of its key."""
    monkeypatch.setenv("WAREHOUSE_SYNC_WAREHOUSE_HOSTS", '["127.0.0.1", "no-such-host.invalid"]')

    @contextmanager
    def _opened(*, key: str | None = None, timeout_s: float = 30, **changed: Any) -> Iterator[Warehouse]:
        monkeypatch.setenv(SECRET, key or key_of("reader", private_key, token_uri=f"{google.address}/token"))
        config = {
            "project_id": PROJECT,
            "dataset_id": DATASET,
            "region": "US",
            "service_account_id": email_of("reader"),
            "service_account_key": f"env:{SECRET}",
            "endpoint": google.address,
            "storage_endpoint": google.address,
        }
        connection = Connection(
            id="warehouse",
            name="Warehouse",
            service_provider=ServiceProvider.BIGQUERY,
            config=BigQueryConfig.model_validate(config | changed),
        )
        label = Label("run 7", pipeline_id="Users/EU")
        with open_warehouse(connection, Settings(query_timeout_s=timeout_s), label=label) as found:
            yield found

    return _opened
