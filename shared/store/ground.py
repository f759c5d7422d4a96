"""What all table definitions stand on: the metadata that knows them, instants, and the columns of a claim."""

from typing import Final

from sqlalchemy import Column, DateTime, Integer, MetaData, Text, Uuid

metadata: Final = MetaData(
    naming_convention={
        "pk": "%(table_name)s_pkey",
        "fk": "%(table_name)s_%(column_0_name)s_fkey",
        "uq": "%(table_name)s_%(column_0_N_name)s_key",
        "ck": "%(table_name)s_%(constraint_name)s",
    }
)

INSTANT: Final = DateTime(timezone=True)


def claim() -> tuple[Column[object], ...]:
    """Build the columns of what a task claims: who works on it until when, and when its message went out."""
    return (
        Column("token", Uuid),
        Column("lease_until", INSTANT),
        Column("claimant", Text, comment="host:pid of who claimed it last"),
        Column("deaths", Integer, nullable=False, server_default="0"),
        Column("not_before", INSTANT),
        Column("sent_at", INSTANT),
        Column("resends", Integer, nullable=False, server_default="0"),
    )
