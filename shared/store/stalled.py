"""Runs that wait although nothing is in their way: who ended what was, died before it let them go, or did not know.

A worker of an earlier release settles a run and starts nothing after it. What waits for the next occurrence of its
schedule is left to that, as after a pause.
"""

import sqlalchemy as sa

from shared.messages import Message
from shared.run import OPEN, BackfillId, Lane, PipelineState, RunKind, RunState
from shared.store import history, waiting
from shared.store.declared import get_pipeline
from shared.store.declared_tables import pipelines
from shared.store.tables import runs

_AT_MOST = 100


def begin(connection: sa.Connection) -> list[Message]:
    """Start what waits for nothing, a hundred at most, and give the messages."""
    messages: list[Message] = []
    others = runs.alias("others")
    waits = (
        sa.select(runs.c.pipeline_id, runs.c.backfill_id)
        .distinct()
        .join(pipelines, pipelines.c.id == runs.c.pipeline_id)
        .where(
            runs.c.state == RunState.WAITING,
            pipelines.c.state == PipelineState.ACTIVE,
            pipelines.c.faulted_reason.is_(None),
            sa.or_(runs.c.lane == Lane.BACKFILL, pipelines.c.next_due_at.is_(None)),
            ~sa.exists().where(
                others.c.pipeline_id == runs.c.pipeline_id,
                others.c.lane == runs.c.lane,
                others.c.kind != RunKind.REPLAY,
                others.c.state.in_(OPEN),
            ),
        )
        .order_by(runs.c.pipeline_id)
        .limit(_AT_MOST)
    )
    for pipeline_id, backfill_id in connection.execute(waits).all():
        row = get_pipeline(connection, pipeline_id, lock=True, even_deleted=True)
        if backfill_id is None:
            messages += waiting.promote(connection, row)
        else:
            messages += history.promote_part(connection, BackfillId(backfill_id))
    return messages
