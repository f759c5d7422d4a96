"""``/pipelines``: declare them, look at them, activate, pause and trigger them; v2's shapes are a reconstruction.

Source: mParticle, Warehouse Sync API v1, "Pipelines" and "Trigger".
"""

from typing import Annotated, Final

from fastapi import APIRouter, Path, Query, Response

from console.api.answering import responses
from console.api.bodies import documented
from console.api.declared import Document, IfMatch, OnWatermark, expected_version
from console.api.pipeline_answers import pipeline_shape, status_shape
from console.api.pipeline_reading import Requested, read_pipeline
from console.api.reading import require_same_id
from console.api.signed_in import Admin, Operator, Viewer
from console.operations import Operations
from console.shapes.confirmed import RunReference, TriggeredShape
from console.shapes.reconstructed import PipelineRequest, PipelineShape, StatusShape
from shared.catalog import Pipeline, ServiceProvider
from shared.errors import DeclarationInvalid
from shared.feed import Feed

router = APIRouter(prefix="/pipelines", tags=["pipelines"])

PipelineId = Annotated[str, Path(alias="id", description="the id of a pipeline")]
Unchecked = Annotated[
    bool, Query(description="activate a draft without having a worker look at its columns and its iterator first")
]
Provider = Annotated[
    str | None, Query(alias="serviceProvider", description="only those of this provider's warehouses, in any case")
]
_NEW: Final = documented(PipelineRequest)
_WHOLE: Final = documented(PipelineRequest, id_in_path=True)


@router.get("", responses=responses())
def list_pipelines(operations: Viewer, provider: Provider = None) -> list[PipelineShape]:
    """List the pipelines by id, each with how it stands."""
    return [pipeline_shape(one) for one in operations.watching.pipelines(_provider(provider))]


@router.get("/{id}", responses=responses())
def get_pipeline(operations: Viewer, pipeline_id: PipelineId, response: Response) -> PipelineShape:
    """Give one pipeline: what was declared, how it stands, its newest runs and those at work."""
    return _shown(operations, pipeline_id, response)


@router.post("", responses=responses(409, 504, 505), openapi_extra=_NEW)
def create_pipeline(
    operations: Admin, document: Document, response: Response, *, unchecked: Unchecked = False
) -> PipelineShape:
    """Create a pipeline, as a draft or in the state that it names; the same once more changes nothing.

    One that cannot be activated stays a draft, and the answer says why.
    """
    asked = read_pipeline(document, _feeds(operations))
    operations.resources.create(asked.pipeline)
    return _moved(operations, asked, response, unchecked=unchecked)


@router.put("/{id}", responses=responses(412, 504, 505), openapi_extra=_WHOLE)
def replace_pipeline(
    operations: Admin,
    pipeline_id: PipelineId,
    document: Document,
    response: Response,
    if_match: IfMatch = None,
    watermark: OnWatermark = None,
    *,
    unchecked: Unchecked = False,
) -> PipelineShape:
    """Replace a pipeline, whole, and bring it into the state that it names, if any; a repeat changes nothing."""
    version = expected_version(if_match)
    own = operations.resources.get(Pipeline, pipeline_id).resource.feed_id
    asked = read_pipeline(require_same_id(pipeline_id, document), _feeds(operations), own_feed=own)
    operations.resources.replace(asked.pipeline, version=version, watermark=watermark)
    return _moved(operations, asked, response, unchecked=unchecked)


@router.delete("/{id}", status_code=204, response_class=Response, responses=responses(412))
def delete_pipeline(operations: Admin, pipeline_id: PipelineId, if_match: IfMatch = None) -> Response:
    """Cancel what a pipeline does and delete it; its id is never used again. A repeat finds nothing (404)."""
    operations.lives.delete(pipeline_id, version=expected_version(if_match))
    return Response(status_code=204)


@router.post("/{id}/activate", responses=responses(504, 505))
def activate_pipeline(
    operations: Operator, pipeline_id: PipelineId, response: Response, *, unchecked: Unchecked = False
) -> PipelineShape:
    """Let a draft run on its schedule, once a worker has found nothing against it; a repeat is refused."""
    if not unchecked:
        operations.lives.check_draft(pipeline_id)
    operations.lives.activate(pipeline_id)
    return _shown(operations, pipeline_id, response)


@router.post("/{id}/pause", responses=responses())
def pause_pipeline(operations: Operator, pipeline_id: PipelineId, response: Response) -> PipelineShape:
    """Start no new run, and claim nothing more of those that are open; a repeat is refused, and changes nothing."""
    operations.lives.pause(pipeline_id)
    return _shown(operations, pipeline_id, response)


@router.post("/{id}/resume", responses=responses())
def resume_pipeline(operations: Operator, pipeline_id: PipelineId, response: Response) -> PipelineShape:
    """Let a paused pipeline go on; a repeat is refused, and changes nothing."""
    operations.lives.resume(pipeline_id)
    return _shown(operations, pipeline_id, response)


@router.post("/{id}/trigger", responses=responses())
def trigger_pipeline(operations: Operator, pipeline_id: PipelineId) -> TriggeredShape:
    """Start a run now, or reopen the one that failed; while one is at work, a repeat is refused.

    An incremental run reads up to `delay` before now. Younger rows are left to the next one, and a run that finds only
    such rows settles without any; its `range_end` says up to where it read.
    """
    found = operations.watching.references(operations.trigger(pipeline_id))
    references = tuple(RunReference(id=run_id, number=number) for run_id, number in found)
    return TriggeredShape(pipeline_run_id=references[0].number, runs=references)


@router.post("/{id}", responses=responses())
def trigger_pipeline_v1(operations: Operator, pipeline_id: PipelineId) -> TriggeredShape:
    """Start a run now, at the address that v1 has for it."""
    return trigger_pipeline(operations, pipeline_id)


@router.get("/{id}/status", responses=responses())
def get_pipeline_status(operations: Viewer, pipeline_id: PipelineId) -> StatusShape:
    """Say what a pipeline does now, with the run whose logical date is the latest."""
    found = operations.watching.pipeline(pipeline_id)
    return status_shape(found, operations.resources.uses_of_connections().get(found.row.pipeline.connection_id))


def _feeds(operations: Operations) -> list[Feed]:
    return [found.resource for found in operations.resources.all(Feed)]


def _moved(operations: Operations, asked: Requested, response: Response, *, unchecked: bool) -> PipelineShape:
    if asked.state is not None:
        operations.lives.move(asked.pipeline.id, asked.state, unchecked=unchecked)
    shown = _shown(operations, asked.pipeline.id, response)
    return shown.model_copy(update={"warnings": asked.warnings})


def _shown(operations: Operations, pipeline_id: str, response: Response) -> PipelineShape:
    found = operations.watching.pipeline(pipeline_id)
    response.headers["ETag"] = f'"{found.record.version}"'
    return pipeline_shape(found)


def _provider(named: str | None) -> ServiceProvider | None:
    if named is None:
        return None
    try:
        return ServiceProvider(named.casefold())
    except ValueError:
        raise DeclarationInvalid(f"serviceProvider: expected {', '.join(ServiceProvider)}, got {named!r}") from None
