"""BigQuery: a query is a job with a name of ours, its result a table that is read as Arrow.

A dry run tells a query's columns and cost and runs nothing. The job then runs by itself and writes its result into an
anonymous table, which BigQuery keeps for 24 hours; reading it can begin, end and be continued whenever. BigQuery's
zone is always UTC. Labels of the job (``product``, ``run``, ``pipeline``) show in its history and in the bill.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from typing import Any, Final, cast

import pyarrow as pa

from shared.providers.bigquery import BigQueryConfig
from shared.run import Position
from shared.sql import Query
from worker.warehouses.base import Label, RecordStream
from worker.warehouses.bigquery.errors import Asked
from worker.warehouses.bigquery.run import Run, dry_run
from worker.warehouses.bigquery.schema import schema_of
from worker.warehouses.bigquery.signin import sign_in


class BigQueryWarehouse:
    """One connection's project and dataset, signed in as its service account."""

    dialect: Final = "bigquery"

    def __init__(
        self,
        connection_id: str,
        config: BigQueryConfig,
        *,
        resolve: Callable[[str], str],
        query_timeout_s: float,
        label: Label,
    ) -> None:
        """Sign in.

        Args:
            connection_id: Named in errors of signing in.
            config: What was declared.
            resolve: Gives the secret that a reference leads to.
            query_timeout_s: How long one query may take, from its start to its last row.
            label: For whom; named in errors and in the labels of jobs.

        Raises:
            DeclarationInvalid: the key is none, or another account's.
            CredentialsRefused: Google does not accept the key.
            WarehouseUnreachable: there is no such host.
            WarehouseBusy: signing in is not possible now.
        """
        self._config = config
        self._query_timeout_s = query_timeout_s
        self._label = label
        self._clients = sign_in(connection_id, config, resolve(config.service_account_key))

    def session(self) -> Mapping[str, str]:
        """Say as whom and where; the account as BigQuery knows it."""
        return {
            "user": str(self._answer("SELECT SESSION_USER() AS answer")),
            "project": self._config.project_id,
            "dataset": self._config.dataset_id,
            "region": self._config.region,
        }

    def describe(self, query: Query) -> pa.Schema:
        """Give the schema of a query's result, by a dry run."""
        asked = self._asked(query)
        return schema_of(dry_run(self._clients.rest, asked).schema, self._label)

    def clock(self) -> datetime:
        """Give BigQuery's own time."""
        now: datetime = self._answer("SELECT CURRENT_TIMESTAMP() AS answer")
        return now

    def scanned_bytes(self, query: Query) -> int | None:
        """Say how many bytes would be billed, by a dry run."""
        return cast("int | None", dry_run(self._clients.rest, self._asked(query)).total_bytes_processed)

    @contextmanager
    def stream(self, query: Query, *, batch_rows: int, position: Position | None = None) -> Iterator[RecordStream]:
        """Give a query's rows; its job starts with the first step of the iteration."""
        run = Run(self._clients, self._asked(query), batch_rows=batch_rows)
        try:
            if position is None:
                run.look()
            else:
                run.find(position)
            yield run
        finally:
            run.close()

    def close(self) -> None:
        """Close both clients."""
        self._clients.close()

    def _asked(self, query: Query) -> Asked:
        return Asked(query, self._label, self._config, self._query_timeout_s)

    def _answer(self, sql: str) -> Any:
        run = Run(self._clients, self._asked(Query(sql)), batch_rows=1, is_small=True)
        try:
            run.look()
            (batch,) = run
            return batch.column("answer")[0].as_py()
        finally:
            run.close()
