"""The volume guard: a run that reads unusually many rows, or few, is held by the transaction that publishes them.

So nothing of what it publishes was sent yet, and nothing is. Every publication is judged for too many rows, over all
that the run has read so far; the last one for too few as well, an empty one included. The run is locked by then. Where
a warehouse's result was read in several slices, the earlier ones may have been sent: held is what is left.

Few rows are asked about on the live lane alone, because there the watermark would pass those that arrive late:

* A part of history covers the stretch of time that it was cut to, and a quiet hour has few rows, or none, by right.
  Nothing is lost by it either: the watermark lies beyond, and whoever asked for a backfill may ask for it again.
* A replay sends what was rejected, few or not, and its snapshot has no bounds.
* A run with an empty window asks the warehouse nothing, publishes nothing and so does not come here: it settles where
  its watermark already was.

An extractor of an earlier release, during an upgrade, judges by the bounds that it knows.
"""

from typing import Final

import sqlalchemy as sa

from shared import volume
from shared.run import HeldFor, Lane, RunId, RunState
from shared.store import holds
from shared.store.tables import runs

_BOUNDS: Final = ("max_volume_rows", "max_volume_ratio", "min_volume_rows", "min_volume_ratio")


def judge(connection: sa.Connection, run_id: RunId, *, is_read: bool) -> bool:
    """Hold a run that reads more rows than its snapshot allows, or fewer; say whether.

    The caller holds the run's lock. What it has read are few only once it ``is_read`` whole.
    """
    row = connection.execute(
        sa.select(
            runs.c.pipeline_id,
            runs.c.number,
            runs.c.lane,
            runs.c.mode,
            runs.c.extracted,
            *(runs.c.snapshot[bound].label(bound) for bound in _BOUNDS),
        ).where(runs.c.id == run_id, ~runs.c.accepts_volume)
    ).one_or_none()
    if row is None:
        return False
    is_live = row.lane == Lane.LIVE
    may_be_few = is_live and is_read
    max_ratio = row.max_volume_ratio if is_live else None
    min_ratio = row.min_volume_ratio if may_be_few else None
    is_compared = max_ratio is not None or min_ratio is not None
    earlier = _earlier(connection, row.pipeline_id, row.mode) if is_compared else ()
    reason = volume.too_many(
        row.number, row.extracted, max_rows=row.max_volume_rows, max_ratio=max_ratio, earlier=earlier
    ) or volume.too_few(
        row.number,
        row.extracted,
        min_rows=row.min_volume_rows if may_be_few else None,
        min_ratio=min_ratio,
        earlier=earlier,
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
