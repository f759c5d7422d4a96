"""The tables of who may do what, and of who did it: clients, tokens, failed sign-ins, the audit log."""

from typing import Final

from sqlalchemy import ARRAY, BigInteger, CheckConstraint, Column, ForeignKey, Index, Integer, Table, Text, Uuid, func

from shared.store.ground import INSTANT, metadata

_ROLES: Final = "role IN ('viewer','operator','admin')"

clients: Final = Table(
    "clients",
    metadata,
    Column("id", Text, primary_key=True, comment="what signs in as client_id"),
    Column("name", Text, nullable=False, unique=True),
    Column("role", Text, nullable=False),
    Column("secret_hash", Text, nullable=False),
    Column("created_at", INSTANT, nullable=False, server_default=func.now()),
    Column("created_by", Text),
    Column("revoked_at", INSTANT),
    CheckConstraint(_ROLES, name="role_known"),
)

tokens: Final = Table(
    "tokens",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("name", Text, unique=True, comment="of a static token; null: a client signed in and was given this one"),
    Column("client_id", ForeignKey(clients.c.id)),
    Column("role", Text, nullable=False),
    Column("hash", Text, nullable=False, unique=True),
    Column("created_at", INSTANT, nullable=False, server_default=func.now()),
    Column("created_by", Text),
    Column("expires_at", INSTANT, comment="null: never"),
    Column("revoked_at", INSTANT),
    CheckConstraint(_ROLES, name="role_known"),
    CheckConstraint("(name IS NULL) <> (client_id IS NULL)", name="static_or_a_clients"),
    Index("tokens_by_client", "client_id"),
)

failed_sign_ins: Final = Table(
    "failed_sign_ins",
    metadata,
    Column("who", Text, primary_key=True, comment="the client, or the address it came from"),
    Column("failures", Integer, nullable=False),
    Column("since", INSTANT, nullable=False),
)

audit: Final = Table(
    "audit",
    metadata,
    Column("id", BigInteger, primary_key=True, autoincrement=True),
    Column("noted_at", INSTANT, nullable=False, server_default=func.now()),
    Column("actor", Text, comment="who did it, by name; null: the system itself"),
    Column("action", Text, nullable=False),
    Column("kind", Text, nullable=False, comment="of what: feed, pipeline, token ..."),
    Column("subject", Text, nullable=False, comment="which one, by id or name"),
    Column("fields", ARRAY(Text), nullable=False, comment="what changed of a declaration, by path; never a value"),
    Index("audit_by_subject", "kind", "subject", "id"),
)
