"""The keys of rows that were accepted lately, so that a run which reads them again need not send them again."""

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import Final

import sqlalchemy as sa

from shared.run import Lane, PipelineState
from shared.store import keyed
from shared.store.declared_tables import pipelines
from shared.store.ground import INSTANT
from shared.store.history_tables import accepted_keys
from shared.store.keyed import Key
from shared.store.tables import runs

_LONGEST_UNIT: Final = timedelta(days=2)
"""A query begins on a whole unit of its iterator; the longest is a day, of any length that a zone gives it."""


def known(connection: sa.Connection, pipeline_id: str, keys: Iterable[Key]) -> dict[Key, datetime]:
    """Give when those rows changed last that were accepted, by their keys."""
    return keyed.look_up(connection, accepted_keys.c.row_key, pipeline_id, keys)


def keep(connection: sa.Connection, pipeline_id: str, rows: Mapping[Key, datetime]) -> None:
    """Keep the keys of accepted rows; the caller records their acceptance in the same transaction."""
    if not rows:
        return
    ordered = dict(sorted(rows.items()))  # Two who keep the same keys do so in one order.
    put = keyed.insert_all(accepted_keys.c.row_key, pipeline_id, ordered)
    connection.execute(
        put.on_conflict_do_update(
            index_elements=["pipeline_id", "row_key"],
            set_={"iterator_at": put.excluded.iterator_at},
            where=accepted_keys.c.iterator_at < put.excluded.iterator_at,
        )
    )


def forget(connection: sa.Connection) -> int:
    """Remove the keys of rows that no run will read again, and give how many.

    They lie further below the watermark than the newest live run looked back, or their pipeline is deleted.
    """
    looks_back = (
        sa.select(sa.cast(runs.c.snapshot["lookback_s"].astext, sa.Float))
        .where(runs.c.pipeline_id == pipelines.c.id, runs.c.lane == Lane.LIVE, runs.c.snapshot.is_not(None))
        .order_by(runs.c.created_at.desc())
        .limit(1)
        .scalar_subquery()
    )
    any_kept = sa.select(sa.literal(1)).where(accepted_keys.c.pipeline_id == pipelines.c.id).limit(1).lateral()
    looked_back = sa.func.make_interval(0, 0, 0, 0, 0, 0, sa.func.coalesce(looks_back, 0))
    until = sa.case(
        (pipelines.c.state == PipelineState.DELETED, sa.cast(sa.literal("infinity"), INSTANT)),
        else_=pipelines.c.watermark - looked_back - _LONGEST_UNIT,
    )
    removed = 0
    # One by one: only of a bound that is known does the planner know that few rows are below it.
    for pipeline_id, text in connection.execute(
        sa.select(pipelines.c.id, sa.cast(until, sa.Text)).join_from(pipelines, any_kept, sa.true())
    ).all():
        if text is not None:
            is_over = accepted_keys.c.iterator_at < sa.cast(sa.literal(text), INSTANT)
            removed += connection.execute(
                sa.delete(accepted_keys).where(accepted_keys.c.pipeline_id == pipeline_id, is_over)
            ).rowcount
    return removed
