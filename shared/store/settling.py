"""The one transaction that settles a run and moves a watermark."""

from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa

from shared import findings
from shared.errors import WatermarkWentBack
from shared.messages import Message
from shared.moments import told_exactly
from shared.notices import NoticeName
from shared.run import Run, RunId, RunKind, RunState
from shared.store import backfills, history, notices, waiting
from shared.store import runs as run_rows
from shared.store.declared import PipelineRow, get_pipeline
from shared.store.declared_tables import pipelines


@dataclass(frozen=True, slots=True)
class Open:
    """A run and its pipeline, both locked until the transaction ends."""

    run: Run
    pipeline: PipelineRow


def lock(connection: sa.Connection, run_id: RunId) -> Open:
    """Lock a run's pipeline, then the run: always in this order, so that nobody waits in a circle."""
    pipeline_id = run_rows.get(connection, run_id).pipeline_id
    pipeline = get_pipeline(connection, pipeline_id, lock=True, even_deleted=True)
    return Open(run_rows.get(connection, run_id, lock=True), pipeline)


def other_parts(connection: sa.Connection, run: Run) -> list[Run]:
    """Give the other parts of an initial sync, of each the newest run; how far it is settled depends on them."""
    if run.kind is not RunKind.INITIAL or run.backfill_id is None:
        return []
    return [part for part in backfills.parts_of(connection, run.backfill_id) if part.part != run.part]


def settle(
    connection: sa.Connection, held: Open, *, watermark: datetime | None, history_settled_to: datetime | None
) -> list[Message]:
    """Settle a locked run; where given, move the watermark or the mark of history, by compare-and-swap.

    What waited for the run starts in the same transaction; its messages are given. What was found out about its rows
    becomes one notice.

    Raises:
        WatermarkWentBack: the pipeline's generation or watermark is not what this run began from.
    """
    run = held.run
    run_rows.close(connection, run.id, RunState.SETTLED)
    if run.findings:
        notices.add(
            connection,
            run.pipeline_id,
            NoticeName.ROWS_FOUND,
            f"run {run.number} settled; rows by what was found out about them: {findings.told(run.findings)}",
        )
    if watermark is not None:
        moved = connection.execute(
            sa.update(pipelines)
            .where(
                pipelines.c.id == run.pipeline_id,
                pipelines.c.generation == run.generation,
                pipelines.c.watermark == run.window.low,
                pipelines.c.watermark <= watermark,
            )
            .values(watermark=watermark)
        )
        if moved.rowcount != 1:
            at = held.pipeline.standing
            low, mark = ("none" if one is None else told_exactly(one) for one in (run.window.low, at.watermark))
            raise WatermarkWentBack(
                f"run {run.number} read from {low} in generation {run.generation}, but pipeline "
                f"{run.pipeline_id!r} stands at {mark} in generation {at.generation}; nothing was moved"
            )
    if history_settled_to is not None:
        connection.execute(
            sa.update(pipelines)
            .where(
                pipelines.c.id == run.pipeline_id,
                pipelines.c.generation == run.generation,
                sa.or_(pipelines.c.history_settled_to.is_(None), pipelines.c.history_settled_to < history_settled_to),
            )
            .values(history_settled_to=history_settled_to)
        )
    return promote(connection, run)


def promote(connection: sa.Connection, run: Run) -> list[Message]:
    """Start what waited for a run that has moved: the next part of its backfill, and the next live run."""
    parts = [] if run.backfill_id is None else history.promote_part(connection, run.backfill_id)
    return parts + waiting.promote(connection, get_pipeline(connection, run.pipeline_id, even_deleted=True))
