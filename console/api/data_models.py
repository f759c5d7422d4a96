"""``/data-models``: confirmed for v1, for v2 by analogy."""

from typing import Final

from fastapi import APIRouter

from console.api.answering import responses
from console.api.declared import Kind, add_routes, authors
from console.api.signed_in import Viewer
from console.operations import Operations
from console.resources import Recorded
from console.shapes.reconstructed import DataModelShape
from shared.catalog import DataModel

router = APIRouter(prefix="/data-models", tags=["data models"])


def _shaped(_: Operations, found: list[Recorded[DataModel]]) -> list[DataModelShape]:
    return [DataModelShape(**one.resource.model_dump(), **authors(one.record)) for one in found]


_KNOWN: Final = Kind(DataModel, DataModelShape, _shaped)


@router.get("", responses=responses())
def list_data_models(operations: Viewer) -> list[DataModelShape]:
    """List the data models by id."""
    return _shaped(operations, operations.resources.all(DataModel))


add_routes(router, _KNOWN, "data_model")
