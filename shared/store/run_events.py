"""What happened to a run, in order, and who moved it. The database itself writes it."""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from typing import Final

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import distinct_on

from shared.run import RunId
from shared.store.life_tables import run_events

_LIMIT: Final = 200


@dataclass(frozen=True, slots=True)
class RunEvent:
    """One thing that happened: ``name`` is the state that the run came to, or ``held``, ``paused`` or ``resumed``.

    ``actor`` is ``None`` where the system did it by itself; an error stands where the run stopped with one, and what is
    asked where it is held.
    """

    id: int
    happened_at: datetime
    name: str
    actor: str | None
    error_kind: str | None
    error: str | None


def of_run(connection: sa.Connection, run_id: RunId, *, after_id: int = 0, limit: int = _LIMIT) -> list[RunEvent]:
    """Give what happened to a run, oldest first; later than ``after_id`` to read on, or to follow it."""
    query = (
        sa.select(run_events)
        .where(run_events.c.run_id == run_id, run_events.c.id > after_id)
        .order_by(run_events.c.id)
        .limit(limit)
    )
    return [
        RunEvent(row.id, row.happened_at, row.name, row.actor, row.error_kind, row.error)
        for row in connection.execute(query)
    ]


def askers(connection: sa.Connection, run_ids: Collection[RunId]) -> dict[RunId, str]:
    """Give who asked for each of some runs, of those that somebody asked for."""
    query = (
        sa.select(run_events.c.run_id, run_events.c.actor)
        .where(run_events.c.run_id.in_(run_ids))
        .ext(distinct_on(run_events.c.run_id))
        .order_by(run_events.c.run_id, run_events.c.id)
    )
    return {RunId(run_id): actor for run_id, actor in connection.execute(query) if actor is not None}
