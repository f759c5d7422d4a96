"""Connection to warehouse: the only place that knows them all."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import assert_never

from shared.catalog import Connection
from shared.settings import Settings
from worker.warehouses.base import Warehouse


@contextmanager
def open_warehouse(connection: Connection, settings: Settings, *, label: str) -> Iterator[Warehouse]:
    """Open a connection's warehouse for the length of a block; ``label`` says for whom, e.g. ``run 4f0...``.

    Raises:
        DeclarationInvalid: the connection asks for what this process may not read.
        CredentialsRefused: the warehouse refused the sign-in.
        WarehouseUnreachable: there is no such warehouse, or it cannot be read.
        WarehouseBusy: it cannot be opened now.
    """
    warehouse = _opened(connection, settings, label)
    try:
        yield warehouse
    finally:
        warehouse.close()


def _opened(connection: Connection, settings: Settings, label: str) -> Warehouse:
    match connection.service_provider:
        case "duckdb":
            # Imported here, so that a worker loads the drivers of the warehouses that it reads and no others.
            from worker.warehouses.duckdb import DuckDbWarehouse  # noqa: PLC0415

            return DuckDbWarehouse(
                connection.id,
                connection.config,
                folders=settings.duckdb_folders,
                query_timeout_s=settings.query_timeout_s,
                label=label,
            )
        case _:
            assert_never(connection.service_provider)
