"""The volume guard: a run that reads unusually many rows is held by the transaction that publishes them.

So nothing of what it publishes was sent yet, and nothing is. Every publication is judged, over all that the run has
read so far; the run is locked by then.
"""

import sqlalchemy as sa

from shared import volume
from shared.run import HeldFor, Lane, RunId, RunState
from shared.store import holds
from shared.store.tables import runs


def judge(connection: sa.Connection, run_id: RunId) -> bool:
    """Hold a run that reads more rows than its snapshot allows; say whether. The caller holds the run's lock."""
    row = connection.execute(
        sa.select(
            runs.c.pipeline_id,
            runs.c.number,
            runs.c.lane,
            runs.c.mode,
            runs.c.extracted,
            runs.c.snapshot["max_volume_rows"].label("max_rows"),
            runs.c.snapshot["max_volume_ratio"].label("max_ratio"),
        ).where(runs.c.id == run_id, ~runs.c.accepts_volume)
    ).one_or_none()
    if row is None or (row.max_rows is None and row.max_ratio is None):
        return False
    is_compared = row.max_ratio is not None and row.lane == Lane.LIVE
    reason = volume.doubt(
        row.number,
        row.extracted,
        max_rows=row.max_rows,
        max_ratio=row.max_ratio if is_compared else None,
        earlier=_earlier(connection, row.pipeline_id, row.mode) if is_compared else (),
    )
    return reason is not None and holds.hold(connection, run_id, HeldFor.VOLUME_UNUSUAL, reason)


def _earlier(connection: sa.Connection, pipeline_id: str, mode: str) -> list[int]:
    """Give how many rows the last settled live runs of a pipeline had that read as it does now."""
    query = (
        sa.select(runs.c.extracted)
        .where(
            runs.c.pipeline_id == pipeline_id,
            runs.c.lane == Lane.LIVE,
            runs.c.mode == mode,
            runs.c.state == RunState.SETTLED,
        )
        .order_by(runs.c.created_at.desc())
        .limit(volume.LOOKED_AT)
    )
    return list(connection.scalars(query))
