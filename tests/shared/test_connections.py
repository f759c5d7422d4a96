"""A connection's provider decides what its config holds, and every mistake is told by its field."""

from typing import Any

import pytest
from pydantic import ValidationError

from shared.catalog import Connection, Environment, Pipeline, ServiceProvider, declared_environment
from shared.credentials import require_allowed_warehouse
from shared.errors import DeclarationInvalid
from shared.providers.snowflake import SnowflakeConfig
from shared.settings import Settings

SECRET = "env:WAREHOUSE_SYNC_SECRET_W"
CONFIGS: dict[str, dict[str, Any]] = {
    "duckdb": {"folder": "/data"},
    "snowflake": {
        "account_identifier": "myorg-myaccount",
        "warehouse": "WH",
        "database": "DB",
        "user": "READER",
        "password": SECRET,
    },
    "bigquery": {
        "project_id": "my-project-123456",
        "dataset_id": "data",
        "region": "us-east4",
        "service_account_id": "reader@my-project-123456.iam.gserviceaccount.com",
        "service_account_key": SECRET,
    },
    "redshift": {
        "host": "my-cluster.abc123.us-east-1.redshift.amazonaws.com",
        "database": "dev",
        "user": "reader",
        "password": SECRET,
    },
    "databricks": {
        "server_hostname": "dbc-a1b2c3d4-e5f6.cloud.databricks.com",
        "http_path": "/sql/1.0/warehouses/a1b2c3d4",
        "schema": "demo",
        "access_token": SECRET,
    },
}


def declared(provider: str, **changes: Any) -> Connection:
    config = {**CONFIGS[provider.lower()], **changes}
    return Connection.model_validate({"id": "w", "name": "W", "service_provider": provider, "config": config})


@pytest.mark.parametrize("provider", CONFIGS)
def test_what_is_declared_survives_the_store(provider: str) -> None:
    connection = declared(provider)
    document = connection.model_dump(mode="json")
    assert Connection.model_validate(document) == connection
    assert connection.config.service_provider == connection.service_provider == provider
    assert "service_provider" not in document["config"]


@pytest.mark.parametrize("spelling", ["Snowflake", "BigQuery", "Redshift", "Databricks", "DuckDB", "SNOWFLAKE"])
def test_a_provider_is_known_in_any_case(spelling: str) -> None:
    assert declared(spelling).service_provider is ServiceProvider(spelling.lower())


def test_an_unknown_provider_is_told_which_there_are() -> None:
    with pytest.raises(ValidationError, match="snowflake"):
        Connection.model_validate({"id": "w", "name": "W", "service_provider": "oracle", "config": {}})


@pytest.mark.parametrize("provider", CONFIGS)
def test_a_field_of_another_provider_is_refused_by_its_name(provider: str) -> None:
    with pytest.raises(ValidationError, match="colour"):
        declared(provider, colour="red")


def test_a_config_of_another_provider_is_refused() -> None:
    config = SnowflakeConfig.model_validate(CONFIGS["snowflake"])
    with pytest.raises(ValidationError, match="snowflake's, not redshift's"):
        Connection(id="w", name="W", service_provider=ServiceProvider.REDSHIFT, config=config)


@pytest.mark.parametrize(
    ("provider", "field"),
    [
        ("snowflake", "password"),
        ("bigquery", "service_account_key"),
        ("redshift", "password"),
        ("databricks", "access_token"),
    ],
)
def test_a_secret_itself_is_never_taken(provider: str, field: str) -> None:
    with pytest.raises(ValidationError, match=field):
        declared(provider, **{field: "hunter2"})


@pytest.mark.parametrize(
    ("provider", "changes", "host"),
    [
        ("snowflake", {"endpoint": "https://snowflake.stranger.example"}, "snowflake.stranger.example"),
        ("bigquery", {"endpoint": "https://bigquery.stranger.example"}, "bigquery.stranger.example"),
        ("bigquery", {"storage_endpoint": "https://storage.stranger.example"}, "storage.stranger.example"),
        ("redshift", {"host": "redshift.stranger.example"}, "redshift.stranger.example"),
        ("databricks", {"server_hostname": "databricks.com.stranger.example"}, "databricks.com.stranger.example"),
        ("databricks", {"endpoint": "https://databricks.stranger.example"}, "databricks.stranger.example"),
    ],
)
def test_a_strangers_host_is_shown_no_secret_unless_it_is_allowed(
    provider: str, changes: dict[str, str], host: str
) -> None:
    connection = declared(provider, **changes)
    with pytest.raises(DeclarationInvalid, match=rf"{host}.*WAREHOUSE_SYNC_WAREHOUSE_HOSTS"):
        require_allowed_warehouse(connection, Settings())
    require_allowed_warehouse(connection, Settings(warehouse_hosts=(host,)))


@pytest.mark.parametrize("provider", CONFIGS)
def test_the_vendors_own_hosts_need_no_allowing(provider: str) -> None:
    require_allowed_warehouse(declared(provider), Settings())


@pytest.mark.parametrize(
    ("endpoint", "said"),
    [
        ("http://snowflake.example", "plain http"),
        ("snowflake.example", "endpoint"),
        ("https://user:password@snowflake.example", "endpoint"),
        ("https://snowflake.example?x=1", "endpoint"),
    ],
)
def test_an_endpoint_is_a_web_address_and_encrypted(endpoint: str, said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        declared("snowflake", endpoint=endpoint)


@pytest.mark.parametrize("endpoint", ["http://127.0.0.1:8080", "http://localhost:8080", "http://[::1]:8080"])
def test_what_stays_on_this_machine_needs_no_encryption(endpoint: str) -> None:
    declared("snowflake", endpoint=endpoint)


def test_a_snowflake_connections_environment_is_its_pipelines_default() -> None:
    pipeline = Pipeline.model_validate(
        {
            "id": "p",
            "name": "P",
            "connection_id": "w",
            "data_model_id": "m",
            "feed_id": "f",
            "sync_mode": {"type": "full"},
        }
    )
    own = pipeline.model_copy(update={"environment": Environment.PRODUCTION})
    named = declared("snowflake", environment="development")
    assert declared_environment(pipeline, named) is Environment.DEVELOPMENT
    assert declared_environment(own, named) is Environment.PRODUCTION
    assert declared_environment(pipeline, declared("snowflake")) is None
    assert declared_environment(pipeline, declared("redshift")) is None
