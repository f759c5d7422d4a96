"""Beats as rows: who ticks, and when each did last."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from shared.store.life_tables import beats

SILENT_AFTER: Final = timedelta(seconds=60)
"""A beat that has not ticked for so long is taken for dead."""


@dataclass(frozen=True, slots=True)
class Beat:
    """A beat, since when it ticks, and how long ago it did last."""

    name: str
    started_at: datetime
    ticked_at: datetime
    silent: timedelta

    @property
    def is_silent(self) -> bool:
        """Whether it is taken for dead."""
        return self.silent > SILENT_AFTER


def tick(connection: sa.Connection, name: str, *, is_first: bool) -> None:
    """Note that a beat ticks; with ``is_first`` it has just started, though another of that name may have ticked."""
    statement = insert(beats).values(name=name)
    changed = {"ticked_at": sa.func.now()} | ({"started_at": sa.func.now()} if is_first else {})
    connection.execute(statement.on_conflict_do_update(index_elements=[beats.c.name], set_=changed))


def ticking(connection: sa.Connection) -> list[Beat]:
    """Give all beats that are known, by the store's clock; who ticked last comes first."""
    silent = (sa.func.now() - beats.c.ticked_at).label("silent")
    query = sa.select(beats, silent).order_by(sa.desc(beats.c.ticked_at), beats.c.name)
    return [Beat(row.name, row.started_at, row.ticked_at, row.silent) for row in connection.execute(query)]


def forget_silent(connection: sa.Connection, *, after: timedelta) -> int:
    """Remove beats that have not ticked for so long; give how many."""
    return connection.execute(sa.delete(beats).where(beats.c.ticked_at < sa.func.now() - after)).rowcount
