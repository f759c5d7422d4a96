"""Runs as answers: in v2's shape, and in v1's."""

from collections.abc import Iterable, Mapping
from dataclasses import asdict
from typing import Any, Final, Literal

from console.shapes.confirmed import V1RunShape, V1RunState
from console.shapes.ground import Message
from console.shapes.reconstructed import LatestRunShape, LedgerShape, RunShape
from console.watching import SeenRun
from shared.run import Run, RunId, RunKind, RunState
from shared.store.summaries import Summary

_V1_STATES: Final[Mapping[RunState, V1RunState]] = {
    RunState.WAITING: V1RunState.QUEUED,
    RunState.CREATED: V1RunState.TRIGGERED,
    RunState.EXTRACTING: V1RunState.RUNNING,
    RunState.UPLOADING: V1RunState.RUNNING,
    RunState.SETTLED: V1RunState.SUCCESS,
    RunState.FAILED: V1RunState.FAILED,
    RunState.CANCELLED: V1RunState.FAILED,
    RunState.ABANDONED: V1RunState.FAILED,
}


def seen(runs: Iterable[Run], found: Summary) -> tuple[RunShape, ...]:
    """Give some of a pipeline's runs as answers, with what keeps each waiting and how long it was at work."""
    return tuple(run_shape(_seen(run, found)) for run in runs)


def run_shape(found: SeenRun) -> RunShape:
    """Give a run in v2's shape."""
    return RunShape(**_fields(found))


def latest_shape(run: Run, found: Summary) -> LatestRunShape:
    """Give one of a pipeline's runs in v2's shape, with those of v1's fields that do not contradict it."""
    fields = _fields(_seen(run, found))
    return LatestRunShape(**fields, **_v1_fields(run))


def v1_shape(run: Run, workspace: str, askers: Mapping[RunId, str]) -> V1RunShape:
    """Give a run in v1's shape, with who asked for it where somebody did."""
    return V1RunShape(
        id=run.pipeline_id,
        workspace_id=int(workspace) if workspace.isascii() and workspace.isdecimal() else workspace,
        logical_date=_logical_at(run),
        start_date=run.started_at,
        end_date=run.ended_at,
        created_on=run.created_at,
        created_by=askers.get(run.id),
        last_modified_on=run.ended_at,
        last_modified_by=None,
        **_v1_fields(run),
    )


def errors_of(kind: str | None, error: str | None) -> tuple[Message, ...]:
    """Give what something stopped for as an answer has it."""
    return () if kind is None else (Message(message=error or kind, code=kind),)


def _seen(run: Run, found: Summary) -> SeenRun:
    return SeenRun(run, found.why_they_wait.get(run.id), found.worked.get(run.id))


def _fields(found: SeenRun) -> dict[str, Any]:
    run = found.run
    return {
        "id": run.id,
        "pipeline_id": run.pipeline_id,
        "type": _type(run),
        "status": _V1_STATES[run.state],
        # What puts a working run off stands in the same place, and has no kind.
        "errors": errors_of(run.error_kind, run.error),
        "logical_date": _logical_at(run),
        "started_on": run.started_at,
        "ended_on": run.ended_at,
        "range_start": run.window.low,
        "range_end": run.window.high,
        "successful_records": run.ledger.accepted,
        "failed_records": run.ledger.rejected,
        "number": run.number,
        "kind": run.kind,
        "lane": run.lane,
        "mode": run.mode,
        "state": run.state,
        "includes_null": run.window.includes_null,
        "scheduled_for": run.scheduled_for,
        "missed": run.missed,
        "paused_on": run.paused_at,
        "held_on": run.held_at,
        "held_for": run.held_for,
        "held_reason": run.held_reason,
        "waits_for": found.waits_for,
        "ledger": LedgerShape(**asdict(run.ledger), balances=run.ledger.balances),
        "findings": dict(run.findings),
        "batches": run.batches,
        "slices_total": run.slices_total,
        "slices_published": run.slices_published,
        "chunks_total": run.chunks_total,
        "chunks_done": run.chunks_done,
        "reopenings": run.reopenings,
        "accepts_rejects": run.accepts_rejects,
        "accepts_volume": run.accepts_volume,
        "backfill_id": run.backfill_id,
        "part": run.part,
        "replays": run.replays,
        "created_on": run.created_at,
        "worked_s": None if found.work is None else found.work.lasted.total_seconds(),
        "rows_per_s": _rows_per_s(found),
    }


def _v1_fields(run: Run) -> dict[str, Any]:
    has_read = run.state not in {RunState.WAITING, RunState.CREATED}
    return {
        "pipeline_run_id": run.number,
        "data_interval_start": run.window.low,
        "data_interval_end": run.window.high,
        "pipeline_run_type": _type(run),
        "pipeline_run_state": _V1_STATES[run.state],
        "is_externally_triggered": _type(run) == "manual",
        "records_extracted": run.ledger.extracted if has_read else None,
        "records_mapped": run.ledger.accepted if has_read else None,
        "event_batches_generated": run.batches if has_read else None,
    }


def _rows_per_s(found: SeenRun) -> float | None:
    """Give a run's speed, or none where rows ended outside of the time that is known: it was interrupted."""
    run, work = found.run, found.work
    if run.state is not RunState.SETTLED or work is None or work.stretches != 1:
        return None
    return run.ledger.ended / work.lasted.total_seconds()


def _type(run: Run) -> Literal["scheduled", "manual"]:
    """Give mParticle's word for why a run exists; an initial sync is as what began it."""
    is_scheduled = run.kind is RunKind.SCHEDULED or run.scheduled_for is not None
    return "scheduled" if is_scheduled else "manual"


def _logical_at(run: Run) -> Any:
    return run.scheduled_for or run.logical_at
