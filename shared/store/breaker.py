"""The circuit breaker: a run with too many rejected rows is stopped while it works, and its pipeline with it.

Whoever records or finishes a chunk looks first, without a lock; of those who work at the same time, the one who commits
last sees the rows of all. Only where there are too many are pipeline and run locked, in this order, and looked at once
more: so all agree, an operator who accepts them included, and nobody waits in a circle.
"""

import sqlalchemy as sa

from shared import tolerance
from shared.errors import TooManyRejected
from shared.ledger import Ledger
from shared.run import WORKING, RunId
from shared.store import moves, settling
from shared.store.tables import runs


def judge(connection: sa.Connection, run_id: RunId, *, rejecting: int = 0, by_ratio: bool = True) -> bool:
    """Fail a run that is worked on if too many of its rows were rejected, and fault its pipeline; say whether.

    The caller holds no lock of a run, slice or chunk. What it rejects in this very transaction it gives as
    ``rejecting``. Unsent rows end as ``unsent``; chunks that others are sending finish.
    """
    if _refusal(connection, run_id, rejecting, by_ratio=by_ratio) is None:
        return False
    settling.lock(connection, run_id)
    error = _refusal(connection, run_id, rejecting, by_ratio=by_ratio)
    return error is not None and moves.fault(connection, run_id, error)


def _refusal(connection: sa.Connection, run_id: RunId, rejecting: int, *, by_ratio: bool) -> TooManyRejected | None:
    row = connection.execute(
        sa.select(
            runs.c.number,
            runs.c.pipeline_id,
            runs.c.accepted,
            runs.c.rejected,
            runs.c.snapshot["max_rejected_ratio"].label("max_ratio"),
            runs.c.snapshot["max_rejected_rows"].label("max_rows"),
        ).where(runs.c.id == run_id, runs.c.state.in_(WORKING), ~runs.c.accepts_rejects)
    ).one_or_none()
    if row is None:
        return None
    return tolerance.refusal(
        row.number,
        row.pipeline_id,
        Ledger(accepted=row.accepted, rejected=row.rejected + rejecting),
        max_ratio=row.max_ratio if by_ratio else None,
        max_rows=row.max_rows,
    )
