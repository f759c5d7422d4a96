"""Who sends first: newer rows, then history. An advisory lock a pipeline, held for as long as one transaction.

An attempt of the backfill lane holds it *shared* from before it reads the marks until its last request has ended. An
attempt of the live lane commits its marks, takes the lock *exclusively* and lets go at once. Whichever comes second:
either history's requests have ended before the live row is sent, or history has seen the mark and leaves its row out.

The transaction stays open, but writes nothing and sees the store as of its last look, so it is no burden to vacuum.
PostgreSQL ends it, and with it the lock, when its process dies, or asks nothing for ``idle_s``: that must be longer
than a request may take, so that whoever was frozen or cut off has no request under way by then.
"""

from typing import Final

import sqlalchemy as sa

from shared.store import locks
from shared.store.locks import LockOfEach

_MS: Final = 1_000


def hold(connection: sa.Connection, pipeline_id: str, *, idle_s: float) -> None:
    """Keep newer rows of the pipeline waiting until this transaction ends; waits for those that came first."""
    _limit(connection, "idle_in_transaction_session_timeout", idle_s)
    _limit(connection, "statement_timeout", 2 * idle_s)
    locks.share_of(connection, LockOfEach.TURN, pipeline_id)


def is_wanted_back(connection: sa.Connection, pipeline_id: str) -> bool:
    """Say whether newer rows wait for those who hold the lock; asking keeps it."""
    return locks.is_waited_for(connection, LockOfEach.TURN, pipeline_id)


def let_history_end(connection: sa.Connection, pipeline_id: str, *, wait_s: float) -> None:
    """Wait until no attempt of the backfill lane is sending that began before; the caller's marks are committed."""
    _limit(connection, "statement_timeout", wait_s)
    locks.take_of(connection, LockOfEach.TURN, pipeline_id)


def _limit(connection: sa.Connection, name: str, seconds: float) -> None:
    connection.execute(sa.select(sa.func.set_config(name, str(round(seconds * _MS)), sa.true())))
