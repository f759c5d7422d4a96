"""``/reviews`` and ``/pipelines/{id}/review``: all that a pipeline would do, before it does anything."""

from typing import Annotated

from fastapi import APIRouter, Path

from console.api.answering import responses
from console.api.bodies import OptionalDocument, documented, optionally
from console.api.declared import Document
from console.api.places import asking
from console.api.reading import read
from console.api.signed_in import Admin, Operator
from console.reviewed import Review
from console.shapes.answers import SampleRequest
from console.shapes.ground import Message
from console.shapes.reviews import ReviewRequest, ReviewShape

router = APIRouter(tags=["reviews"], dependencies=[asking])


@router.post("/pipelines/{id}/review", responses=responses(504, 505), openapi_extra=optionally(SampleRequest))
def review_pipeline(
    operations: Operator,
    pipeline_id: Annotated[str, Path(alias="id", description="the id of a pipeline")],
    document: OptionalDocument,
) -> ReviewShape:
    """Review a pipeline that is declared; what could not be found out is among ``unknown``, and the rest is there."""
    wanted, told = read(SampleRequest, document)
    return _shaped(operations.review.saved(pipeline_id, rows=wanted.rows), told)


@router.post("/reviews", responses=responses(504, 505), openapi_extra=documented(ReviewRequest))
def review_draft(operations: Admin, document: Document) -> ReviewShape:
    """Review a pipeline that nobody saved, and what of it is given along; it takes an admin, as declaring it does."""
    wanted, told = read(ReviewRequest, document)
    review = operations.review.draft(
        wanted.pipeline,
        data_model=wanted.data_model,
        field_transformation=wanted.field_transformation,
        rows=wanted.rows,
    )
    return _shaped(review, told)


def _shaped(review: Review, told: tuple[Message, ...]) -> ReviewShape:
    return ReviewShape.model_validate(review).model_copy(update={"not_understood": told})
