"""A client signs in: its id and its secret for a token of eight hours; and failures, counted so that nobody guesses.

An attempt counts as a failure before it is looked at, and a success takes that back, all in one transaction. The
counter's row stays locked meanwhile, so however many attempts come at once, no more than the limit are looked at. Who
is told that an attempt failed is told after the commit: no answer exists that was not counted.

A client's failures count under its id, and all failures under the address that they came from. An id that no client
has counts under the address only; so who invents ids fills nothing.
"""

import secrets
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Final
from uuid import uuid4

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from shared.access import SECRET_BYTES, Role, counted_as, hashed, is_client_id, is_hash_of, to_token
from shared.errors import SignInRefused, TooManySignIns
from shared.store.access_tables import clients, failed_sign_ins, tokens
from shared.store.claims import after
from shared.store.database import Database

BEARER_S: Final = 28_800
"""How long the token lasts that a client is given. Source: mParticle Platform API, "Authentication"."""
WINDOW_S: Final = 300
"""How long failures count, from the first one on."""
CLIENT_FAILURES: Final = 10
"""Failures within a window after which a client's sign-ins wait for its end."""
ADDRESS_FAILURES: Final = 50
"""The same for an address, behind which several clients may be."""

_NOBODYS_HASH: Final = hashed("")
"""Compared with where no client has the id, so that this takes no less time."""


@dataclass(frozen=True, slots=True)
class SignedIn:
    """What a client is given: a token, and for how long it identifies the client."""

    name: str
    role: Role
    expires_in_s: int
    token: str = field(repr=False)


def sign_in(database: Database, client_id: str, secret: str, address: str) -> SignedIn:
    """Give a client a token, in a transaction of its own, and forget the failures before.

    Raises:
        SignInRefused: no client has that id and that secret, or it was revoked; which of them is not told.
        TooManySignIns: so many failed before that this attempt was not looked at, nor counted.
    """
    with database.transaction() as connection:
        signed_in = _attempt(connection, client_id, secret, address)
    if signed_in is None:
        raise SignInRefused(
            "no client has this id and this secret, or it was revoked; check both, or ask an admin for a client"
        )
    return signed_in


def forget_expired(connection: sa.Connection) -> int:
    """Remove the tokens of clients that no longer identify anybody, and failures that no longer count; give how many.

    Static tokens stay: their names are not used again.
    """
    revoked = sa.select(clients.c.id).where(clients.c.revoked_at.is_not(None))
    worthless = sa.or_(tokens.c.expires_at <= sa.func.now(), tokens.c.client_id.in_(revoked))
    bearers = connection.execute(sa.delete(tokens).where(tokens.c.client_id.is_not(None), worthless)).rowcount
    # What somebody signing in holds is in use; waiting for it in another order than theirs could end in a circle.
    old = sa.select(failed_sign_ins.c.who).where(_has_lapsed()).with_for_update(skip_locked=True)
    failures = connection.execute(sa.delete(failed_sign_ins).where(failed_sign_ins.c.who.in_(old))).rowcount
    return bearers + failures


def _attempt(connection: sa.Connection, client_id: str, secret: str, address: str) -> SignedIn | None:
    """Count an attempt and look at it; ``None`` where it failed."""
    client = _client(connection, client_id)
    source = counted_as(address)
    if client is not None:  # Before the address: everybody takes the two locks in this order.
        _count(connection, client_id, CLIENT_FAILURES, "of this client")
    _count(connection, source, ADDRESS_FAILURES, "from this address")
    is_right = is_hash_of(_NOBODYS_HASH if client is None else client.secret_hash, secret)
    if client is None or client.revoked_at is not None or not is_right:
        return None
    _take_back(connection, client_id, source)
    text = to_token(secrets.token_bytes(SECRET_BYTES))
    connection.execute(
        sa.insert(tokens).values(
            id=uuid4(), client_id=client_id, role=client.role, hash=hashed(text), expires_at=after(BEARER_S)
        )
    )
    return SignedIn(client.name, Role(client.role), BEARER_S, text)


def _client(connection: sa.Connection, client_id: str) -> sa.Row[Any] | None:
    if not is_client_id(client_id):
        return None
    return connection.execute(sa.select(clients).where(clients.c.id == client_id)).one_or_none()


def _count(connection: sa.Connection, who: str, limit: int, whose: str) -> None:
    """Count an attempt as a failure, and hold the counter until the transaction ends."""
    first = insert(failed_sign_ins).values(who=who, failures=1, since=sa.func.now())
    counted = connection.execute(
        first.on_conflict_do_update(
            index_elements=[failed_sign_ins.c.who],
            set_={
                "failures": sa.case((_has_lapsed(), 1), else_=failed_sign_ins.c.failures + 1),
                "since": sa.case((_has_lapsed(), first.excluded.since), else_=failed_sign_ins.c.since),
            },
            where=sa.or_(_has_lapsed(), failed_sign_ins.c.failures < limit),
        ).returning(failed_sign_ins.c.who)
    )
    if counted.one_or_none() is None:
        ends_in = failed_sign_ins.c.since + timedelta(seconds=WINDOW_S) - sa.func.now()
        left = sa.func.ceil(sa.func.extract("epoch", ends_in))
        wait_s = max(1, int(connection.scalar(sa.select(left).where(failed_sign_ins.c.who == who)) or 1))
        raise TooManySignIns(f"too many sign-ins {whose} failed; wait {wait_s} s, then use the right secret", wait_s)


def _take_back(connection: sa.Connection, client_id: str, source: str) -> None:
    """Forget a client's failures, and of those from its address the one that was none; both are locked."""
    connection.execute(
        sa.update(failed_sign_ins)
        .where(failed_sign_ins.c.who == source)
        .values(failures=failed_sign_ins.c.failures - 1)
    )
    is_over = sa.or_(failed_sign_ins.c.who == client_id, failed_sign_ins.c.failures == 0)
    connection.execute(sa.delete(failed_sign_ins).where(failed_sign_ins.c.who.in_([client_id, source]), is_over))


def _has_lapsed() -> sa.ColumnElement[bool]:
    return failed_sign_ins.c.since <= sa.func.now() - timedelta(seconds=WINDOW_S)
