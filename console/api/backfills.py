"""``/backfills``: history that is read in the background, initial syncs included."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Path, Query

from console.api.answering import responses
from console.api.bodies import OptionalDocument, optionally
from console.api.paging import Paged, Pages, no_place
from console.api.reading import read
from console.api.signed_in import Operator, Viewer
from console.backfilling import Progress
from console.operations import Operations
from console.shapes.bounds import Bound
from console.shapes.ground import Message
from console.shapes.history import BackfillDetail, BackfillRequest, BackfillShape, PartShape, WindowShape
from shared.run import BackfillId, Run

router = APIRouter(tags=["backfills"])

Named = Annotated[str, Path(alias="id", description="a backfill's id, or its beginning")]
PipelineId = Annotated[str, Path(alias="id", description="the id of a pipeline")]


@router.get("/backfills", responses=responses())
def list_backfills(
    operations: Viewer,
    paged: Paged,
    pipeline_id: Annotated[str | None, Query(alias="pipelineId", description="of this pipeline")] = None,
) -> list[BackfillShape]:
    """List backfills and initial syncs, the newest first, and how far each is."""
    found = operations.history.newest(pipeline_id, limit=paged.limit + 1, after=_behind(paged))
    shown = paged.one(found, lambda one: (str(one.backfill.id),))
    return [BackfillShape(**_fields(one)) for one in shown]


@router.get("/backfills/{id}", responses=responses())
def get_backfill(operations: Viewer, backfill: Named) -> BackfillDetail:
    """Give one backfill, with its parts in the order in which they are read."""
    return _detail(operations, operations.history.find(backfill))


@router.get("/pipelines/{id}/backfills/window", responses=responses())
def get_backfill_window(
    operations: Viewer,
    pipeline_id: PipelineId,
    low: Annotated[Bound | None, Query(alias="from", description="inclusive")] = None,
    high: Annotated[Bound | None, Query(alias="until", description="exclusive")] = None,
) -> WindowShape:
    """Give the window that a backfill with these bounds would read, or refuse what it would be refused for."""
    low, high = operations.history.bounds(pipeline_id, low, high)
    return WindowShape(low=low, high=high)


@router.post("/pipelines/{id}/backfills", responses=responses(), openapi_extra=optionally(BackfillRequest))
def begin_backfill(operations: Operator, pipeline_id: PipelineId, document: OptionalDocument) -> BackfillShape:
    """Begin to read a window once more, in the background.

    A repeat of the same request while that backfill is being read gives it, and begins nothing; any other is refused
    until it is over.
    """
    asked, told = read(BackfillRequest, document)
    begun = operations.history.begin(
        pipeline_id,
        low=asked.low,
        high=asked.high,
        parts=asked.parts,
        newest_first=asked.newest_first,
        expected_rows=asked.expected_rows,
    )
    return BackfillShape(**_fields(operations.history.get(begun.id)), warnings=told)


@router.post("/backfills/{id}/pause", responses=responses())
def pause_backfill(operations: Operator, backfill: Named) -> BackfillDetail:
    """Claim nothing more of a backfill and begin no further part; a repeat changes nothing."""
    backfill_id = operations.history.find(backfill)
    operations.history.pause(backfill_id)
    return _detail(operations, backfill_id)


@router.post("/backfills/{id}/resume", responses=responses())
def resume_backfill(operations: Operator, backfill: Named) -> BackfillDetail:
    """Go on with a backfill that was paused or cancelled, where it stood; a repeat changes nothing."""
    backfill_id = operations.history.find(backfill)
    operations.history.resume(backfill_id)
    return _detail(operations, backfill_id)


@router.post("/backfills/{id}/cancel", responses=responses())
def cancel_backfill(operations: Operator, backfill: Named) -> BackfillDetail:
    """Stop a backfill until it is resumed; its open part keeps its window. A repeat changes nothing."""
    backfill_id = operations.history.find(backfill)
    operations.history.cancel(backfill_id)
    return _detail(operations, backfill_id)


def _detail(operations: Operations, backfill_id: BackfillId) -> BackfillDetail:
    found = operations.history.get(backfill_id)
    return BackfillDetail(**_fields(found), runs=tuple(_part(run) for run in found.parts))


def _fields(found: Progress) -> dict[str, object]:
    backfill = found.backfill
    left = found.left
    return {
        "id": backfill.id,
        "pipeline_id": backfill.pipeline_id,
        "kind": backfill.kind.value,
        "state": found.state,
        "low": found.low,
        "high": found.high,
        "newest_first": backfill.newest_first,
        "parts": max(len(found.parts), 1),
        "settled_parts": found.settled_parts,
        "expected_rows": backfill.expected_rows,
        "ended_rows": found.ended_rows,
        "rejected_rows": sum(part.ledger.rejected for part in found.parts),
        "seconds_left": None if left is None else round(left.total_seconds()),
        "created_on": backfill.created_at,
        "paused_on": backfill.paused_at,
        "cancelled_on": backfill.cancelled_at,
    }


def _part(run: Run) -> PartShape:
    return PartShape(
        part=run.part,
        run_id=run.id,
        run_number=run.number,
        state=run.state.value,
        low=run.window.low,
        high=run.window.high,
        extracted_rows=run.ledger.extracted,
        accepted_rows=run.ledger.accepted,
        rejected_rows=run.ledger.rejected,
        superseded_rows=run.ledger.superseded,
        unsent_rows=run.ledger.unsent,
        error=None if run.error_kind is None else Message(message=run.error or "", code=run.error_kind),
        started_on=run.started_at,
        ended_on=run.ended_at,
    )


def _behind(paged: Pages) -> BackfillId | None:
    place = paged.behind(str)
    if place is None:
        return None
    try:
        return BackfillId(UUID(str(place[0])))
    except ValueError:
        raise no_place() from None
