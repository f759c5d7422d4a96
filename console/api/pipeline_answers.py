"""Pipelines as answers: what was declared in v2's names, and beside it how each stands."""

from datetime import timedelta
from typing import Any, Final

from pydantic import JsonValue

from console.api.declared import authors
from console.api.run_answers import latest_shape, seen
from console.frequency import in_words
from console.resources import CONNECTION_FAULTS, Use
from console.shapes.confirmed import SPELLINGS, HealthStatus
from console.shapes.ground import Message
from console.shapes.reconstructed import HistoryShape, PipelineShape, PipelineStatus, StatusShape
from shared.catalog import Incremental, Pipeline
from shared.errors import ColumnMissing, IteratorInvalid, MappingRefused, ModelInvalid
from shared.run import WORKING, PipelineState
from shared.store.summaries import Summary

MASK: Final = "************"
"""What stands for the rest of a key. Source: mParticle, Warehouse Sync API v1, answers."""
_MODEL_FAULTS: Final = frozenset(
    kind.__name__ for kind in (ModelInvalid, ColumnMissing, IteratorInvalid, MappingRefused)
)
"""What a run stops for when its data model is not as it should be."""
_SHOWN: Final = 4
"""Characters of a key: enough to tell the pod, such as ``us1-``."""
_UNITS: Final = ((86_400, "d"), (3_600, "h"), (60, "m"))

ANSWERED: Final = tuple(
    {"status", "service_provider", "schedule_in_words", "next_due_on", "watermark", "lag_s", "history", "held_by"}
    | {"faulted_reason", "running_runs", "recent_runs"}
)
"""Fields of answers that whoever puts one back sends, too."""


def pipeline_shape(found: Summary, warnings: tuple[Message, ...] = ()) -> PipelineShape:
    """Give a pipeline and how it stands."""
    pipeline, standing = found.row.pipeline, found.row.standing
    written = pipeline.model_dump(mode="json")
    plan_id, plan_version = plan_of(pipeline)
    watermark = standing.watermark
    return PipelineShape(
        **{name: value for name, value in written.items() if name not in {"sync_mode", "schedule"}},
        partner_feed_id=None,
        partner_feed_key=masked(found.api_key),
        state=found.row.state,
        sync_mode=_with_short_spans(written["sync_mode"], pipeline.sync_mode),
        schedule=_with_short_spans(written["schedule"], pipeline.schedule),
        plan_id=plan_id,
        plan_version=plan_version,
        service_provider=SPELLINGS[found.service_provider],
        status=status_of(found),
        schedule_in_words=in_words(pipeline.schedule),
        next_due_on=found.row.next_due_at,
        watermark=watermark,
        lag_s=None if watermark is None else (found.seen_at - watermark).total_seconds(),
        history=_history(found),
        faulted_reason=found.row.faulted_reason,
        held_by=seen(found.stopped, found),
        running_runs=seen(found.running, found),
        recent_runs=seen(found.recent, found),
        warnings=warnings,
        **authors(found.record),
    )


def status_shape(found: Summary, use: Use | None) -> StatusShape:
    """Give what a pipeline does now, in v2's words and v1's; ``use`` is what pipelines make of its connection."""
    kinds = {run.error_kind for run in found.stopped}
    has_faulty_connection = not kinds.isdisjoint(CONNECTION_FAULTS)
    latest = max(found.recent, key=lambda run: run.scheduled_for or run.logical_at, default=None)
    return StatusShape(
        pipeline_id=found.row.pipeline.id,
        status=status_of(found),
        connection_status=HealthStatus.FAULTED if has_faulty_connection else HealthStatus.HEALTHY,
        data_model_status=HealthStatus.HEALTHY if kinds.isdisjoint(_MODEL_FAULTS) else HealthStatus.FAULTED,
        is_active=found.row.state is PipelineState.ACTIVE,
        is_faulted=found.row.faulted_reason is not None,
        is_connection_active=use is not None and PipelineState.ACTIVE in use.states,
        is_connection_faulted=has_faulty_connection,
        latest_pipeline_run=None if latest is None else latest_shape(latest, found),
    )


def status_of(found: Summary) -> PipelineStatus:
    """Say what a pipeline does now, in one word."""
    if found.row.faulted_reason is not None:
        return PipelineStatus.FAULTED
    if any(run.state in WORKING for run in found.open):
        return PipelineStatus.RUNNING
    return PipelineStatus.PENDING if found.running else PipelineStatus.IDLE


def plan_of(pipeline: Pipeline) -> tuple[str | None, int | None]:
    """Give what the document of a pipeline's data plan says that it is, where it does: its id and its version."""
    plan = {} if pipeline.data_plan is None else pipeline.data_plan.document
    versions = plan.get("data_plan_versions") or [{}]
    plan_id, version = plan.get("data_plan_id"), plan.get("version", versions[0].get("version"))
    return (plan_id if isinstance(plan_id, str) else None, version if isinstance(version, int) else None)


def masked(key: str) -> str:
    """Give a key with all but its beginning hidden; one so short that this would show most of it, whole."""
    return key[:_SHOWN] + MASK if len(key) > 2 * _SHOWN else MASK


def _history(found: Summary) -> HistoryShape | None:
    if not isinstance(found.row.pipeline.sync_mode, Incremental) or found.history is None:
        return None
    standing, history = found.row.standing, found.history
    return HistoryShape(
        is_settled=standing.is_history_settled,
        settled_to=standing.history_settled_to,
        ends_at=standing.history_to,
        parts=history.parts,
        settled_parts=history.settled_parts,
        ended_rows=history.ended_rows,
        expected_rows=history.expected_rows,
    )


def _with_short_spans(written: dict[str, Any], declared: Any) -> dict[str, JsonValue]:
    """Give what is written with spans as people and mParticle write them: ``5m``."""
    spans = {name: getattr(declared, name) for name in written if isinstance(getattr(declared, name), timedelta)}
    return {**written, **{name: _short(span) for name, span in spans.items()}}


def _short(span: timedelta) -> str:
    seconds = span.total_seconds()
    if not seconds.is_integer():
        return str(seconds)
    unit_s, unit = next(((size, unit) for size, unit in _UNITS if seconds >= size and seconds % size == 0), (1, "s"))
    return f"{seconds / unit_s:.0f}{unit}"
