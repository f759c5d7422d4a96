"""Facts that all processes must agree on, e.g. which spool is theirs."""

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from shared.store.tables import markers


def agree(connection: sa.Connection, name: str, own: str) -> str:
    """Give the recorded value; the first who asks records their own."""
    connection.execute(insert(markers).values(name=name, value=own).on_conflict_do_nothing())
    return str(connection.execute(sa.select(markers.c.value).where(markers.c.name == name)).scalar_one())


def find(connection: sa.Connection, name: str) -> str | None:
    """Give the recorded value, or ``None`` where nobody recorded one."""
    return connection.scalar(sa.select(markers.c.value).where(markers.c.name == name))


def replace(connection: sa.Connection, name: str, value: str) -> None:
    """Record a new value, on an operator's word."""
    statement = insert(markers).values(name=name, value=value)
    connection.execute(
        statement.on_conflict_do_update(
            index_elements=[markers.c.name], set_={"value": value, "recorded_at": sa.func.now()}
        )
    )
