"""The table of the names that count in an mParticle workspace."""

from typing import Final

from sqlalchemy import CheckConstraint, Column, Integer, Table, Text, UniqueConstraint, func

from shared.store.ground import INSTANT, metadata

event_names: Final = Table(
    "event_names",
    metadata,
    Column("workspace", Text, primary_key=True),
    Column("kind", Text, primary_key=True, comment="the type of the events that have the name"),
    Column("name", Text, primary_key=True, comment="as rows have it: it is told nowhere else"),
    Column("ordinal", Integer, nullable=False, comment="its place in its workspace, from 1; never changes"),
    Column("first_seen_at", INSTANT, nullable=False, server_default=func.now()),
    UniqueConstraint("workspace", "ordinal"),
    CheckConstraint("ordinal > 0", name="ordinal_from_one"),
)
