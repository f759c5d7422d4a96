"""What the doctor says of connections before it asks one."""

from collections.abc import Iterator

import pytest

from console.doctor import Finding, examine
from console.operations import Operations
from sandbox.services import Services
from shared.settings import Settings
from shared.store.database import Database
from tests.shared.test_connections import declared


@pytest.fixture
def operations(services: Services, database: Database, monkeypatch: pytest.MonkeyPatch) -> Iterator[Operations]:
    url = database.url.render_as_string(hide_password=False)
    opened = Operations(Settings.model_validate({"database_url": url, "broker_url": services.broker_url}))
    monkeypatch.setattr(opened, "workers", dict)  # There are none; asking for them takes a while.
    yield opened
    opened.close()


def last_finding(operations: Operations, connection_id: str | None) -> Finding:
    *_, last = examine(operations, connection_id)
    return last


@pytest.mark.parametrize("connection_id", [None, "lakehuose"])
def test_where_no_connection_is_declared_that_is_said(operations: Operations, connection_id: str | None) -> None:
    found = last_finding(operations, connection_id)
    assert (found.subject, found.found) == ("connections", "none is declared")


def test_a_connection_that_is_not_declared_is_named_beside_those_that_are(operations: Operations) -> None:
    resource = declared("bigquery")
    operations.declare(resource)
    found = last_finding(operations, "mistyped")
    assert not found.is_well
    assert found.subject == "connection mistyped"
    assert found.found == "there is no such connection"
    assert f"declared: {resource.id}" in (found.cure or "")
