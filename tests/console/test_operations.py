"""What is checked when a connection is declared, where this process can see it."""

import json
from collections.abc import Iterator

import pytest

from console.operations import Operations
from sandbox.services import Services
from shared import catalog
from shared.errors import DeclarationInvalid, NotFound
from shared.settings import Settings
from shared.store.database import Database
from tests.shared.test_connections import CONFIGS, declared


@pytest.fixture
def operations(services: Services, database: Database) -> Iterator[Operations]:
    url = database.url.render_as_string(hide_password=False)
    opened = Operations(Settings.model_validate({"database_url": url, "broker_url": services.broker_url}))
    yield opened
    opened.close()


def key_of(account: str) -> str:
    key = {
        "type": "service_account",
        "client_email": account,
        "private_key": "hunter2",
        "token_uri": "https://oauth2.googleapis.com/token",
    }
    return json.dumps(key)


def test_a_service_account_and_a_key_of_another_are_refused_together(
    operations: Operations, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WAREHOUSE_SYNC_SECRET_W", key_of("somebody@else.iam.gserviceaccount.com"))
    with pytest.raises(DeclarationInvalid, match="client_email is another") as refused:
        operations.declare(declared("bigquery"))
    assert "hunter2" not in str(refused.value)
    monkeypatch.setenv("WAREHOUSE_SYNC_SECRET_W", key_of(CONFIGS["bigquery"]["service_account_id"]))
    assert operations.declare(declared("bigquery"))


def test_a_key_that_only_workers_see_is_left_to_them(operations: Operations) -> None:
    assert operations.declare(declared("bigquery"))


def test_a_strangers_host_is_refused_when_it_is_declared(operations: Operations) -> None:
    with pytest.raises(DeclarationInvalid, match="WAREHOUSE_SYNC_WAREHOUSE_HOSTS"):
        operations.declare(declared("redshift", host="redshift.stranger.example"))


def test_where_one_declaration_is_refused_none_is_kept(operations: Operations) -> None:
    fine = catalog.DataModel(id="fine", name="Fine", sql_query="SELECT 1 AS email")
    orphan = catalog.Pipeline(
        id="orphan", name="Orphan", connection_id="no", data_model_id="fine", feed_id="no", sync_mode=catalog.Full()
    )
    with pytest.raises(NotFound, match="'no'"):
        operations.declarations.all([fine, orphan])
    assert operations.declarations.all([fine]) == [True]
    assert operations.declarations.all([fine]) == [False]
