"""What the stand-in takes for a good event, against mParticle's own JSON Schema."""

import json
from copy import deepcopy
from typing import Any

import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from jsonschema import Draft7Validator

from sandbox.batches import flaw
from sandbox.events import EVENTS, REQUIRED
from tests.sandbox.schema_values import NAMES, SIMPLE, typed_throughout, values_of

SOME = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
WORDS = st.sampled_from([
    "purchase", "view", "other", "media", "login", "sent", "gdpr_change", "custom_event", "breadcrumb", "email",
    "action", "products", "label", "type", "identity",
])  # fmt: skip
JUNK = st.recursive(
    st.one_of(*SIMPLE.values(), st.just(0.5), WORDS),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(NAMES | WORDS, inner, max_size=2),
    max_leaves=4,
)


Validators = dict[str, Draft7Validator]


@pytest.fixture(scope="module")
def by_type(batch_schema: Draft7Validator) -> Validators:
    """What the schema says of each event type; an event is of one only, and asking all 17 takes long."""
    schema: Any = batch_schema.schema
    typed = typed_throughout(schema)
    found = {}
    for item in schema["properties"]["events"]["items"]["oneOf"]:
        (kind,) = typed["definitions"][item["$ref"].rpartition("/")[2]]["properties"]["event_type"]["enum"]
        found[kind] = Draft7Validator({**item, "definitions": typed["definitions"]})
    return found


def reason(event: object) -> str | None:
    batch = orjson.loads(orjson.dumps({"mpid": 1, "events": [event]}))
    return flaw(batch, historical=False, now_ms=0)


def accepts(validators: Validators, event: dict[str, Any]) -> bool:
    kind = event.get("event_type")
    return isinstance(kind, str) and kind in validators and bool(validators[kind].is_valid(event))


def events_of(validators: Validators, kind: str) -> st.SearchStrategy[dict[str, Any]]:
    schema: Any = validators[kind].schema
    return values_of(schema, {"$ref": schema["$ref"]})


def places(value: Any) -> list[tuple[str | int, ...]]:
    """Give the paths of everything inside a value."""
    members = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [(name, *rest) for name, member in members for rest in [(), *places(member)]]


@st.composite
def changed(draw: st.DrawFn, event: dict[str, Any]) -> dict[str, Any]:
    """Replace, remove or add something, anywhere in an event."""
    event = deepcopy(event)
    *path, name = draw(st.sampled_from(places(event)))
    parent: Any = event
    for step in path:
        parent = parent[step]
    match draw(st.sampled_from(["replace", "remove", "add"])):
        case "replace":
            parent[name] = draw(JUNK)
        case "remove":
            del parent[name]
        case _ if isinstance(parent, dict):
            parent[draw(NAMES | WORDS)] = draw(JUNK)
        case _:
            parent.append(draw(JUNK))
    return event


@pytest.mark.parametrize("kind", sorted(EVENTS))
@settings(SOME, max_examples=20)
@given(data=st.data())
def test_what_the_schema_describes_is_a_good_event(by_type: Validators, kind: str, data: st.DataObject) -> None:
    event = data.draw(events_of(by_type, kind))
    assert accepts(by_type, event)
    assert reason(event) is None


@pytest.mark.parametrize("kind", sorted(EVENTS))
@SOME
@given(data=st.data())
def test_a_changed_event_is_good_exactly_where_the_schema_says_so(
    by_type: Validators, kind: str, data: st.DataObject
) -> None:
    event = data.draw(changed(data.draw(events_of(by_type, kind))))
    assert (reason(event) is None) == accepts(by_type, event), reason(event)


def test_each_field_that_the_schema_knows_is_known_and_no_other(batch_schema: Draft7Validator) -> None:
    schema: Any = batch_schema.schema
    found = {}
    for item in schema["properties"]["events"]["items"]["oneOf"]:
        event = schema["definitions"][item["$ref"].rpartition("/")[2]]
        data = event["properties"]["data"]
        parts = [schema["definitions"]["EventData"], *data.get("allOf", ())[1:]]
        found[event["properties"]["event_type"]["enum"][0]] = (
            {name for part in parts for name in part["properties"]},
            [name for part in parts for name in part.get("required", ())],
        )
    assert found == {kind: (set(fields), list(REQUIRED[kind])) for kind, fields in EVENTS.items()}


@pytest.mark.parametrize(
    ("event", "expected"),
    [
        ("custom_event", "bad_event"),
        ({"event_type": "custom_event"}, "bad_event"),
        ({"data": {}}, "bad_event_type"),
        ({"event_type": ["opt_out"], "data": {}}, "bad_event_type"),
        ({"event_type": "first_run", "data": {}, "more": 1}, "bad_event"),
        ({"event_type": "uninstall", "data": {}, "more": 1}, None),
        ({"event_type": "custom_event", "data": {"event_name": "a"}}, "no_event_custom_event_type"),
        ({"event_type": "screen_view", "data": {"screen_name": 1}}, "bad_event_screen_name"),
        ({"event_type": "opt_out", "data": {"is_opted_out": None, "anything": [1]}}, None),
        ({"event_type": "uninstall", "data": {"location": {"latitude": 1}}}, "bad_event_location"),
        ({"event_type": "commerce_event", "data": {"product_action": {"products": []}}}, "bad_event_product_action"),
        (
            {
                "event_type": "crash_report",
                "data": {"severity": 1, "message": 2, "breadcrumbs": [{"event_type": "first_run", "data": {}}]},
            },
            "bad_event_breadcrumbs",
        ),
    ],
    ids=json.dumps,
)
def test_the_reason_names_the_field_of_an_event(event: object, expected: str | None) -> None:
    assert reason(event) == expected
