"""Bodies of requests as the description of the API has them; and those that may be left out."""

import json
from typing import Annotated, Any, Final

from fastapi import Body
from pydantic import BaseModel

from console.api.examples import EXAMPLES
from console.shapes.confirmed import SPELLINGS

OptionalDocument = Annotated[
    dict[str, Any], Body(default_factory=dict, description="nothing is as good as an empty object")
]

COMPONENTS: Final = "#/components/schemas/"
"""Where a description keeps what several of its parts refer to."""
_REQUEST: Final = "Request"
"""How the names of requests' schemas end: answers about the same thing have others."""
_REPLACEMENT: Final = "Replacement"
"""How the names of those end whose id is in the path."""
_SECRET: Final = {
    "type": ["string", "null"],
    "writeOnly": True,
    "description": "the secret itself, which is sealed before it is stored; or env:NAME, file:/absolute/path or a "
    "sealed text. Left out, null or a mask: what is stored stays",
}
_PROVIDER: Final = {
    "type": "string",
    "enum": [*SPELLINGS.values(), *SPELLINGS],
    "description": "in any case",
}
_OF_REFERENCES: Final = "^(env:"
"""How the pattern of references to secrets begins."""


def documented(kind: type[BaseModel], *, id_in_path: bool = False) -> dict[str, Any]:
    """Give what documents a request's body: the declaration's own JSON Schema, under the name that others know it by.

    The schema brings along what it refers to (``$defs``), until :mod:`console.api.describing` has every body share it.
    """
    schema = _as_requested(kind.model_json_schema(mode="validation", ref_template=COMPONENTS + "{model}"))
    written = json.dumps(schema)
    # As requests may be, they do without some: a provider's name stands in any case.
    schema["$defs"] = {
        name: part for name, part in schema.get("$defs", {}).items() if f'"{COMPONENTS}{name}"' in written
    }
    schema["title"] = f"{kind.__name__.removesuffix(_REQUEST)}{_REPLACEMENT if id_in_path else _REQUEST}"
    content = {"schema": schema}
    if kind in EXAMPLES:
        content["example"] = EXAMPLES[kind]
    if id_in_path:
        schema["required"] = [name for name in schema["required"] if name != "id"]
    return {"requestBody": {"required": True, "content": {"application/json": content}}}


def optionally(kind: type[BaseModel]) -> dict[str, Any]:
    """Give what documents a body that may be left out."""
    documentation = documented(kind)
    return {"requestBody": {**documentation["requestBody"], "required": False}}


def _as_requested(schema: Any) -> Any:
    """Give a schema as requests may be: unknown fields are told and ignored, and secrets may stand as they are."""
    if isinstance(schema, list):
        return [_as_requested(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    secret = {name for name, part in schema.get("properties", {}).items() if _is_reference(part)}
    wide = {
        # What tells one alternative from another is that it takes no other fields.
        "anyOf" if name == "oneOf" else name: _as_requested(part)
        for name, part in schema.items()
        # Of a choice, the provider's name stands in any case, which no mapping of names to schemas can say.
        if (name, part) != ("additionalProperties", False) and name not in {"required", "discriminator"}
    }
    if secret:
        wide["properties"].update(dict.fromkeys(secret, _SECRET))
    if "service_provider" in wide.get("properties", ()):
        wide["properties"]["service_provider"] = _PROVIDER
    if required := [name for name in schema.get("required", ()) if name not in secret]:
        wide["required"] = required
    return wide


def _is_reference(schema: Any) -> bool:
    return any(str(part.get("pattern", "")).startswith(_OF_REFERENCES) for part in [schema, *schema.get("anyOf", ())])
