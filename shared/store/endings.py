"""What a run's trace says of its end, told once the transaction that ended it has committed.

The first end of a run is its root span. A run that goes on afterwards adds a child for each further end: ``reopened``
from when it was reopened, or, where an operator only decided on a run that stood still, ``closed``. So no span is told
twice, and a failed run is seen before anybody has retried it.
"""

from datetime import datetime
from functools import partial

import sqlalchemy as sa

from shared import tracing
from shared.run import CLOSED, STOPPED, Run
from shared.store.database import after_commit
from shared.store.life_tables import run_events

_ENDS = {*CLOSED, *STOPPED, "held"}
"""Events by which a run ended; one that is held is stopped, under another name."""


def tell(connection: sa.Connection, run: Run) -> None:
    """Tell of a run that this transaction has stopped or closed; ``run`` is as it stands now."""
    now = connection.scalar(sa.select(sa.func.now()))
    ended_at = run.ended_at or now or run.created_at
    events = [
        (name, at)
        for name, at in connection.execute(
            sa.select(run_events.c.name, run_events.c.happened_at)
            .where(run_events.c.run_id == run.id)
            .order_by(run_events.c.id)
        )
        if name not in {"paused", "resumed"}
    ]
    name, began_at = _last_stretch(events[:-1], run.created_at, ended_at)
    after_commit(connection, partial(tracing.tell_end, run, name=name, began_ns=_ns(began_at), ended_ns=_ns(ended_at)))


def _last_stretch(before: list[tuple[str, datetime]], created_at: datetime, ended_at: datetime) -> tuple[str, datetime]:
    """Say what the end is the end of, and since when, by the states that the run came to before."""
    ends = [place for place, (name, _) in enumerate(before) if name in _ENDS]
    if not ends:
        return tracing.ROOT, created_at
    after = before[ends[-1] + 1 :]
    return ("reopened", after[0][1]) if after else ("closed", ended_at)


def _ns(instant: datetime) -> int:
    return round(instant.timestamp() * 1_000_000) * 1000
