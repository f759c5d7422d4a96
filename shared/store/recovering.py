"""After the store was restored from a backup: what it knows of runs that were open, and holding all of them.

What happened after the backup is not known here: such a run may have gone on, settled, or been abandoned. So nobody
goes on with it unasked. Whoever may still hold a claim of it, from before or after the backup, loses it.
"""

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Final

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import REGCLASS

from shared import moments
from shared.run import OPEN, WORKING, ChunkState, HeldFor, PipelineState, Run, RunId, RunState, SliceState
from shared.store import claims, holds, markers, totals
from shared.store import runs as run_rows
from shared.store.declared_tables import pipelines
from shared.store.life_tables import beats, run_events
from shared.store.tables import chunks, runs, slices

_STEP: Final = 1_000
"""Numbers of runs go on at a whole thousand: people see that something lies between."""
_AS_OF: Final = "restored_as_of"
_IDLE: Final = {"token": None, "lease_until": None, "sent_at": None}
_IS_OURS: Final = sa.and_(run_events.c.name == "held", run_events.c.error_kind == HeldFor.RESTORED)


def known_until(connection: sa.Connection) -> datetime | None:
    """Give the newest instant that the store knows of: a restored one, of about when the backup was made.

    A beat that ticks says so every few seconds. What ``hold_open`` has noted since does not count.
    """
    newest_event = (
        sa.select(run_events.c.happened_at)
        .where(sa.not_(sa.func.coalesce(_IS_OURS, sa.false())))
        .order_by(run_events.c.id.desc())
        .limit(1)
        .scalar_subquery()
    )
    of_open = sa.select(sa.func.max(chunks.c.done_at)).join(runs, runs.c.id == chunks.c.run_id)
    found: datetime | None = connection.scalar(
        sa.select(
            sa.func.greatest(
                sa.select(sa.func.max(beats.c.ticked_at)).scalar_subquery(),
                newest_event,
                of_open.where(runs.c.state.in_(OPEN)).scalar_subquery(),
            )
        )
    )
    return found


def remembered_as_of(connection: sa.Connection) -> datetime | None:
    """Give what ``remember_as_of`` noted; it is of a recovery that has ended where no run is held for it any more."""
    found = markers.find(connection, _AS_OF)
    return datetime.fromisoformat(found) if found else None


def remember_as_of(connection: sa.Connection, instant: datetime) -> None:
    """Note as of when the store was restored, before what happens from now on makes it seem later."""
    markers.replace(connection, _AS_OF, moments.written_exactly(instant))


def held_before(connection: sa.Connection, run_ids: Sequence[RunId]) -> frozenset[RunId]:
    """Give those of some runs that a recovery has held at any time."""
    query = sa.select(run_events.c.run_id).where(run_events.c.run_id.in_(run_ids), _IS_OURS)
    return frozenset(map(RunId, connection.scalars(query)))


def open_runs(connection: sa.Connection) -> list[Run]:
    """Give the runs that hold a window of a pipeline that was not deleted, by pipeline, oldest first."""
    query = (
        sa.select(runs)
        .join(pipelines, pipelines.c.id == runs.c.pipeline_id)
        .where(runs.c.state.in_(OPEN), pipelines.c.state != PipelineState.DELETED)
        .order_by(runs.c.pipeline_id, runs.c.created_at, runs.c.part)
    )
    return [run_rows.to_run(row) for row in connection.execute(query).mappings()]


def unfinished_files(connection: sa.Connection, run_id: RunId) -> Sequence[str]:
    """Give where the chunks of a run are that are not done."""
    query = sa.select(chunks.c.path).where(chunks.c.run_id == run_id, chunks.c.state != ChunkState.DONE)
    return connection.scalars(query.order_by(chunks.c.published_at, chunks.c.no)).all()


def known_runs(connection: sa.Connection, run_ids: Sequence[RunId]) -> frozenset[RunId]:
    """Give those of some runs that the store knows."""
    return frozenset(map(RunId, connection.scalars(sa.select(runs.c.id).where(runs.c.id.in_(run_ids)))))


def hold_open(connection: sa.Connection, reason: Callable[[Run], str]) -> list[Run]:
    """Hold every open run for ``restored``, and take all claims of it away; give those that were not held so before.

    Safe to repeat: what is held for this already stays as it is. All pipelines are locked until the transaction ends,
    whose first statement this is, because it counts for several of them.
    """
    totals.alone(connection)
    alive = sa.select(pipelines.c.id).where(pipelines.c.state != PipelineState.DELETED).order_by(pipelines.c.id)
    connection.execute(alive.with_for_update(key_share=True)).all()
    found = [run for run in open_runs(connection) if run.held_for is not HeldFor.RESTORED]
    for run in sorted(found, key=lambda run: run.id):
        run_rows.get(connection, run.id, lock=True)
        _take_claims_away(connection, run.id)
        _hold(connection, run, reason(run))
    return found


def skip_numbers(connection: sa.Connection, *, since: datetime | None) -> int:
    """Have numbers of runs go on where none was given yet, and give the last that is left out.

    How many runs were asked for ``since`` is not known here; so twice as many are left out as the busiest day's pace
    that the store knows would have made, and a thousand at least. Repeating it leaves out no more.
    """
    day = sa.func.date_trunc("day", runs.c.created_at)
    daily = sa.select(sa.func.count().label("asked")).select_from(runs).group_by(day).subquery()
    busiest = connection.scalar(sa.select(sa.func.max(daily.c.asked))) or 0
    days = connection.scalar(sa.select(sa.func.extract("epoch", sa.func.now() - since) / 86_400)) if since else 0
    highest = connection.scalar(sa.select(sa.func.max(runs.c.number))) or 0
    skipped = max(_STEP, int(2 * busiest * (float(days or 0) + 1)))
    last = -(-(highest + skipped) // _STEP) * _STEP
    sequence = sa.cast(sa.func.pg_get_serial_sequence("runs", "number"), REGCLASS)
    given = connection.scalar(sa.select(sa.func.pg_sequence_last_value(sequence))) or 0
    if given < last:
        # Not setval, which takes the right to change the sequence; whoever only gives out numbers may do this.
        numbers = sa.func.generate_series(given + 1, last).table_valued("no")
        connection.execute(sa.select(sa.func.max(sa.func.nextval(sequence))).select_from(numbers))
    return max(given, last)


def _take_claims_away(connection: sa.Connection, run_id: RunId) -> None:
    connection.execute(
        sa.update(slices)
        .where(slices.c.run_id == run_id, slices.c.state == SliceState.EXTRACTING)
        .values(state=SliceState.PENDING, bytes_spooled=0, **_IDLE)
    )
    connection.execute(
        sa.update(chunks)
        .where(chunks.c.run_id == run_id, chunks.c.state == ChunkState.UPLOADING)
        .values(state=ChunkState.READY, **_IDLE)
    )


def _hold(connection: sa.Connection, run: Run, reason: str) -> None:
    if run.state in WORKING:
        holds.hold(connection, run.id, HeldFor.RESTORED, reason)
        return
    connection.execute(
        sa.update(runs)
        .where(runs.c.id == run.id)
        .values(
            state=RunState.CANCELLED,
            held_at=sa.func.now(),
            held_for=HeldFor.RESTORED,
            held_reason=reason,
            **claims.RELEASED,
        )
    )
