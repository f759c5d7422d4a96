"""Redshift: a cluster or workgroup, read through the vendor's own client.

A query is described with ``LIMIT 0`` and read through a server-side cursor in a read-only transaction, a batch at a
time: the client itself would hold a whole result in memory. Redshift keeps a cursor's result on its leader node and
forgets it with the session, so a result cannot be continued. Every stream has a session of its own.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Final

import pyarrow as pa

from shared.errors import SyncError
from shared.providers.redshift import RedshiftConfig
from shared.run import Position
from shared.sql import Query
from worker.warehouses.base import Label
from worker.warehouses.redshift.errors import CLIENT_ERRORS, sign_in_failed
from worker.warehouses.redshift.run import Run
from worker.warehouses.redshift.session import Session, SignIn

_SIGN_IN_TIMEOUT_S: Final = 20
_ANSWER_TIMEOUT_S: Final = 60
"""For questions that only take the leader node a moment."""
_GRACE_S: Final = 10
"""How much later than us the warehouse ends a query by itself: it does so only where this process no longer can."""
_SERVER_EPOCH: Final = datetime(2000, 1, 1, tzinfo=UTC)
_VERSION: Final = re.compile(r"Redshift [\d.]+|PostgreSQL [\d.]+")


class RedshiftWarehouse:
    """One connection's Redshift; one session is kept for whoever needs one next."""

    dialect: Final = "redshift"

    def __init__(
        self,
        connection_id: str,
        config: RedshiftConfig,
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
            label: For whom; shown in the warehouse's own history.

        Raises:
            SecretUnavailable: the password's reference leads nowhere.
            CredentialsRefused: the sign-in was refused.
            WarehouseUnreachable: there is no such host or database, or it is not trusted.
            WarehouseBusy: it does not answer now.
        """
        self._connection_id = connection_id
        self._sign_in = SignIn(config, resolve(config.password), label, _SIGN_IN_TIMEOUT_S)
        self._query_timeout_s = query_timeout_s
        self._label = label
        self._spare = [self._opened()]

    def session(self) -> Mapping[str, str]:
        """Say as whom and where queries run."""
        with self._asking() as session:
            ((user, database, version),) = session.rows("SELECT current_user, current_database(), version()")
        found = _VERSION.findall(version)
        return {
            "host": self._sign_in.config.host,
            "user": user,
            "database": database,
            "version": found[-1] if found else version,
        }

    def describe(self, query: Query) -> pa.Schema:
        """Give the schema of a query's result; the query is asked for no row."""
        with self._run(query) as run:
            return run.schema

    def clock(self) -> datetime:
        """Give the leader node's time, in whole seconds."""
        with self._asking() as session:
            ((microseconds,),) = session.rows("SELECT GETDATE()")
        return _SERVER_EPOCH + timedelta(microseconds=microseconds)

    def scanned_bytes(self, query: Query) -> int | None:  # noqa: ARG002 - it does not tell
        """Redshift bills by time and tells no bytes before it runs a query."""
        return None

    @contextmanager
    def stream(self, query: Query, *, batch_rows: int, position: Position | None = None) -> Iterator[Run]:  # noqa: ARG002 - it tells none
        """Give a query's rows as they come; it starts with the first step of the iteration."""
        with self._run(query, batch_rows=batch_rows) as run:
            yield run

    def close(self) -> None:
        """Sign out."""
        while self._spare:
            self._spare.pop().close()

    @contextmanager
    def _run(self, query: Query, *, batch_rows: int = 1) -> Iterator[Run]:
        session = self._taken()
        run = Run(
            session,
            query,
            batch_rows=batch_rows,
            cancel_in_warehouse=self._cancel,
            timeout_s=self._query_timeout_s,
            label=self._label,
        )
        try:
            run.describe()
            yield run
        finally:
            run.close()
            self._give_back(session, is_clean=run.is_clean)

    @contextmanager
    def _asking(self) -> Iterator[Session]:
        session = self._taken()
        session.answer_within(_ANSWER_TIMEOUT_S)
        is_clean = False
        try:
            yield session
            is_clean = True
        except CLIENT_ERRORS as error:
            raise self._not_signed_in(error) from None
        finally:
            self._give_back(session, is_clean=is_clean)

    def _taken(self) -> Session:
        try:
            return self._spare.pop()
        except IndexError:
            return self._opened()

    def _give_back(self, session: Session, *, is_clean: bool) -> None:
        if is_clean:
            self._spare.append(session)
        else:
            session.close()

    def _opened(self) -> Session:
        try:
            return Session(self._sign_in, statement_timeout_s=self._query_timeout_s + _GRACE_S)
        except CLIENT_ERRORS as error:
            # Without its cause: the client's frames hold the password, and tracebacks may show them.
            raise self._not_signed_in(error) from None

    def _cancel(self, backend_pid: int) -> None:
        """Cancel what a session is doing now, from a session of its own."""
        canceller = Session(self._sign_in, statement_timeout_s=_SIGN_IN_TIMEOUT_S)
        try:
            canceller.rows(f"SELECT pg_cancel_backend({backend_pid:d})")
        finally:
            canceller.close()

    def _not_signed_in(self, error: Exception) -> SyncError:
        return sign_in_failed(error, label=self._label, connection_id=self._connection_id, config=self._sign_in.config)
