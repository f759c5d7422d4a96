"""Who works on what until when: the part that runs, slices and chunks have in common.

Work is claimed by a conditional UPDATE that sets a fresh token and a lease. Every later write names the token, so a
claimant whose lease was given away changes nothing. The database's clock is the only one that leases know.

Locks are taken in one order, so that nobody waits in a circle: pipelines by id, then runs by id, then slices and
chunks. A claimant goes the other way, from its own slice or chunk to the run, and may: nobody who holds a run waits for
what is claimed. Who needs only what is free just now skips what is locked.
"""

import os
import socket
from collections.abc import Sequence
from datetime import timedelta
from typing import Any, Final, cast
from uuid import UUID, uuid4

import sqlalchemy as sa

from shared.run import Token

_MOST_DOUBLINGS: Final = 16
"""Enough for any longest interval, and far from what an exponent can hold."""


class ClaimLost(Exception):
    """The claim was given away; whoever holds it now does the work. Stop, and change nothing."""


def fresh_token() -> Token:
    """Make a token that was never used before."""
    return Token(uuid4())


def this_process() -> str:
    """Name this process for operators: ``host:pid``."""
    return f"{socket.gethostname()}:{os.getpid()}"


def after(seconds: float) -> sa.ColumnElement[Any]:
    """Give the instant that lies ``seconds`` ahead on the database's clock."""
    return sa.func.now() + timedelta(seconds=seconds)


def doubled(first_s: float, times: sa.ColumnElement[int], *, most_s: float) -> sa.ColumnElement[Any]:
    """Give an interval that doubles so often, and is never longer than ``most_s``."""
    doublings = sa.func.least(times, _MOST_DOUBLINGS)
    return sa.func.make_interval(0, 0, 0, 0, 0, 0, sa.func.least(most_s, first_s * sa.func.power(2, doublings)))


def is_due(table: sa.Table) -> sa.ColumnElement[bool]:
    """Say whether the row's ``not_before`` has passed."""
    return sa.or_(table.c.not_before.is_(None), table.c.not_before <= sa.func.now())


def queued_s(connection: sa.Connection, table: sa.Table, row_id: UUID) -> float | None:
    """Give how long the message has waited that a claim of this very transaction answers; ``None`` if none was sent."""
    waited = sa.func.extract("epoch", sa.func.now() - table.c.sent_at)
    seconds = connection.scalar(sa.select(waited).where(table.c.id == row_id))
    return None if seconds is None else max(0.0, float(seconds))


def held_by(table: sa.Table, row_id: UUID, token: Token) -> sa.ColumnElement[bool]:
    """Say whether this very claim still stands; a lapsed lease that nobody else took is still a claim."""
    return sa.and_(table.c.id == row_id, table.c.token == token)


def require_one(result: sa.CursorResult[Any]) -> None:
    """Raise ``ClaimLost`` unless the conditional write found its row."""
    if result.rowcount != 1:
        raise ClaimLost


def renew(connection: sa.Connection, table: sa.Table, row_id: UUID, token: Token, lease_s: float) -> None:
    """Push the lease ahead, or raise ``ClaimLost``."""
    require_one(
        connection.execute(sa.update(table).where(held_by(table, row_id, token)).values(lease_until=after(lease_s)))
    )


def free_dead(
    connection: sa.Connection, table: sa.Table, *, claimed: str, idle: str
) -> Sequence[tuple[UUID, UUID, int, Token]]:
    """Take away every lapsed claim and count it as a death.

    Returns:
        ``(id, run id, deaths, lost token)`` of each row freed; for a run, both ids are its own.
    """
    run_id = table.c.run_id if "run_id" in table.c else table.c.id
    lost = (
        sa.select(table.c.id, run_id.label("of_run"), table.c.token)
        .where(table.c.state == claimed, table.c.token.is_not(None), table.c.lease_until < sa.func.now())
        .with_for_update(key_share=True, skip_locked=True)
        .cte("lost")
    )
    freed = connection.execute(
        sa.update(table)
        .where(table.c.id == lost.c.id)
        .values(state=idle, token=None, lease_until=None, sent_at=None, not_before=None, deaths=table.c.deaths + 1)
        .returning(table.c.id, lost.c.of_run, table.c.deaths, lost.c.token)
    )
    return cast("Sequence[tuple[UUID, UUID, int, Token]]", freed.all())


RELEASED: dict[str, None] = {"token": None, "lease_until": None}
"""What an UPDATE sets to give a claim back."""
