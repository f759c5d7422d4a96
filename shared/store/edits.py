"""Edits of what pipelines are made of: they apply to later runs, and some ask what becomes of the watermark.

An open run keeps its snapshot. A failed or cancelled one would go on under it, long after the edit; so its fate is
decided first. One that was never planned has no snapshot, and its retry uses what was corrected. Another query,
iterator or feed may make the watermark mean other rows; only an operator knows. Another mapping sends other fields of
the same rows, and asks nothing.
"""

from collections.abc import Callable, Sequence
from enum import StrEnum
from typing import Any

import sqlalchemy as sa

from shared.catalog import DataModel, Pipeline
from shared.errors import MoveNotAllowed, NotFound, WatermarkUndecided
from shared.mapping.compile_events import require_sound
from shared.moments import told_exactly
from shared.notices import NoticeName
from shared.run import STOPPED, WORKING, Lane, RunState
from shared.store import declared, lives, notices
from shared.store import runs as run_rows
from shared.store.declared import DeclaredResource, PipelineRow, get_pipeline
from shared.store.declared_tables import pipelines
from shared.store.tables import runs
from shared.transformation import FieldTransformation

_FREE = ("until", "lookback", "row_key", "history_parts", "history_newest_first", "history_part_rows")
"""Of a sync mode, what may change without changing which rows lie below the watermark."""


class Watermark(StrEnum):
    """What becomes of the watermark of a pipeline whose rows may now mean something else."""

    KEEP = "keep"
    RESET = "reset"


def put(connection: sa.Connection, resource: DeclaredResource, watermark: Watermark | None) -> bool:
    """Insert or replace a resource that pipelines may use; say whether anything changed.

    Raises:
        MoveNotAllowed: a pipeline that uses a data model or a field transformation is held by a stopped run; or a
            reset finds one at work.
        WatermarkUndecided: the edit asks what becomes of a watermark, and ``watermark`` does not say.
        DeclarationInvalid: no columns could make events of a field transformation.
    """
    if isinstance(resource, FieldTransformation):
        require_sound(resource)
    if isinstance(resource, DataModel) and _is_other_sql(connection, resource):
        users = declared.users_of(connection, resource)
        _decide(connection, users, f"the SQL of data model {resource.id!r}", watermark)
    is_changed = declared.put(connection, resource)
    if is_changed and isinstance(resource, FieldTransformation):
        for user in declared.users_of(connection, resource):
            _require_nothing_stopped(connection, get_pipeline(connection, user, lock=True))
    return is_changed


def put_pipeline(connection: sa.Connection, pipeline: Pipeline, watermark: Watermark | None) -> bool:
    """Insert or replace a pipeline; say whether anything changed.

    Raises:
        NotFound: its connection, data model, field transformation or feed was never declared.
        MoveNotAllowed: it is held by a stopped run; or a reset finds one at work.
        DeclarationInvalid: it cannot be so.
        WatermarkUndecided: the edit asks what becomes of the watermark, and nobody says.
    """
    try:
        before = get_pipeline(connection, pipeline.id, lock=True)
    except NotFound:
        return declared.put_pipeline(connection, pipeline)
    changed = [name for name, part in _PARTS.items() if part(before.pipeline) != part(pipeline)]
    if changed:
        _decide(connection, [pipeline.id], " and ".join(changed), watermark)
    is_changed = declared.put_pipeline(connection, pipeline)
    if is_changed:
        if not changed:
            _require_nothing_stopped(connection, before)
        after = get_pipeline(connection, pipeline.id)
        if before.pipeline.schedule != after.pipeline.schedule:
            lives.reschedule(connection, after)
    return is_changed


def _sync_mode(pipeline: Pipeline) -> dict[str, Any]:
    return pipeline.sync_mode.model_dump(exclude=set(_FREE))


_PARTS: dict[str, Callable[[Pipeline], object]] = {
    "sync_mode": _sync_mode,
    "connection_id": lambda pipeline: pipeline.connection_id,
    "data_model_id": lambda pipeline: pipeline.data_model_id,
    "feed_id": lambda pipeline: pipeline.feed_id,
    "whether its rows are events": lambda pipeline: pipeline.field_transformation_id is not None,
}
"""What a pipeline's watermark depends on."""


def _is_other_sql(connection: sa.Connection, model: DataModel) -> bool:
    try:
        return declared.get(connection, DataModel, model.id).sql_query != model.sql_query
    except NotFound:
        return False


def _decide(connection: sa.Connection, pipeline_ids: Sequence[str], what: str, watermark: Watermark | None) -> None:
    for pipeline_id in sorted(pipeline_ids):
        row = get_pipeline(connection, pipeline_id, lock=True)
        _require_nothing_stopped(connection, row)
        if row.standing.watermark is None:
            continue  # It has read nothing by an iterator; a full pipeline may have, when it was incremental.
        if watermark is None:
            upto = told_exactly(row.standing.watermark)
            raise WatermarkUndecided(
                f"pipeline {pipeline_id!r}: {what} changes, and rows up to {upto} were read under the old one. "
                "Say --keep-watermark to read on from there, or --reset-watermark to read everything anew"
            )
        if watermark is Watermark.RESET:
            _reset(connection, row)


def _require_nothing_stopped(connection: sa.Connection, row: PipelineRow) -> None:
    for run in run_rows.open_of(connection, row.pipeline.id):
        if run.state in STOPPED and run.snapshot is not None:
            raise MoveNotAllowed(
                f"pipeline {row.pipeline.id!r} is held by {run.state} run {run.number}, which would go on under what "
                f"it was planned with; `warehouse-sync retry {run.number}` or `abandon {run.number}` first, then edit"
            )


def _reset(connection: sa.Connection, row: PipelineRow) -> None:
    """Begin a new generation: its first run is an initial sync again."""
    for run in run_rows.open_of(connection, row.pipeline.id):
        if run.lane is Lane.BACKFILL and run.state in STOPPED:
            run_rows.close(connection, run.id, RunState.ABANDONED)  # It was never planned, and its generation is over.
        elif run.state in WORKING:
            raise MoveNotAllowed(
                f"pipeline {row.pipeline.id!r} is at work (run {run.number}); wait for it or cancel and abandon it "
                "before its watermark is reset"
            )
    connection.execute(
        sa.update(pipelines)
        .where(pipelines.c.id == row.pipeline.id)
        .values(generation=row.standing.generation + 1, watermark=None, history_to=None, history_settled_to=None)
    )
    run_rows.drop_waiting(connection, runs.c.pipeline_id == row.pipeline.id, runs.c.lane == Lane.BACKFILL)
    stood = "nothing" if row.standing.watermark is None else told_exactly(row.standing.watermark)
    notices.add(
        connection,
        row.pipeline.id,
        NoticeName.WATERMARK_RESET,
        f"the watermark was reset from {stood}; everything is read anew by a new initial sync",
    )
