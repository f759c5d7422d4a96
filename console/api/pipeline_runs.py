"""``/pipelines/{id}/runs`` and what else a pipeline has gone through; ``/status/runs`` is what v1 calls its runs.

Source: mParticle, Warehouse Sync API v1, "Runs".
"""

from typing import Annotated

from fastapi import APIRouter, Path, Query

from console.api.answering import responses
from console.api.paging import DEFAULT, Paged
from console.api.pipelines import PipelineId
from console.api.run_answers import run_shape, v1_shape
from console.api.run_listing import NAMED, States, run_page
from console.api.signed_in import Viewer
from console.shapes.bounds import Bound
from console.shapes.confirmed import V1RunShape, V1RunsShape
from console.shapes.extensions import NoticeShape
from console.shapes.reconstructed import RunShape
from console.shapes.requests import MOST
from shared.store.run_lists import Wanted

router = APIRouter(prefix="/pipelines/{id}", tags=["runs"])

RunName = Annotated[str, Path(alias="runId", description=NAMED)]
WorkspaceId = Annotated[str, Path(alias="workspaceId")]
Since = Annotated[
    Bound | None, Query(alias="startDate", description="of the logical date, inclusive; UTC without a zone")
]
Until = Annotated[Bound | None, Query(alias="endDate", description="of the logical date, exclusive")]


@router.get("/runs", responses=responses())
def list_pipeline_runs(
    operations: Viewer,
    pipeline_id: PipelineId,
    paged: Paged,
    states: States = (),
    since: Since = None,
    until: Until = None,
) -> list[RunShape]:
    """List a pipeline's runs, newest first."""
    return run_page(operations, Wanted(pipeline_id, states, since, until), paged)


@router.get("/runs/{runId}", responses=responses())
def get_pipeline_run(operations: Viewer, pipeline_id: PipelineId, run: RunName) -> RunShape:
    """Give one of a pipeline's runs."""
    return run_shape(operations.watching.run(operations.find_run(run, pipeline_id=pipeline_id)))


@router.get("/status/runs", responses=responses())
def list_pipeline_runs_v1(
    operations: Viewer,
    workspace: WorkspaceId,
    pipeline_id: PipelineId,
    current_page: Annotated[int, Query(alias="currentPage", ge=1, le=1_000_000)] = 1,
    page_size: Annotated[int, Query(alias="pageSize", ge=1, le=MOST)] = DEFAULT,
    since: Since = None,
    until: Until = None,
) -> V1RunsShape:
    """List a pipeline's runs as v1 does, newest first; pages are counted from 1."""
    wanted = Wanted(pipeline_id, since=since, until=until)
    found = operations.watching.runs(wanted, offset=(current_page - 1) * page_size, limit=page_size)
    askers = operations.watching.askers([one.run.id for one in found])
    return V1RunsShape(items=tuple(v1_shape(one.run, workspace, askers) for one in found))


@router.get("/status/runs/{runId}", responses=responses())
def get_pipeline_run_v1(
    operations: Viewer, workspace: WorkspaceId, pipeline_id: PipelineId, run: RunName
) -> V1RunShape:
    """Give one of a pipeline's runs as v1 does."""
    run_id = operations.find_run(run, pipeline_id=pipeline_id)
    return v1_shape(operations.run(run_id), workspace, operations.watching.askers([run_id]))


@router.get("/notices", responses=responses())
def list_pipeline_notices(operations: Viewer, pipeline_id: PipelineId, paged: Paged) -> list[NoticeShape]:
    """List what happened to a pipeline, newest first: refused requests, watermarks that were reset."""
    place = paged.behind(int)
    before_id = None if place is None else int(place[0])
    found = operations.watching.notices(pipeline_id, before_id=before_id, limit=paged.limit + 1)
    return [
        NoticeShape(name=one.name, message=one.message, noticed_on=one.noticed_at)
        for one in paged.one(found, lambda one: (one.id,))
    ]
