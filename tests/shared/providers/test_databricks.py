from typing import Any

import pytest
from pydantic import ValidationError

from shared.providers.databricks import DatabricksConfig

TOKEN = {"access_token": "env:WAREHOUSE_SYNC_SECRET_DATABRICKS"}
DECLARED: dict[str, Any] = {
    "server_hostname": "dbc-a1b2c3d4-e5f6.cloud.databricks.com",
    "http_path": "/sql/1.0/warehouses/a1b2c3d4e5f6a7b8",
    "schema": "mp",
    **TOKEN,
}


def config(**changed: Any) -> DatabricksConfig:
    return DatabricksConfig.model_validate(DECLARED | changed)


def test_a_token_or_a_service_principal_signs_in() -> None:
    assert config().client_id is None
    principal = {"access_token": None, "client_id": "5f4dcc3b", "client_secret": "env:WAREHOUSE_SYNC_SECRET_X"}
    assert config(**principal).client_id == "5f4dcc3b"


@pytest.mark.parametrize(
    ("changed", "named"),
    [
        ({"server_hostname": "https://dbc-1.cloud.databricks.com"}, "server_hostname\n.*without scheme"),
        ({"server_hostname": "dbc-1.cloud.databricks.com/sql"}, "server_hostname\n.*without scheme"),
        ({"server_hostname": ""}, "server_hostname\n"),
        ({"http_path": "/sql/1.0/warehouses/a b"}, "http_path\n.*/sql/1.0/warehouses/"),
        ({"http_path": "/sql/1.0/warehouses/a?o=x"}, "http_path\n.*/sql/1.0/warehouses/"),
        ({"http_path": "/sql/1.0/warehouses/a#x"}, "http_path\n.*/sql/1.0/warehouses/"),
        ({"schema": ""}, "schema\n"),
        ({"catalog": ""}, "catalog\n"),
        ({"access_token": "dapi123"}, "access_token\n"),
        ({"access_token": None}, "access_token, client_id: name a token, or a service principal"),
        ({"client_id": "x", "client_secret": "env:WAREHOUSE_SYNC_SECRET_X"}, "and not both"),
        ({"client_id": "x"}, "client_id, client_secret: a service principal needs both"),
        ({"client_secret": "env:WAREHOUSE_SYNC_SECRET_X"}, "needs both"),
        ({"endpoint": "http://private.example.com"}, "endpoint\n.*use https"),
        ({"endpoint": "private.example.com"}, "endpoint\n.*https://warehouse.example.com"),
        ({"warehouse": "x"}, "warehouse\n"),
    ],
)
def test_a_mistake_is_named_with_its_field_and_what_was_expected(changed: dict[str, Any], named: str) -> None:
    with pytest.raises(ValidationError, match=named):
        config(**changed)


@pytest.mark.parametrize(
    ("changed", "hosts"),
    [
        ({}, ()),
        ({"server_hostname": "adb-1.2.azuredatabricks.net"}, ()),
        ({"server_hostname": "1.2.gcp.databricks.com"}, ()),
        ({"server_hostname": "ADB-1.2.AzureDatabricks.net"}, ()),
        ({"server_hostname": "databricks.example.com"}, ("databricks.example.com",)),
        ({"server_hostname": "evil-databricks.com"}, ("evil-databricks.com",)),
        ({"endpoint": "https://private.example.com"}, ("private.example.com",)),
    ],
)
def test_hosts_that_are_not_the_vendors_are_told(changed: dict[str, Any], hosts: tuple[str, ...]) -> None:
    assert config(**changed).hosts == hosts


def test_the_address_is_the_workspaces_or_the_endpoints() -> None:
    assert config().service_url == (
        "https://dbc-a1b2c3d4-e5f6.cloud.databricks.com/sql/1.0/warehouses/a1b2c3d4e5f6a7b8"
    )
    moved = config(endpoint="https://private.example.com:8443/", http_path="sql/1.0/warehouses/a?o=123")
    assert moved.service_url == "https://private.example.com:8443/sql/1.0/warehouses/a?o=123"
    assert moved.base_url == "https://private.example.com:8443"
    assert moved.host == "private.example.com"


def test_only_a_loopback_address_is_on_this_machine() -> None:
    assert config(endpoint="http://127.0.0.1:1234").is_on_this_machine
    assert not config().is_on_this_machine
