"""The table of destinations says what mParticle's own schema says."""

from collections.abc import Iterator
from typing import Any

import pytest
from jsonschema import Draft7Validator

from shared.mapping.batch_fields import BATCH, UNSETTABLE
from shared.mapping.commerce_fields import COMMERCE_NEEDS_ONE_OF
from shared.mapping.destinations import RESERVED, ValueType
from shared.mapping.event_fields import EVENT_TYPES, EVENTS
from shared.mapping.tree import Entries, Field, Group, Keys, Node, PerType

ANY_SCALAR = {"string", "boolean", "integer", "number"}
JSON_TYPES = {
    ValueType.STRING: "string",
    ValueType.UUID: "string",
    ValueType.INT64: "integer",
    ValueType.ATTRIBUTE: "string",
    ValueType.SCALAR: "string",
    ValueType.TEXT: "string",
    ValueType.NUMBER: "number",
    ValueType.BOOLEAN: "boolean",
    ValueType.EPOCH_MS: "integer",
    ValueType.IP: "string",
    ValueType.CHOICE: "string",
    ValueType.TEXTS: "array",
}
NEEDED_BEYOND_THE_SCHEMA = {"events.event_type"}
"""Of the schema, an event's type is in each of its alternatives."""


class Schema:
    """mParticle's schema, to be walked as the table is."""

    def __init__(self, validator: Draft7Validator) -> None:
        assert isinstance(validator.schema, dict)
        self._whole: dict[str, Any] = validator.schema

    def batch(self) -> dict[str, Any]:
        return self._whole

    def plain(self, node: dict[str, Any]) -> dict[str, Any]:
        """Give what a node refers to, with the parts of an ``allOf`` as one."""
        while "$ref" in node:
            beside = {key: value for key, value in node.items() if key != "$ref"}
            node = {**self._whole["definitions"][node["$ref"].rpartition("/")[2]], **beside}
        if "allOf" not in node:
            return node
        parts = [self.plain(part) for part in node["allOf"]]
        return {
            "properties": {name: part for one in parts for name, part in one.get("properties", {}).items()},
            "required": [name for one in parts for name in one.get("required", [])],
        }

    def events(self) -> dict[str, dict[str, Any]]:
        """Event type to its data."""
        kinds = [self.plain(one) for one in self._whole["properties"]["events"]["items"]["oneOf"]]
        return {kind["properties"]["event_type"]["enum"][0]: self.plain(kind["properties"]["data"]) for kind in kinds}


def types_of(node: dict[str, Any]) -> set[str]:
    found = node.get("type", [])
    return {found} if isinstance(found, str) else set(found)


def differences(schema: Schema, node: Node, theirs: dict[str, Any], path: str) -> Iterator[str]:
    """Say where a node of the table and its node of the schema are not the same."""
    theirs = schema.plain(theirs)
    match node:
        case Field():
            yield from of_field(schema, node, theirs, path)
        case Group(fields=fields, required=required):
            known = set(theirs.get("properties", {}))
            unsettable = {name for name in known if f"{path}.{name}".removeprefix(".") in UNSETTABLE}
            if set(fields) != known - unsettable:
                yield f"{path}: ours {set(fields) - known}, theirs {known - unsettable - set(fields)}"
            if set(required) != set(theirs.get("required", [])) and path not in NEEDED_BEYOND_THE_SCHEMA:
                yield f"{path}: needs {required}, theirs {theirs.get('required')}"
            for name in set(fields) & known:
                yield from differences(schema, fields[name], theirs["properties"][name], f"{path}.{name}")
        case Keys(of=of):
            yield from differences(schema, of, theirs["additionalProperties"], f"{path}.*")
        case Entries(of=of):
            if "array" not in types_of(theirs):
                yield f"{path}: is no list"
            yield from differences(schema, of, theirs["items"], path)
        case PerType():
            raise AssertionError("events are compared one by one")


def of_field(schema: Schema, field: Field, theirs: dict[str, Any], path: str) -> Iterator[str]:
    choices = [schema.plain(one) for key in ("anyOf", "oneOf") for one in theirs.get(key, [])]
    accepted = types_of(theirs) | {kind for one in choices for kind in types_of(one)}
    if JSON_TYPES[field.value] not in accepted:
        yield f"{path}: {field.value} is none of {accepted}"
    if set(field.choices) != set(theirs.get("enum", [])):
        yield f"{path}: other words {set(field.choices) ^ set(theirs.get('enum', []))}"
    if field.value is ValueType.SCALAR and not accepted >= ANY_SCALAR:
        yield f"{path}: no scalar but {accepted}"
    if field.value is ValueType.ATTRIBUTE and not accepted >= {*ANY_SCALAR, "array"}:
        yield f"{path}: no attribute but {accepted}"
    if ("uuid" in field.value) != ("pattern" in theirs):
        yield f"{path}: a UUID or not"
    if (field.value is ValueType.IP) != any("format" in one for one in choices):
        yield f"{path}: an address or not"
    is_instant = path.endswith(("_unixtime_ms", "added_to_cart_time_ms"))
    if (field.value is ValueType.EPOCH_MS) != is_instant:
        yield f"{path}: an instant or not"


def test_the_batch_is_mparticles(batch_schema: Draft7Validator) -> None:
    assert isinstance(BATCH.fields["events"], Entries)
    but_events = Group({name: node for name, node in BATCH.fields.items() if name != "events"})
    theirs = Schema(batch_schema).batch()
    theirs = {**theirs, "properties": {name: one for name, one in theirs["properties"].items() if name != "events"}}
    assert list(differences(Schema(batch_schema), but_events, theirs, "")) == []


def test_all_of_mparticles_event_types_are_there(batch_schema: Draft7Validator) -> None:
    assert set(EVENT_TYPES) == set(Schema(batch_schema).events())
    assert len(EVENT_TYPES) == 17


@pytest.mark.parametrize("event_type", EVENT_TYPES)
def test_an_event_of_each_type_is_mparticles(batch_schema: Draft7Validator, event_type: str) -> None:
    schema = Schema(batch_schema)
    found = list(differences(schema, EVENTS[event_type], schema.events()[event_type], "events.data"))
    assert found == []


def test_what_no_mapping_may_fill_is_a_field_of_mparticles_or_of_its_past(batch_schema: Draft7Validator) -> None:
    schema = Schema(batch_schema)
    theirs = set(schema.batch()["properties"])
    theirs |= {f"events.data.{name}" for data in schema.events().values() for name in data["properties"]}
    assert set(UNSETTABLE) - theirs == {"schema_version"}


def test_a_commerce_event_needs_one_of_three() -> None:
    assert EVENTS["commerce_event"].any_of == COMMERCE_NEEDS_ONE_OF
    assert [name for name, group in EVENTS.items() if group.any_of] == ["commerce_event"]


def test_what_identifies_a_user_pipelines_rows_identifies_those_of_events() -> None:
    for found in set(RESERVED.values()):
        node: Node = BATCH
        for name in found.path:
            assert isinstance(node, Group)
            node = node.fields[name]
        assert node == Field(found.value, is_identity=True)
