"""The description of the API as others read it: what each part is, and how much of it is mParticle's.

``x-warehouse-sync-origin`` says of every operation whether it is *confirmed* (copied from mParticle's documents),
*reconstructed* (its v1, or by analogy: no copy of its v2 documents shows it) or *ours*.
"""

from collections.abc import Mapping
from copy import deepcopy
from typing import Any, Final

from fastapi import FastAPI

from console.api.bodies import COMPONENTS

ORIGIN: Final = "x-warehouse-sync-origin"
CONFIRMED: Final = "confirmed"
RECONSTRUCTED: Final = "reconstructed"
OURS: Final = "ours"

TAGS: Final[list[dict[str, str]]] = [
    {"name": "connections", "description": "Warehouses, and how to sign in to them."},
    {"name": "data models", "description": "SQL queries over a connection's warehouse."},
    {"name": "field transformations", "description": "What the columns of event data models become in mParticle."},
    {"name": "feeds", "description": "mParticle's inputs: where batches go, and as whom."},
    {"name": "pipelines", "description": "A model's rows on their way to a feed: when, which, and how it stands."},
    {"name": "runs", "description": "Executions of pipelines: how far they are, what became of every row."},
    {"name": "backfills", "description": "Windows of history that are read in the background."},
    {"name": "rejects", "description": "Rows that were refused for their content, and sending them again."},
    {"name": "probes", "description": "Questions that only workers may ask a warehouse or mParticle."},
    {"name": "reviews", "description": "All that a pipeline would do, before it does anything."},
    {"name": "alerts", "description": "What is the matter, what was, and who was told."},
    {"name": "doctor", "description": "Whether everything that runs need is there, each finding with its cure."},
    {"name": "pipelines as code", "description": "All that is declared, as one document: plan, apply, export."},
    {"name": "secrets", "description": "Which keys sealed secrets need, and moving them to another key."},
    {"name": "access", "description": "Who may sign in, and who did what."},
    {"name": "sign-in", "description": "Client credentials for a bearer token."},
    {"name": "metrics", "description": "How the whole deployment does, in numbers, for Prometheus."},
    {"name": "health", "description": "Whether this process serves."},
]

_CONFIRMED: Final = frozenset({"list_connections", "sign_in"})
_RECONSTRUCTED: Final = frozenset({"connections", "data models", "field transformations", "pipelines"})
_REFUSAL: Final = "#/components/schemas/ErrorBody"
_DEFINITIONS: Final = "$defs"
_PART: Final = "Input"
"""How the names of schemas end that stand inside of bodies only."""
_OF_METHODS: Final = frozenset({"get", "post", "put", "delete", "patch"})
_ABOUT: Final = """\
mParticle's Warehouse Sync API v2, as far as its documents are known, and what it lacks. Every operation says by
`x-warehouse-sync-origin` which it is: `confirmed`, `reconstructed` or `ours`; fields of ours in mParticle's shapes say
so in their description.

Lists of declarations are whole. Other lists come newest first and a page at a time: while there is more, a `Link`
header names the next page. Objects have an `ETag`; a PUT or DELETE with `If-Match` is refused (412) if somebody changed
the object since. Fields of a request that are not known are ignored, and told in `warnings`. No answer holds a secret.
"""


class Described(FastAPI):
    """An app whose description is complete."""

    def openapi(self) -> dict[str, Any]:
        """Give the OpenAPI document."""
        if self.openapi_schema is None:
            self.openapi_schema = _refined(super().openapi())
        return self.openapi_schema


def described(**options: Any) -> Described:
    """Give an app without routes."""
    return Described(
        title="Warehouse Sync",
        version="2",
        summary="mParticle's Warehouse Sync API v2, served from your own machines",
        description=_ABOUT,
        license_info={"name": "Apache-2.0", "identifier": "Apache-2.0"},
        openapi_tags=TAGS,
        # Its pages load scripts from elsewhere, and they would have to be open to everybody.
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
        # A redirect tells which paths there are, and sends elsewhere what stands in the Host header.
        redirect_slashes=False,
        generate_unique_id_function=lambda route: route.name,
        **options,
    )


def _refined(found: dict[str, Any]) -> dict[str, Any]:
    document = deepcopy(found)  # Parts of it belong to routes, which are described more than once.
    bodies: dict[str, Any] = {}
    used: set[str] = set()
    shared: dict[str, Any] = {}
    for path in document["paths"].values():
        for method, operation in path.items():
            if method in _OF_METHODS:
                # The framework's own; a request that cannot be read is answered with 400.
                operation["responses"].pop("422", None)
                operation[ORIGIN] = _origin(operation)
                _share_refusals(operation["responses"], shared)
                _share_body(operation.get("requestBody", {}), bodies)
                used.update(operation["tags"])
    for name in ("HTTPValidationError", "ValidationError"):
        document["components"]["schemas"].pop(name, None)
    document["components"]["schemas"] = dict(sorted({**bodies, **document["components"]["schemas"]}.items()))
    document["components"]["responses"] = dict(sorted(shared.items()))
    document["tags"] = [tag for tag in TAGS if tag["name"] in used]
    return document


def _share_refusals(responses: dict[str, Any], shared: dict[str, Any]) -> None:
    """Describe each refusal once, and not anew for every operation."""
    for status, response in responses.items():
        schema = response.get("content", {}).get("application/json", {}).get("schema", {})
        if schema.get("$ref") == _REFUSAL:
            name = f"Refused{status}"
            if shared.setdefault(name, response) == response:
                responses[status] = {"$ref": f"#/components/responses/{name}"}


def _share_body(body: dict[str, Any], shared: dict[str, Any]) -> None:
    """Describe each part of a body once, under the name of its kind, and not anew wherever it is used."""
    content = body.get("content", {}).get("application/json", {})
    if _DEFINITIONS not in content.get("schema", {}):
        return
    schema = dict(content["schema"])
    parts = schema.pop(_DEFINITIONS)
    # A request takes more than an answer gives, such as fields that nobody knows; of words both have the same.
    names = {name: name if "enum" in part else f"{name}{_PART}" for name, part in parts.items()}
    for name, part in ((schema["title"], schema), *((names[name], part) for name, part in parts.items())):
        described = _renamed(part, names)
        if shared.setdefault(name, described) != described:
            raise ValueError(f"two kinds of body are called {name}; give one of them another name")
    content["schema"] = {"$ref": f"{COMPONENTS}{schema['title']}"}


def _renamed(part: Any, names: Mapping[str, str]) -> Any:
    match part:
        case {"$ref": str(place)} if place.startswith(COMPONENTS):
            return {**part, "$ref": f"{COMPONENTS}{names[place.removeprefix(COMPONENTS)]}"}
        case dict():
            return {name: _renamed(one, names) for name, one in part.items()}
        case list():
            return [_renamed(one, names) for one in part]
        case _:
            return part


def _origin(operation: dict[str, Any]) -> str:
    if operation["operationId"] in _CONFIRMED:
        return CONFIRMED
    return RECONSTRUCTED if _RECONSTRUCTED.intersection(operation["tags"]) else OURS
