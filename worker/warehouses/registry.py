"""Connection to warehouse: the only place that knows them all."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import assert_never

from shared import credentials
from shared.catalog import Connection
from shared.errors import DriverMissing
from shared.providers.bigquery import BigQueryConfig
from shared.providers.databricks import DatabricksConfig
from shared.providers.duckdb import DuckDbConfig
from shared.providers.redshift import RedshiftConfig
from shared.providers.snowflake import SnowflakeConfig
from shared.secret_fields import purpose
from shared.settings import Settings
from worker.warehouses.base import Label, Warehouse

# ruff: noqa: PLC0415 - imported where it is used, so that a worker loads the drivers of the warehouses that it reads


@contextmanager
def open_warehouse(connection: Connection, settings: Settings, *, label: Label) -> Iterator[Warehouse]:
    """Open a connection's warehouse for the length of a block; ``label`` says for whom.

    Raises:
        DeclarationInvalid: the connection asks for what this process may not read, or show a secret to.
        SecretUnavailable: a secret reference leads nowhere.
        DriverMissing: the warehouse's client is not installed.
        CredentialsRefused: the warehouse refused the sign-in.
        RightsMissing: it signed us in, and shows too little.
        WarehouseUnreachable: there is no such warehouse, or it cannot be read.
        WarehouseBusy: it cannot be opened now.
    """
    credentials.require_allowed_warehouse(connection, settings)
    try:
        warehouse = _opened(connection, settings, label)
    except ModuleNotFoundError as error:
        raise DriverMissing(
            f"connection {connection.id!r}: the client for {connection.service_provider} is not installed in this "
            f"worker ({error.name}); install it with pip install 'warehouse-sync[{connection.service_provider}]'"
        ) from error
    try:
        yield warehouse
    finally:
        warehouse.close()


def _opened(connection: Connection, settings: Settings, label: Label) -> Warehouse:
    resolve = partial(credentials.resolve, settings=settings, purpose=purpose(connection))
    timeout_s = settings.query_timeout_s
    match connection.config:
        case DuckDbConfig() as config:
            from worker.warehouses.duckdb.warehouse import DuckDbWarehouse

            return DuckDbWarehouse(
                connection.id, config, folders=settings.duckdb_folders, query_timeout_s=timeout_s, label=label
            )
        case SnowflakeConfig() as config:
            from worker.warehouses.snowflake.warehouse import SnowflakeWarehouse

            return SnowflakeWarehouse(connection.id, config, resolve=resolve, query_timeout_s=timeout_s, label=label)
        case BigQueryConfig() as config:
            from worker.warehouses.bigquery.warehouse import BigQueryWarehouse

            return BigQueryWarehouse(connection.id, config, resolve=resolve, query_timeout_s=timeout_s, label=label)
        case RedshiftConfig() as config:
            from worker.warehouses.redshift.warehouse import RedshiftWarehouse

            return RedshiftWarehouse(connection.id, config, resolve=resolve, query_timeout_s=timeout_s, label=label)
        case DatabricksConfig() as config:
            from worker.warehouses.databricks.warehouse import DatabricksWarehouse

            return DatabricksWarehouse(connection.id, config, resolve=resolve, query_timeout_s=timeout_s, label=label)
        case _:
            assert_never(connection.config)
