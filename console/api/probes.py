"""``/probes`` and its shortcuts: what only a worker can say of a warehouse or a feed, asked for and waited for.

An answer takes half a minute at most. A question that was cut off may be asked again; only ``send`` does something,
and does it again.
"""

from functools import partial
from typing import Annotated, Final

from fastapi import APIRouter, Depends, Path

from console.api.answering import responses
from console.api.bodies import OptionalDocument, documented, optionally
from console.api.declared import Document
from console.api.places import asking
from console.api.reading import read
from console.api.signed_in import Operator, identity
from console.operations import Operations
from console.shapes.answers import AnswerShape, SampleRequest, SendRequest, WindowRequest
from console.shapes.ground import Message
from shared.access import Identity, Role, require
from shared.errors import DeclarationInvalid
from shared.probe import ProbeKind, Question

router = APIRouter(tags=["probes"], dependencies=[asking])

Who = Annotated[Identity, Depends(identity)]
ConnectionId = Annotated[str, Path(alias="id", description="the id of a connection")]
FeedId = Annotated[str, Path(alias="id", description="the id of a feed")]
PipelineId = Annotated[str, Path(alias="id", description="the id of a pipeline")]

_DRAFTS: Final = ("pipeline", "data_model", "field_transformation")

_answers: Final = partial(router.post, responses=responses(504, 505), response_model_exclude_defaults=True)


@_answers("/probes", openapi_extra=documented(Question))
def ask(operations: Operator, who: Who, document: Document) -> AnswerShape:
    """Have a worker answer a question; a query, and one that carries declarations nobody saved, take an admin.

    A query of one's own reads any table that the connection may, and hides no column unless it says so. So does one
    that is saved, over a connection that no pipeline of an admin's has it read; operators preview pipelines.
    """
    question, told = read(Question, document)
    if question.kind is ProbeKind.RESEAL:
        raise DeclarationInvalid(
            "kind: reseal changes what is declared and is no question; an admin runs `warehouse-sync secrets rotate`"
        )
    if question.kind is ProbeKind.ALERTS:
        raise DeclarationInvalid("kind: alerts sends messages to people; an admin asks POST /alerts/test for it")
    if question.kind is ProbeKind.QUERY or any(getattr(question, name) is not None for name in _DRAFTS):
        require(who, Role.ADMIN)
    return _answered(operations, question, told)


@_answers("/connections/{id}/test")
def test_connection(operations: Operator, connection_id: ConnectionId) -> AnswerShape:
    """Sign in to a connection's warehouse: as whom, and what time it is there."""
    return _asked(operations, ProbeKind.TEST, connection_id=connection_id)


@_answers("/feeds/{id}/test")
def test_feed(operations: Operator, feed_id: FeedId) -> AnswerShape:
    """Reach a feed and find out whether it signs in; nothing is sent that counts."""
    return _asked(operations, ProbeKind.FEED, feed_id=feed_id)


@_answers("/pipelines/{id}/columns")
def look_at_columns(operations: Operator, pipeline_id: PipelineId) -> AnswerShape:
    """Give a pipeline's columns, their types, and what becomes of each; no query is run."""
    return _asked(operations, ProbeKind.COLUMNS, pipeline_id=pipeline_id)


@_answers("/pipelines/{id}/preview", openapi_extra=optionally(SampleRequest))
def preview_pipeline(operations: Operator, pipeline_id: PipelineId, document: OptionalDocument) -> AnswerShape:
    """Read some rows and give the batches that they become; nothing is sent."""
    wanted, told = read(SampleRequest, document)
    return _asked(operations, ProbeKind.PREVIEW, told, pipeline_id=pipeline_id, **dict(wanted))


@_answers("/pipelines/{id}/count", openapi_extra=optionally(WindowRequest))
def count_rows(operations: Operator, pipeline_id: PipelineId, document: OptionalDocument) -> AnswerShape:
    """Count the rows that the next run would read, or of another window; the warehouse runs a query for it."""
    wanted, told = read(WindowRequest, document)
    return _asked(operations, ProbeKind.COUNT, told, pipeline_id=pipeline_id, **dict(wanted))


@_answers("/pipelines/{id}/cost", openapi_extra=optionally(WindowRequest))
def estimate_cost(operations: Operator, pipeline_id: PipelineId, document: OptionalDocument) -> AnswerShape:
    """Give the bytes that a query for those rows would read, where the warehouse tells; no query is run."""
    wanted, told = read(WindowRequest, document)
    return _asked(operations, ProbeKind.COST, told, pipeline_id=pipeline_id, **dict(wanted))


@_answers("/pipelines/{id}/send", openapi_extra=optionally(SendRequest))
def send_sample(operations: Operator, pipeline_id: PipelineId, document: OptionalDocument) -> AnswerShape:
    """Send some rows to the pipeline's feed, in the environment development; a repeat sends them once more."""
    wanted, told = read(SendRequest, document)
    return _asked(operations, ProbeKind.SEND, told, pipeline_id=pipeline_id, **dict(wanted))


def _asked(operations: Operations, kind: ProbeKind, told: tuple[Message, ...] = (), **of: object) -> AnswerShape:
    question, _ = read(Question, {"kind": kind, **of})
    return _answered(operations, question, told)


def _answered(operations: Operations, question: Question, told: tuple[Message, ...]) -> AnswerShape:
    return AnswerShape.model_validate(operations.ask(question)).model_copy(update={"warnings": told})
