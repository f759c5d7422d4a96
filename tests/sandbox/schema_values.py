"""Random values that a JSON Schema accepts, for as much of draft-07 as mParticle's own schema uses."""

import string
from collections.abc import Mapping
from copy import deepcopy
from typing import Any

from hypothesis import strategies as st

NAMES = st.text(min_size=1, max_size=6)
SIMPLE: dict[str, st.SearchStrategy[Any]] = {
    "null": st.none(),
    "boolean": st.booleans(),
    "integer": st.integers(-(2**53), 2**53) | st.just(7.0),
    "number": st.integers(-(2**53), 2**53) | st.floats(-1e9, 1e9),
    "string": st.text(st.characters(exclude_categories=["Cs"]), max_size=6),
}
UUIDS = st.uuids().map(str) | st.uuids().map(lambda uuid: str(uuid).upper())
ADDRESSES = {"ipv4": st.ip_addresses(v=4).map(str), "ipv6": st.ip_addresses(v=6).map(str)}


def typed_throughout(schema: Mapping[str, Any]) -> dict[str, Any]:
    """Give a schema in which what is described by its properties also has to be an object, or null.

    mParticle's says so of a few objects only, and lets any text stand for the others; a batch with text for its
    location is hardly what it means.
    """
    typed = deepcopy(dict(schema))
    for name, definition in typed["definitions"].items():
        if "properties" in definition:
            definition.setdefault("type", "object" if name == "EventData" else ["object", "null"])
    return typed


def values_of(schema: Mapping[str, Any], node: Mapping[str, Any]) -> st.SearchStrategy[Any]:
    """Give a strategy for what one node of the schema accepts."""
    if "$ref" in node:
        name = node["$ref"].rpartition("/")[2]
        # Deferred, because definitions may hold each other; words beside a reference do not count in draft-07.
        return st.deferred(lambda: values_of(schema, schema["definitions"][name]))
    if "enum" in node:
        return st.sampled_from(node["enum"])
    if "allOf" in node:
        return values_of(schema, _joined([_resolved(schema, part) for part in node["allOf"]]))
    for choice in ("oneOf", "anyOf"):
        if choice in node:
            return st.one_of([values_of(schema, part) for part in node[choice]])
    kinds = node.get("type", "object")
    return st.one_of([_of_type(schema, node, kind) for kind in ([kinds] if isinstance(kinds, str) else kinds)])


def _of_type(schema: Mapping[str, Any], node: Mapping[str, Any], kind: str) -> st.SearchStrategy[Any]:
    match kind:
        case "array":
            return st.lists(values_of(schema, node["items"]), max_size=2)
        case "object":
            return _objects(schema, node)
        case "string" if "pattern" in node:
            return UUIDS
        case "string" if "format" in node:
            return ADDRESSES[node["format"]]
        case _:
            return SIMPLE[kind]


def _objects(schema: Mapping[str, Any], node: Mapping[str, Any]) -> st.SearchStrategy[dict[str, Any]]:
    fields = {name: values_of(schema, field) for name, field in node.get("properties", {}).items()}
    required = set(node.get("required", ()))
    known = st.fixed_dictionaries(
        {name: field for name, field in fields.items() if name in required},
        optional={name: field for name, field in fields.items() if name not in required},
    )
    match node.get("additionalProperties", True):
        case False:
            return known
        case True:
            # No schema's own names, or a value would have to be what that field accepts.
            more = st.dictionaries(st.text(string.digits, min_size=1, max_size=3), SIMPLE["string"], max_size=1)
        case others:
            more = st.dictionaries(NAMES, values_of(schema, others), max_size=2)
    return st.builds(lambda some, others: {**others, **some}, known, more)


def _resolved(schema: Mapping[str, Any], node: Mapping[str, Any]) -> Mapping[str, Any]:
    return _resolved(schema, schema["definitions"][node["$ref"].rpartition("/")[2]]) if "$ref" in node else node


def _joined(parts: list[Mapping[str, Any]]) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": {name: field for part in parts for name, field in part.get("properties", {}).items()},
        "required": [name for part in parts for name in part.get("required", ())],
    }
