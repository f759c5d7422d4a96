"""One process's connection to the state database."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from copy import copy
from typing import Final

import sqlalchemy as sa
from psycopg.errors import DeadlockDetected, LockNotAvailable
from sqlalchemy.exc import InterfaceError, OperationalError

from shared.errors import ServiceUnavailable, StoreUnavailable

_CONNECT_TIMEOUT_S: Final = 5
_STATEMENT_TIMEOUT_MS: Final = 60_000
"""No statement of ours takes long; one that does waits for a lock that nobody will release."""
_IDLE_TIMEOUT_MS: Final = 10_000
"""No transaction of ours pauses; one that does is of a process that is frozen or cut off, and its locks with it."""
_KEEPALIVE: Final = {
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 15_000,
}
"""A server that vanished without a word is noticed within half a minute, and not after the system's two hours."""
_OPTIONS: Final = (
    f"-c statement_timeout={_STATEMENT_TIMEOUT_MS} -c idle_in_transaction_session_timeout={_IDLE_TIMEOUT_MS}"
    " -c timezone=UTC"
    # A generic plan knows no parameters, and without them no partial index of ours can be used.
    " -c plan_cache_mode=force_custom_plan"
)
_ACT_AS: Final = sa.text("SELECT set_config('warehouse_sync.actor', :actor, true)")
_AFTER_COMMIT: Final = "warehouse_sync.after_commit"
_LOCK_WAITS_S: Final = (1, 1, 2, 2, 5, 5, 10, 10, 20, 30, 30)
"""How long a migration waits for a table each time; whoever else wants one waits as long, and statements of ours up to
their own limit."""


class Database:
    """Transactions on the state database; safe to share between the threads of one process, not across a fork."""

    def __init__(self, url: str, *, pool_size: int = 5) -> None:
        """Prepare, without connecting: ``url`` is ``postgresql+psycopg://user:password@host:port/name``.

        Raises:
            ServiceUnavailable: that is no such URL; it is not repeated, because it may hold a password.
        """
        self.url = _read(url)
        self._actor: str | None = None
        self._engine = sa.create_engine(
            self.url,
            # Every conditional write here relies on seeing what was committed while it waited for its row.
            isolation_level="READ COMMITTED",
            pool_size=pool_size,
            max_overflow=pool_size,
            pool_pre_ping=True,
            hide_parameters=True,
            connect_args={
                "connect_timeout": _CONNECT_TIMEOUT_S,
                "options": _OPTIONS,
                "application_name": "warehouse-sync",
                **_KEEPALIVE,
            },
        )

    def acting_as(self, actor: str) -> "Database":
        """Give the same database for somebody: what changes in its transactions is noted as theirs."""
        theirs = copy(self)
        theirs._actor = actor  # noqa: SLF001 - of this class
        return theirs

    @contextmanager
    def transaction(self) -> Iterator[sa.Connection]:
        """Open a transaction that commits when the block ends and rolls back when it raises.

        Raises:
            StoreUnavailable: the database does not answer, or broke off, or all connections of this process are
                taken; whether the transaction was committed is then unknown, which every writer here allows for.
        """
        try:
            with self._engine.begin() as connection:
                connection.info.pop(_AFTER_COMMIT, None)  # Of a transaction that was rolled back.
                if self._actor is not None:  # Gone with the transaction, so it also works behind a pooler.
                    connection.execute(_ACT_AS, {"actor": self._actor})
                yield connection
                acts: list[Callable[[], None]] = connection.info.pop(_AFTER_COMMIT, [])
        except (OperationalError, InterfaceError) as error:
            raise StoreUnavailable(self._unavailable(str(error.orig))) from error
        except sa.exc.TimeoutError as error:
            raise StoreUnavailable(self._unavailable("no connection of this process became free in time")) from error
        except sa.exc.DBAPIError as error:
            if error.connection_invalidated:
                raise StoreUnavailable(self._unavailable(str(error.orig))) from error
            raise
        for act in acts:
            act()

    def close(self) -> None:
        """Close all connections."""
        self._engine.dispose()

    def migrate(self) -> None:
        """Bring the schema up to this version's, as its owner; safe to call from several processes at once.

        Workers may run meanwhile. What they do waits for the migration, which begins with a lock on every table, and
        lets go and tries again where somebody is in its way: so it neither waits in a circle with them nor keeps them
        for long before it can begin.

        Raises:
            ServiceUnavailable: somebody kept a table for minutes; nothing was changed.
        """
        for wait_s in _LOCK_WAITS_S:
            try:
                self._migrate(wait_s)
            except StoreUnavailable as error:
                if not _was_in_the_way(error):
                    raise
            else:
                return
        raise ServiceUnavailable(
            f"somebody has kept a table of the state database for more than {sum(_LOCK_WAITS_S)} s, and nothing was "
            "changed: look in pg_stat_activity for a transaction that idles, end it, and migrate again"
        )

    def _migrate(self, wait_s: int) -> None:
        from shared.store import revisions  # noqa: PLC0415 - Alembic, which almost nobody needs

        with self.transaction() as connection:
            revisions.upgrade(connection, wait_s=wait_s)

    def require_current_schema(self) -> None:
        """Raise ``ServiceUnavailable`` unless the schema is the one this version was written for, or newer."""
        from shared.store import revisions  # noqa: PLC0415 - as above

        with self.transaction() as connection:
            revisions.require_current(connection)

    def _unavailable(self, reason: str) -> str:
        lines = reason.strip().splitlines() or ["no reason given"]
        host = self.url.host or self.url.query.get("host") or "localhost"
        return (
            f"the state database at {host}:{self.url.port or 5432} does not answer ({lines[0]}); "
            "check that PostgreSQL runs and WAREHOUSE_SYNC_DATABASE_URL is right"
        )


def after_commit(connection: sa.Connection, act: Callable[[], None]) -> None:
    """Do something once the transaction has committed, and nothing where it does not; it must not fail."""
    connection.info.setdefault(_AFTER_COMMIT, []).append(act)


def _was_in_the_way(error: StoreUnavailable) -> bool:
    cause = error.__cause__
    return isinstance(cause, OperationalError) and isinstance(cause.orig, (DeadlockDetected, LockNotAvailable))


def _read(url: str) -> sa.URL:
    try:
        read = sa.make_url(url).set(drivername="postgresql+psycopg")
    except (sa.exc.ArgumentError, ValueError):
        read = None
    # An @ that a password holds unescaped ends up in the host, and from there in messages.
    if read is None or "@" in (read.host or ""):
        raise ServiceUnavailable(
            "WAREHOUSE_SYNC_DATABASE_URL: expected postgresql://user:password@host:port/database; "
            "percent-encode what the password holds of @ : / ?"
        )
    return read
