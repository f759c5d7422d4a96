"""``/metrics``: how the whole deployment does, for Prometheus and whoever reads its formats."""

from typing import Annotated, Final

from fastapi import APIRouter, Depends, Request, Response

from console.api.answering import responses
from console.api.signed_in import identity
from console.exposition import exposed
from console.operations import Operations
from shared.access import Identity, Role, require

router = APIRouter(tags=["metrics"])

_TEXT: Final = {
    "description": "The metrics; docs/metrics.md lists them",
    "content": {kind: {"schema": {"type": "string"}} for kind in ("text/plain", "application/openmetrics-text")},
}


@router.get("/metrics", response_class=Response, responses={**responses(), 200: _TEXT})
def get_metrics(request: Request, who: Annotated[Identity, Depends(identity)]) -> Response:
    """Give all metrics of the deployment, in the text format or OpenMetrics, as Accept asks for."""
    require(who, Role.VIEWER)
    operations: Operations = request.app.state.operations
    return answered(operations, request)


def answered(operations: Operations, request: Request) -> Response:
    """Measure, and answer in the format that a request accepts."""
    content, content_type = exposed(operations.measuring.measure(), request.headers.get("Accept", ""))
    return Response(content, headers={"Content-Type": content_type})
