"""Databricks: a SQL warehouse, read through Databricks's own SQL connector over Thrift.

Results arrive as Arrow, from the warehouse itself or as files in its cloud's storage (cloud fetch). Columns are named
and typed by ``DESCRIBE QUERY``, which reads nothing; every batch is made to fit. A result lives as long as its session
and cannot be continued in another, so a stream tells no positions.

Memory: a page of a result is at most 16 MiB and 100,000 rows; a file of cloud fetch is 20 MB compressed, two are
fetched ahead.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from typing import Any, Final

import pyarrow as pa

from shared.providers.databricks import DatabricksConfig
from shared.run import Position
from shared.sql import Query
from worker.warehouses.base import Label
from worker.warehouses.databricks.errors import CLIENT_ERRORS
from worker.warehouses.databricks.run import Run
from worker.warehouses.databricks.sessions import Sessions
from worker.warehouses.databricks.signin import sign_in


class DatabricksWarehouse:
    """One connection's SQL warehouse; every query has a session of its own and is cancelled through the first."""

    dialect: Final = "databricks"

    def __init__(
        self,
        connection_id: str,
        config: DatabricksConfig,
        *,
        resolve: Callable[[str], str],
        query_timeout_s: float,
        label: Label,
    ) -> None:
        """Sign in.

        Args:
            connection_id: Named in errors of opening.
            config: What was declared.
            resolve: Gives the secret that a reference names.
            query_timeout_s: How long one query may take, from its start to its last row.
            label: For whom; named in errors of queries, and in the warehouse's query history.

        Raises:
            SecretUnavailable: a secret reference leads nowhere.
            CredentialsRefused: the sign-in is refused.
            RightsMissing: the SQL warehouse, catalog or schema may not be used.
            WarehouseUnreachable: there is no such host, SQL warehouse, catalog or schema.
            WarehouseBusy: it is throttled, or did not start in time.
        """
        self._host = config.host
        self._query_timeout_s = query_timeout_s
        self._label = label
        headers = sign_in(connection_id, config, resolve)
        self._sessions = Sessions(connection_id, config, headers, label=label, query_timeout_s=query_timeout_s)
        self._control = self._sessions.open_control()

    def session(self) -> Mapping[str, str]:
        """Say as whom and where statements run."""
        asked = "SELECT current_user() AS user, current_catalog() AS catalog, current_schema() AS `schema`"
        (row,) = self._all(Query(asked)).to_pylist()
        return {"host": self._host, **{name: str(value) for name, value in row.items()}}

    def describe(self, query: Query) -> pa.Schema:
        """Give the schema of a query's result; it is resolved and not run."""
        with self._run(query) as run:
            return run.schema

    def clock(self) -> datetime:
        """Give the warehouse's time."""
        (now,) = self._all(Query("SELECT current_timestamp() AS now")).column("now").to_pylist()
        return datetime.fromtimestamp(now.timestamp(), UTC)

    def scanned_bytes(self, query: Query) -> int | None:  # noqa: ARG002 - it is not told
        """Databricks bills the warehouse's time, not what is read."""
        return None

    @contextmanager
    def stream(self, query: Query, *, batch_rows: int, position: Position | None = None) -> Iterator[Run]:  # noqa: ARG002 - it tells none
        """Give a query's rows as they come; it is described here and starts with the first step of the iteration."""
        with self._run(query, batch_rows=batch_rows) as run:
            yield run

    def close(self) -> None:
        """End the first session; those of queries ended with them."""
        with suppress(*CLIENT_ERRORS):
            self._control.close()

    def _all(self, query: Query) -> pa.Table:
        with self._run(query) as run:
            return pa.Table.from_batches(list(run), schema=run.schema)

    @contextmanager
    def _run(self, query: Query, *, batch_rows: int = 1) -> Iterator[Run]:
        run = Run(
            self._sessions,
            query,
            cancel=self._cancel,
            timeout_s=self._query_timeout_s,
            batch_rows=batch_rows,
            label=self._label,
        )
        try:
            run.describe()
            yield run
        finally:
            run.close()

    def _cancel(self, statement: Any) -> None:
        self._control.session.backend.cancel_command(statement)
