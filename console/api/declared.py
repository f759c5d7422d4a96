"""Read, create, replace and delete one declaration, the same for every kind that pipelines are made of."""

import re
from collections.abc import Callable, Collection, Mapping
from typing import Annotated, Any, Final, Generic

from fastapi import APIRouter, Body, Header, Path, Response
from pydantic import BaseModel

from console.api.answering import responses
from console.api.reading import read, require_same_id
from console.api.signed_in import Admin, Viewer
from console.operations import Operations
from console.resources import Recorded
from console.shapes.ground import Audited, Message
from shared.errors import DeclarationInvalid
from shared.store.declared import Declaration
from shared.store.edits import Watermark

Document = Annotated[dict[str, Any], Body(description="the whole object; fields of answers are ignored")]
IfMatch = Annotated[str | None, Header(description='an ETag such as "3": refused if somebody changed it since')]
OnWatermark = Annotated[
    Watermark | None, Header(alias="Warehouse-Sync-Watermark", description="what becomes of it where an edit asks")
]
_ETAG: Final = re.compile(r'(?:W/)?"([0-9]{1,9})"')


class Kind(Generic[Declaration]):
    """One kind of declaration as the API has it.

    ``shaped`` makes answers of some of them, in their order; ``answered`` are the fields of answers that requests may
    hold as well.
    """

    def __init__(
        self,
        kind: type[Declaration],
        shape: type[Audited],
        shaped: Callable[[Operations, list[Recorded[Declaration]]], list[Any]],
        answered: Collection[str] = (),
    ) -> None:
        self.kind: type[Declaration] = kind
        self.shape = shape
        self.shaped: Callable[[Operations, list[Recorded[Declaration]]], list[Any]] = shaped
        self._answered = answered

    def one(
        self, operations: Operations, found: Recorded[Declaration], response: Response, told: tuple[Message, ...] = ()
    ) -> Any:
        """Give the answer that shows one, with its ETag and what of the request was not understood."""
        response.headers["ETag"] = f'"{found.record.version}"'
        (shown,) = self.shaped(operations, [found])
        return shown.model_copy(update={"warnings": told}) if told else shown

    def read(self, document: Mapping[str, Any]) -> tuple[Declaration, tuple[Message, ...]]:
        """Give what a request declares, and what of it was not understood."""
        return read(self.kind, document, answered=self._answered)


def add_routes(router: APIRouter, known: Kind[Any], noun: str) -> None:
    """Add the routes that read one, create, replace and delete; names of routes end in ``noun``."""
    word = noun.replace("_", " ")
    body = documented(known.kind)
    ResourceId = Annotated[str, Path(alias="id", description=f"the id of a {word}")]  # noqa: N806 - a type

    def get(operations: Viewer, resource_id: ResourceId, response: Response) -> Any:
        return known.one(operations, operations.resources.get(known.kind, resource_id), response)

    def create(operations: Admin, document: Document, response: Response) -> Any:
        resource, told = known.read(document)
        return known.one(operations, operations.resources.create(resource), response, told)

    def replace(
        operations: Admin,
        resource_id: ResourceId,
        document: Document,
        response: Response,
        if_match: IfMatch = None,
        watermark: OnWatermark = None,
    ) -> Any:
        resource, told = known.read(require_same_id(resource_id, document))
        found = operations.resources.replace(resource, version=expected_version(if_match), watermark=watermark)
        return known.one(operations, found, response, told)

    def delete(operations: Admin, resource_id: ResourceId, if_match: IfMatch = None) -> Response:
        operations.resources.delete(known.kind, resource_id, version=expected_version(if_match))
        return Response(status_code=204)

    route = router.add_api_route
    route("/{id}", get, methods=["GET"], response_model=known.shape, responses=responses(), name=f"get_{noun}",
          summary=f"Give one {word}")  # fmt: skip
    route("", create, methods=["POST"], response_model=known.shape, responses=responses(409), name=f"create_{noun}",
          summary=f"Create a {word}; the same once more changes nothing", openapi_extra=body)  # fmt: skip
    route("/{id}", replace, methods=["PUT"], response_model=known.shape, responses=responses(412),
          name=f"replace_{noun}", summary=f"Replace a {word}, whole", openapi_extra=body)  # fmt: skip
    route("/{id}", delete, methods=["DELETE"], status_code=204, response_class=Response, responses=responses(412),
          name=f"delete_{noun}", summary=f"Delete a {word} that no pipeline uses or has used")  # fmt: skip


def documented(kind: type[BaseModel]) -> dict[str, Any]:
    """Give what documents a request's body: the declaration's own JSON Schema, whole, where it is used."""
    schema = kind.model_json_schema(mode="validation")
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": inlined(schema)}}}}


def inlined(schema: dict[str, Any]) -> dict[str, Any]:
    """Give a JSON Schema with its definitions in place of references to them; ours do not refer to themselves."""
    definitions = schema.get("$defs", {})

    def resolved(part: Any) -> Any:
        match part:
            case {"$ref": str(name)}:
                return resolved(definitions[name.removeprefix("#/$defs/")])
            case dict():
                return {key: resolved(value) for key, value in part.items() if key not in {"$defs", "discriminator"}}
            case list():
                return [resolved(one) for one in part]
            case _:
                return part

    found: dict[str, Any] = resolved(schema)
    return found


def expected_version(if_match: str | None) -> int | None:
    """Give the version that an ``If-Match`` names; ``None`` where there is none, or any will do.

    Raises:
        DeclarationInvalid: it is no ETag of ours.
    """
    if if_match is None or if_match.strip() == "*":
        return None
    named = _ETAG.fullmatch(if_match.strip())
    if named is None:
        raise DeclarationInvalid(f'If-Match: expected an ETag of this API, such as "3", got {if_match!r}')
    return int(named[1])
