"""Runs that are held: stopped with a question, until an operator decides.

A held run is a cancelled one, and so keeps its window: occurrences wait behind it, triggers are refused, and neither a
correction nor upkeep opens it again. What it has sent is counted, and the rest is ``unsent``. Whatever moves it ends
the hold; the database sees to that, so that a worker of an earlier release cannot leave a question that was decided.
"""

import sqlalchemy as sa

from shared.run import HeldFor, RunId, RunState
from shared.store import runs as run_rows
from shared.store.tables import runs


def hold(connection: sa.Connection, run_id: RunId, held_for: HeldFor, reason: str) -> bool:
    """Stop a run that is being worked on until an operator decides; say whether it still was.

    Chunks that are being uploaded at this moment finish, as those of every stopped run do.
    """
    return run_rows.stop(
        connection, run_id, RunState.CANCELLED, None, held_at=sa.func.now(), held_for=held_for, held_reason=reason
    )


def drop(connection: sa.Connection, run_id: RunId) -> None:
    """Take the question away from a locked run: it is cancelled, like any other.

    Whoever retries it later has seen how many rows it has.
    """
    connection.execute(
        sa.update(runs)
        .where(runs.c.id == run_id)
        .values(
            held_at=None,
            held_for=None,
            held_reason=None,
            accepts_volume=sa.or_(runs.c.accepts_volume, runs.c.held_for == HeldFor.VOLUME_UNUSUAL),
        )
    )
