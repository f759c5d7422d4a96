"""``/field-transformations``: how the columns of event data models become fields of batches. Its paths are ours."""

from typing import Final

from fastapi import APIRouter

from console.api.answering import responses
from console.api.declared import Kind, add_routes, authors
from console.api.signed_in import Viewer
from console.operations import Operations
from console.resources import Recorded
from console.shapes.reconstructed import FieldTransformationShape
from shared.transformation import FieldTransformation

router = APIRouter(prefix="/field-transformations", tags=["field transformations"])


def _shaped(_: Operations, found: list[Recorded[FieldTransformation]]) -> list[FieldTransformationShape]:
    return [
        FieldTransformationShape(
            **one.resource.model_dump(mode="json", exclude={"mappings"}),
            mappings=tuple(mapping.model_dump(mode="json", exclude_none=True) for mapping in one.resource.mappings),
            **authors(one.record),
        )
        for one in found
    ]


_KNOWN: Final = Kind(FieldTransformation, FieldTransformationShape, _shaped)


@router.get("", responses=responses())
def list_field_transformations(operations: Viewer) -> list[FieldTransformationShape]:
    """List the field transformations by id."""
    return _shaped(operations, operations.resources.all(FieldTransformation))


add_routes(router, _KNOWN, "field_transformation")
