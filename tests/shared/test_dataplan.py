"""A document either is a data plan, or is refused with the path of what is wrong."""

from copy import deepcopy
from typing import Any

import pytest
from pydantic import ValidationError

from shared.dataplan import DOCUMENT_MAX_BYTES, DataPlan, MatchType, OnViolation

PURCHASE: dict[str, Any] = {
    "description": "somebody bought something",
    "match": {
        "type": "custom_event",
        "criteria": {"event_name": "purchase_done", "custom_event_type": "transaction"},
    },
    "validator": {
        "type": "json_schema",
        "definition": {
            "$schema": "https://json-schema.org/draft/2019-09/schema#",
            "properties": {
                "data": {"properties": {"custom_attributes": {"properties": {"price": {"type": "number"}}}}}
            },
        },
    },
}
USER: dict[str, Any] = {
    "match": {"type": "user_attributes", "criteria": {}},
    "validator": {"type": "json_schema", "definition": {"additionalProperties": False, "properties": {"plan": {}}}},
}


def _document(*points: dict[str, Any]) -> dict[str, Any]:
    return {"data_points": [deepcopy(point) for point in points or (PURCHASE, USER)]}


def _refusal(document: Any) -> str:
    with pytest.raises(ValidationError) as refused:
        DataPlan.model_validate({"document": document})
    (error,) = refused.value.errors(include_input=False)
    assert error["loc"] == ("document",)
    return error["msg"]


def test_a_plan_is_read_whatever_is_wrapped_around_its_version() -> None:
    document = _document()
    version = {"version": 3, "version_document": document, "activated_environment": "none"}
    whole = {"data_plan_id": "shop", "data_plan_versions": [version]}
    read = [DataPlan(document=form).points for form in (document, version, whole)]
    assert read[0] == read[1] == read[2]
    assert [(point.match, point.criteria) for point in read[0]] == [
        (MatchType.CUSTOM_EVENT, ("purchase_done", "transaction")),
        (MatchType.USER_ATTRIBUTES, ()),
    ]


def test_violations_are_counted_unless_it_is_said_that_they_are_rejected() -> None:
    assert DataPlan(document=_document()).on_violation is OnViolation.WARN


def test_a_plan_comes_back_from_the_store_as_it_was_declared() -> None:
    plan = DataPlan(document=_document(), on_violation=OnViolation.REJECT)
    assert DataPlan.model_validate(plan.model_dump(mode="json")) == plan


def _changed(path: tuple[str | int, ...], value: Any) -> dict[str, Any]:
    document = _document()
    node: Any = document
    for step in path[:-1]:
        node = node[step]
    node[path[-1]] = value
    return document


@pytest.mark.parametrize(
    ("document", "said"),
    [
        ({}, "data_points: missing"),
        ({"version_document": {}}, "version_document.data_points: missing"),
        ({"data_plan_versions": []}, "the plan has 0 versions; give the one that is meant"),
        ({"data_points": {}}, "data_points: expected a list"),
        ({"data_points": ["x"]}, "data_points.0: expected an object"),
        (_changed(("data_points", 0, "match"), {}), "data_points.0.match.type: missing"),
        (
            _changed(("data_points", 0, "match", "type"), "custom_events"),
            "data_points.0.match.type: 'custom_events' is no type of data point; the nearest is 'custom_event'",
        ),
        (
            _changed(("data_points", 0, "match", "criteria"), {"event_name": "x"}),
            "data_points.0.match.criteria.custom_event_type: missing",
        ),
        (
            _changed(("data_points", 1, "validator", "type"), "regex"),
            "data_points.1.validator.type: expected json_schema",
        ),
        (
            _changed(("data_points", 1, "validator", "definition", "properties"), {"plan": {"type": "text"}}),
            "data_points.1.validator.definition.properties.plan.type: it is no JSON Schema",
        ),
        (
            _changed(("data_points", 1, "validator", "definition", "properties"), {"plan": {"pattern": "("}}),
            "data_points.1.validator.definition.properties.plan.pattern: it is no JSON Schema",
        ),
        (
            _changed(("data_points", 1, "validator", "definition"), {"properties": {"a": {"$ref": "http://x/y"}}}),
            "data_points.1.validator.definition.properties.a.$ref: references are not supported",
        ),
        (_document(USER, USER), "data_points.1: another data point before has the same match"),
        ({"data_points": [], "x": {1: 2}}, "it is no JSON"),
        ({"data_points": [], "x": "\0"}, "it holds U+0000"),
        ({"data_points": [], "x": "x" * DOCUMENT_MAX_BYTES}, "a plan has 1,000,000 at most"),
    ],
)
def test_what_is_no_plan_is_refused_by_its_path(document: Any, said: str) -> None:
    assert said in _refusal(document)


def test_a_schema_that_is_nested_without_end_is_refused() -> None:
    schema: dict[str, Any] = {}
    for _ in range(400):
        schema = {"properties": {"a": schema}}
    said = _refusal(_changed(("data_points", 1, "validator", "definition"), schema))
    assert "nested too deeply" in said or "no JSON" in said


def test_a_pattern_may_speak_of_a_character_that_a_plan_cannot_hold() -> None:
    properties = {"plan": {"pattern": "^[^\\u0000]*$"}}
    plan = DataPlan(document=_changed(("data_points", 1, "validator", "definition"), {"properties": properties}))
    assert plan.points[1].definition == {"properties": properties}


def test_a_property_may_be_named_like_a_keyword() -> None:
    properties = {"$ref": {"type": "string"}, "properties": {"type": "string"}, "$id": {}}
    point = DataPlan(document=_changed(("data_points", 1, "validator", "definition"), {"properties": properties}))
    assert point.points[1].definition == {"properties": properties}
