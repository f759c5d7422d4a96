"""Read, create, replace and delete one declaration, the same for every kind that pipelines are made of."""

import re
from collections.abc import Callable, Collection, Mapping
from typing import Annotated, Any, Final, Generic

from fastapi import APIRouter, Body, Header, Path, Response

from console.api.answering import responses
from console.api.bodies import documented
from console.api.reading import read, require_same_id
from console.api.signed_in import Admin, Viewer
from console.operations import Operations
from console.resources import Recorded
from console.shapes.ground import Audited, Message, SecretKind
from shared.catalog import Connection
from shared.errors import DeclarationInvalid
from shared.feed import Feed
from shared.providers.bigquery import BigQueryConfig, read_key
from shared.secret_fields import (
    kept_paths,
    require_same_destination,
    secret_paths,
    secrets_of,
    take_plain,
    with_stored,
)
from shared.store.declared import Declaration
from shared.store.edits import Watermark
from shared.store.records import Record

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

    def read(
        self, operations: Operations, document: Mapping[str, Any], stored: Declaration | None
    ) -> tuple[Declaration, tuple[Message, ...]]:
        """Give what a request declares, and what of it was not understood.

        Secrets that it leaves out are the stored ones; those that stand in it as they are, are sealed here, before
        anything is stored. No message repeats one.
        """
        kept = kept_paths(self.kind, document, stored)
        complete, plain = take_plain(self.kind, with_stored(self.kind, document, stored))
        resource, told = read(self.kind, complete, answered=self._answered)
        if isinstance(resource, Feed | Connection):
            if plain:
                _require_key_of_account(resource, plain)
                resource = operations.secrets.seal_all(resource, plain)
            require_same_destination(resource, stored, kept)
        return resource, told


def add_routes(router: APIRouter, known: Kind[Any], noun: str) -> None:
    """Add the routes that read one, create, replace and delete; names of routes end in ``noun``."""
    word = noun.replace("_", " ")
    ResourceId = Annotated[str, Path(alias="id", description=f"the id of a {word}")]  # noqa: N806 - a type

    def get(operations: Viewer, resource_id: ResourceId, response: Response) -> Any:
        return known.one(operations, operations.resources.get(known.kind, resource_id), response)

    def create(operations: Admin, document: Document, response: Response) -> Any:
        found = operations.resources.find(known.kind, document.get("id"))
        resource, told = known.read(operations, document, None if found is None else found.resource)
        return known.one(operations, operations.resources.create(resource), response, told)

    def replace(
        operations: Admin,
        resource_id: ResourceId,
        document: Document,
        response: Response,
        if_match: IfMatch = None,
        watermark: OnWatermark = None,
    ) -> Any:
        version = expected_version(if_match)
        stored = operations.resources.get(known.kind, resource_id)
        resource, told = known.read(operations, require_same_id(resource_id, document), stored.resource)
        if version is None and secrets_of(resource):  # Those that were kept are those of the version that was read.
            version = stored.record.version
        found = operations.resources.replace(resource, version=version, watermark=watermark)
        return known.one(operations, found, response, told)

    def delete(operations: Admin, resource_id: ResourceId, if_match: IfMatch = None) -> Response:
        operations.resources.delete(known.kind, resource_id, version=expected_version(if_match))
        return Response(status_code=204)

    route = router.add_api_route
    creating, replacing = documented(known.kind), documented(known.kind, id_in_path=True)
    route("/{id}", get, methods=["GET"], response_model=known.shape, responses=responses(), name=f"get_{noun}",
          summary=f"Give one {word}")  # fmt: skip
    route("", create, methods=["POST"], response_model=known.shape, responses=responses(409), name=f"create_{noun}",
          summary=f"Create a {word}; the same once more changes nothing", openapi_extra=creating)  # fmt: skip
    route("/{id}", replace, methods=["PUT"], response_model=known.shape, responses=responses(412),
          name=f"replace_{noun}", summary=f"Replace a {word}, whole", openapi_extra=replacing)  # fmt: skip
    route("/{id}", delete, methods=["DELETE"], status_code=204, response_class=Response, responses=responses(412),
          name=f"delete_{noun}", summary=f"Delete a {word} that no pipeline uses or has used")  # fmt: skip


def kinds_of_secrets(resource: Feed | Connection) -> dict[str, SecretKind | None]:
    """Say of each secret that a resource may have what is stored, by path: no answer shows more of one."""
    provider = resource.service_provider if isinstance(resource, Connection) else None
    held = secrets_of(resource)
    return {
        path: SecretKind(held[path].partition(":")[0]) if path in held else None
        for path in secret_paths(type(resource), provider)
    }


def authors(record: Record) -> dict[str, object]:
    """Give a record as the fields of ``Audited``."""
    return {
        "created_on": record.created_at,
        "created_by": record.created_by,
        "last_modified_on": record.modified_at,
        "last_modified_by": record.modified_by,
        "version": record.version,
    }


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


def _require_key_of_account(resource: Feed | Connection, plain: Mapping[str, str]) -> None:
    """Raise ``DeclarationInvalid`` where a service account's key is another's; sealed, only workers could tell."""
    key = plain.get("config.service_account_key")
    if key is not None and isinstance(resource, Connection) and isinstance(resource.config, BigQueryConfig):
        read_key(resource.id, resource.config, key)
