"""The tables of what lives: what happened to each run, in order, and the beats that tick."""

from typing import Final

from sqlalchemy import BigInteger, Column, ForeignKey, Index, Table, Text, func

from shared.store.ground import INSTANT, metadata
from shared.store.tables import runs

run_events: Final = Table(
    "run_events",
    metadata,
    Column("id", BigInteger, primary_key=True, autoincrement=True),
    Column("run_id", ForeignKey(runs.c.id, ondelete="CASCADE"), nullable=False),
    Column("happened_at", INSTANT, nullable=False, server_default=func.now()),
    Column("name", Text, nullable=False, comment="the state that it came to, or: held, paused, resumed"),
    Column("actor", Text, comment="who moved it, by name; null: the system itself"),
    Column("error_kind", Text),
    Column("error", Text),
    Index("run_events_by_run", "run_id", "id"),
)

beats: Final = Table(
    "beats",
    metadata,
    Column("name", Text, primary_key=True, comment="host:pid of a beat"),
    Column("started_at", INSTANT, nullable=False, server_default=func.now()),
    Column("ticked_at", INSTANT, nullable=False, server_default=func.now()),
)
