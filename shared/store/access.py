"""Tokens and clients as rows: who may sign in, as what, and who a token identifies.

A static token and a client have a name each, out of one namespace: it is what the audit log calls whoever acts. A
revoked one keeps its row, so that nobody else is ever called the same. No hash leaves this module but to be compared.
"""

import secrets
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final
from uuid import UUID, uuid4

import sqlalchemy as sa

from shared.access import (
    CLIENT_ID_BYTES,
    SECRET_BYTES,
    Identity,
    Role,
    hashed,
    is_token,
    require_name,
    to_client_id,
    to_client_secret,
    to_token,
)
from shared.errors import AlreadyDeclared, NotFound
from shared.store import locks
from shared.store.access_tables import clients, tokens
from shared.store.declared_tables import ACTOR
from shared.store.locks import Lock

_IS_VALID: Final = sa.and_(
    tokens.c.revoked_at.is_(None), sa.or_(tokens.c.expires_at.is_(None), tokens.c.expires_at > sa.func.now())
)
_TOKEN_COLUMNS: Final[tuple[sa.ColumnElement[Any], ...]] = (
    tokens.c.id,
    tokens.c.name,
    tokens.c.role,
    tokens.c.created_at,
    tokens.c.created_by,
    tokens.c.expires_at,
    tokens.c.revoked_at,
    _IS_VALID.label("is_valid"),
)
_CLIENT_COLUMNS: Final[tuple[sa.ColumnElement[Any], ...]] = (
    clients.c.id,
    clients.c.name,
    clients.c.role,
    clients.c.created_at,
    clients.c.created_by,
    clients.c.revoked_at,
)


@dataclass(frozen=True, slots=True)
class NewToken:
    """A static token just made; ``text`` is what signs in, and is known here and now only."""

    id: UUID
    name: str
    role: Role
    expires_at: datetime | None
    text: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class NewClient:
    """A client just made; ``secret`` is known here and now only."""

    id: str
    name: str
    role: Role
    secret: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class TokenRow:
    """A static token as anybody may see it; ``is_valid``: it identifies its owner now."""

    id: UUID
    name: str
    role: Role
    created_at: datetime
    created_by: str | None
    expires_at: datetime | None
    revoked_at: datetime | None
    is_valid: bool


@dataclass(frozen=True, slots=True)
class ClientRow:
    """A client as anybody may see it; ``is_valid``: it may sign in now."""

    id: str
    name: str
    role: Role
    created_at: datetime
    created_by: str | None
    revoked_at: datetime | None

    @property
    def is_valid(self) -> bool:
        """Whether it may sign in."""
        return self.revoked_at is None


def create_token(connection: sa.Connection, name: str, role: Role, *, lasts: timedelta | None = None) -> NewToken:
    """Make a static token, valid for as long as it ``lasts`` on the database's clock, or until it is revoked.

    Raises:
        DeclarationInvalid: no token may have that name.
        AlreadyDeclared: a token or a client has it, or had it before it was revoked.
    """
    _require_free(connection, name)
    text = to_token(secrets.token_bytes(SECRET_BYTES))
    expires_at = None if lasts is None else sa.func.now() + lasts
    row = connection.execute(
        sa.insert(tokens)
        .values(id=uuid4(), name=name, role=role, hash=hashed(text), expires_at=expires_at, created_by=ACTOR)
        .returning(tokens.c.id, tokens.c.expires_at)
    ).one()
    return NewToken(row.id, name, role, row.expires_at, text)


def create_client(connection: sa.Connection, name: str, role: Role) -> NewClient:
    """Make a client, which signs in with its id and its secret; errors as of ``create_token``."""
    _require_free(connection, name)
    client_id = to_client_id(secrets.token_bytes(CLIENT_ID_BYTES))
    secret = to_client_secret(secrets.token_bytes(SECRET_BYTES))
    connection.execute(
        sa.insert(clients).values(id=client_id, name=name, role=role, secret_hash=hashed(secret), created_by=ACTOR)
    )
    return NewClient(client_id, name, role, secret)


def identify(connection: sa.Connection, text: str) -> Identity | None:
    """Give whom a token identifies now: a static token's owner, or the client that was given it by signing in.

    ``None`` where no token is that text, or it has expired, or it or its client was revoked. One indexed query, and
    none for a text that is no token. What PostgreSQL compares is the hash: how long that takes tells nothing of a text.
    """
    if not is_token(text):
        return None
    row = connection.execute(
        sa.select(
            sa.func.coalesce(clients.c.name, tokens.c.name).label("name"),
            sa.func.coalesce(clients.c.role, tokens.c.role).label("role"),
        )
        .select_from(tokens.outerjoin(clients, clients.c.id == tokens.c.client_id))
        .where(tokens.c.hash == hashed(text), _IS_VALID, clients.c.revoked_at.is_(None))
    ).one_or_none()
    return None if row is None else Identity(row.name, Role(row.role))


def revoke_token(connection: sa.Connection, name_or_id: str) -> TokenRow:
    """Make a static token worthless at once; one that is revoked already stays as it is. ``NotFound`` without it."""
    id_as_text = sa.cast(tokens.c.id, sa.Text)
    row = connection.execute(_revoked(tokens, id_as_text, name_or_id).returning(*_TOKEN_COLUMNS)).one_or_none()
    if row is None:
        raise _not_found("token", name_or_id)
    return _to_token_row(row)


def revoke_client(connection: sa.Connection, name_or_id: str) -> ClientRow:
    """End a client, and at once every token that it was given by signing in; else as ``revoke_token``."""
    row = connection.execute(_revoked(clients, clients.c.id, name_or_id).returning(*_CLIENT_COLUMNS)).one_or_none()
    if row is None:
        raise _not_found("client", name_or_id)
    return _to_client_row(row)


def list_tokens(connection: sa.Connection) -> list[TokenRow]:
    """Give all static tokens by name, those that are worthless by now included."""
    query = sa.select(*_TOKEN_COLUMNS).where(tokens.c.name.is_not(None)).order_by(tokens.c.name)
    return [_to_token_row(row) for row in connection.execute(query)]


def list_clients(connection: sa.Connection) -> list[ClientRow]:
    """Give all clients by name, those that were revoked included."""
    query = sa.select(*_CLIENT_COLUMNS).order_by(clients.c.name)
    return [_to_client_row(row) for row in connection.execute(query)]


def any_admin(connection: sa.Connection) -> bool:
    """Whether anybody can sign in as an admin: with a static token that is valid, or as a client."""
    token = sa.select(tokens.c.id).where(tokens.c.name.is_not(None), tokens.c.role == Role.ADMIN, _IS_VALID)
    client = sa.select(clients.c.id).where(clients.c.role == Role.ADMIN, clients.c.revoked_at.is_(None))
    return bool(connection.scalar(sa.select(sa.or_(token.exists(), client.exists()))))


def _require_free(connection: sa.Connection, name: str) -> None:
    """Refuse a name that is taken; nobody else gives any until the transaction ends."""
    require_name(name)
    locks.take(connection, Lock.NAMING)
    taken = sa.union_all(
        sa.select(sa.literal("token").label("kind"), tokens.c.revoked_at).where(tokens.c.name == name),
        sa.select(sa.literal("client").label("kind"), clients.c.revoked_at).where(clients.c.name == name),
    )
    row = connection.execute(taken).one_or_none()
    if row is not None:
        revoked = "" if row.revoked_at is None else " that was revoked, and names are not used again"
        raise AlreadyDeclared(f"{name!r} is the name of a {row.kind}{revoked}; choose another name")


def _revoked(table: sa.Table, id_as_text: sa.ColumnElement[str], name_or_id: str) -> sa.Update:
    """Revoke what has that name or that id; no name looks like an id."""
    # Every name and id is ASCII, and PostgreSQL refuses some of what is not to be printed.
    named = name_or_id if name_or_id.isascii() and name_or_id.isprintable() else ""
    which = sa.and_(table.c.name.is_not(None), sa.or_(table.c.name == named, id_as_text == named.lower()))
    return sa.update(table).where(which).values(revoked_at=sa.func.coalesce(table.c.revoked_at, sa.func.now()))


def _not_found(noun: str, name_or_id: str) -> NotFound:
    # Who wants rid of a token may well paste the token itself.
    told = "of that name (a token or a secret is no name)" if name_or_id.startswith("ws_") else repr(name_or_id)
    return NotFound(f"there is no {noun} {told}; `warehouse-sync {noun}s` lists them")


def _to_token_row(row: sa.Row[Any]) -> TokenRow:
    return TokenRow(
        id=row.id,
        name=row.name,
        role=Role(row.role),
        created_at=row.created_at,
        created_by=row.created_by,
        expires_at=row.expires_at,
        revoked_at=row.revoked_at,
        is_valid=row.is_valid,
    )


def _to_client_row(row: sa.Row[Any]) -> ClientRow:
    return ClientRow(
        id=row.id,
        name=row.name,
        role=Role(row.role),
        created_at=row.created_at,
        created_by=row.created_by,
        revoked_at=row.revoked_at,
    )
