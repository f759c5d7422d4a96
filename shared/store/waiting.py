"""Runs that wait for another: due while it is open, and promoted by the transaction that ends it.

A pipeline has at most one of them on its live lane. A further occurrence makes it stand for that one, too, and it says
how many it covers; its window is frozen when it starts.
"""

from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa

from shared.catalog import Incremental
from shared.messages import Message, TaskName
from shared.run import OPEN, Lane, PipelineState, Run, RunKind, RunState
from shared.store import runs as run_rows
from shared.store.declared import PipelineRow
from shared.store.tables import runs


@dataclass(frozen=True, slots=True)
class Occurrence:
    """Why a run is asked for: an occurrence of the schedule, or, without one, a trigger.

    It stands for ``missed`` earlier occurrences as well.
    """

    scheduled_for: datetime | None = None
    missed: int = 0

    @property
    def kind(self) -> RunKind:
        """Which kind of run it makes."""
        return RunKind.MANUAL if self.scheduled_for is None else RunKind.SCHEDULED

    @property
    def columns(self) -> dict[str, object]:
        """What a run's row says of it; a trigger's logical time is when it is recorded."""
        if self.scheduled_for is None:
            return {"logical_at": sa.func.now()}
        return {"scheduled_for": self.scheduled_for, "logical_at": self.scheduled_for, "missed": self.missed}


def find(connection: sa.Connection, pipeline_id: str) -> Run | None:
    """Give the live run of a pipeline that waits, locked, or ``None``."""
    row = (
        connection.execute(
            sa.select(runs)
            .where(runs.c.pipeline_id == pipeline_id, runs.c.lane == Lane.LIVE, runs.c.state == RunState.WAITING)
            .with_for_update(key_share=True)
        )
        .mappings()
        .one_or_none()
    )
    return None if row is None else run_rows.to_run(row)


def put_in_line(connection: sa.Connection, row: PipelineRow, occurrence: Occurrence) -> None:
    """Let a run wait for this occurrence, or the one that waits already stand for it."""
    waits = find(connection, row.pipeline.id)
    if waits is None:
        waiting = {"state": RunState.WAITING, "sent_at": None}
        run_rows.create(connection, row, occurrence.kind, Lane.LIVE, **occurrence.columns, **waiting)
        return
    covered = waits.missed
    if occurrence.scheduled_for is not None:
        covered += occurrence.missed + (waits.scheduled_for is not None)
    connection.execute(
        sa.update(runs).where(runs.c.id == waits.id).values(**(occurrence.columns | {"missed": covered}))
    )


def promote(connection: sa.Connection, row: PipelineRow) -> list[Message]:
    """Start the run that waits, if nothing is in its way any more; give its message.

    In the way are: an open run on the live lane, a T0 that is not fixed yet, a fault, and a pipeline that is not
    active. The caller holds the pipeline's lock, so that the answer stays true.
    """
    if row.state is not PipelineState.ACTIVE or row.faulted_reason is not None:
        return []
    if isinstance(row.pipeline.sync_mode, Incremental) and row.standing.watermark is None:
        return []
    is_busy = sa.exists().where(runs.c.pipeline_id == row.pipeline.id, runs.c.lane == Lane.LIVE, runs.c.state.in_(OPEN))
    waits = find(connection, row.pipeline.id)
    if waits is None or connection.scalar(sa.select(is_busy)):
        return []
    return start(connection, row, waits)


def start(connection: sa.Connection, row: PipelineRow, waits: Run) -> list[Message]:
    """Start a run that waits, in the pipeline's present generation; the caller has seen that nothing is in its way."""
    connection.execute(
        sa.update(runs)
        .where(runs.c.id == waits.id, runs.c.state == RunState.WAITING)
        .values(
            state=RunState.CREATED,
            generation=row.standing.generation,
            mode=row.pipeline.sync_mode.type,
            sent_at=sa.func.now(),
        )
    )
    return [Message(TaskName.PLAN_RUN, waits.id, Lane.LIVE)]
