"""Every destination that can be mapped is sent where mParticle's schema has it."""

import json
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest
from jsonschema import Draft7Validator

from shared.columns import JSON
from shared.ledger import RejectCode
from shared.mapping.destinations import ValueType
from shared.mapping.event_fields import EVENT_TYPES
from shared.mapping.paths import Place, find
from shared.mapping.plan import MappingPlan
from shared.mapping.tree import Entries, Field, Keys, merged
from tests.shared.mapping.events import compiled
from tests.shared.mapping.test_compile_events import FREE, TYPES, mapped_with_its_needs
from worker.mparticle.check import Checks
from worker.mparticle.encode import Encoder

VALUES: dict[ValueType, Any] = {
    ValueType.STRING: "somebody",
    ValueType.UUID: "9a8c0e54-7f1b-4c5e-9d3a-0123456789ab",
    ValueType.INT64: -(2**63),
    ValueType.ATTRIBUTE: ["a", "b"],
    ValueType.SCALAR: 1.5,
    ValueType.TEXT: 'Zoë "x"',
    ValueType.NUMBER: Decimal("1.25"),
    ValueType.BOOLEAN: True,
    ValueType.EPOCH_MS: datetime(2024, 1, 1, tzinfo=UTC),
    ValueType.IP: "2001:db8::1",
    ValueType.TEXTS: ["a"],
}
SENT = {ValueType.NUMBER: 1.25, ValueType.EPOCH_MS: 1_704_067_200_000}
D38 = pa.decimal128(38, 0)


def accepted_at(path: str, event_type: str) -> Field | Entries:
    place = find(path)
    assert isinstance(place, Place)
    return merged({event_type: place.by_type[event_type]})


def sent(node: Field | Entries) -> Any:
    """Give what is sent of the values that ``column_of`` makes."""
    if isinstance(node, Entries):
        named = {name: part for name, part in node.of.fields.items() if isinstance(part, Field | Entries)}
        free = {name: {"a b": "c"} for name, part in node.of.fields.items() if isinstance(part, Keys)}
        return [{**{name: sent(part) for name, part in named.items()}, **free}]
    return node.choices[0] if node.choices else SENT.get(node.value, VALUES[node.value])


def column_of(node: Field | Entries) -> Any:
    if isinstance(node, Entries):
        return pa.ExtensionArray.from_storage(JSON, pa.array([json.dumps(sent(node))]))
    return pa.array([node.choices[0] if node.choices else VALUES[node.value]], TYPES.get(node.value))


@pytest.mark.parametrize("is_static", [True, False])
@pytest.mark.parametrize("text", FREE)
def test_every_destination_is_sent_as_mparticle_has_it(
    batch_schema: Draft7Validator, text: str, *, is_static: bool
) -> None:
    place = find(text)
    assert isinstance(place, Place)
    for event_type in place.by_type if len(place.by_type) < len(EVENT_TYPES) else ("session_start",):
        mappings = {} if text == "user_identities.email" else mapped_with_its_needs(text, event_type)
        columns = {name: column_of(accepted_at(path or "", event_type)) for name, path in mappings.items()}
        if is_static:
            mappings[f"static {event_type}"] = "events.event_type"
        else:
            mappings["kind"] = "events.event_type"
            columns["kind"] = pa.array([event_type])
        plan = compiled([(name, column.type) for name, column in columns.items()], mappings)
        table = pa.table({"email": ["somebody"], **columns})
        encoded = Encoder(plan, checks=Checks()).encode(table, chunk_id="c")
        assert encoded.rejects == ()
        batch = json.loads(bytes(encoded.data).removesuffix(b","))
        assert list(batch_schema.iter_errors(batch)) == []
        assert batch["events"][0]["event_type"] == event_type
        for name in place.path:
            batch = batch[name]
        assert batch == sent(accepted_at(text, event_type))


@pytest.mark.parametrize(
    ("destination", "value", "becomes"),
    [
        ("timestamp_unixtime_ms", Decimal(1_700_000_000_000), 1_700_000_000_000),
        ("timestamp_unixtime_ms", Decimal(10**30), None),
        ("event_num", Decimal(7), 7),
        ("is_goal_defined", Decimal(1), True),
        ("is_goal_defined", Decimal(0), False),
        ("is_goal_defined", Decimal(2), None),
        ("is_goal_defined", Decimal(10**30), None),
    ],
)
def test_snowflakes_integers_are_integers(destination: str, value: Decimal, becomes: object) -> None:
    plan = compiled([("n", D38)], {"n": f"events.data.{destination}", "static first_run": "events.event_type"})
    table = pa.table({"email": ["x", "y"], "n": pa.array([value, None], D38)})
    encoded = Encoder(plan, checks=Checks()).encode(table, chunk_id="c")
    assert [reject.row for reject in encoded.rejects] == ([0] if becomes is None else [])
    first, *rest = json.loads(b"[" + bytes(encoded.data).removesuffix(b",") + b"]")
    if becomes is None:
        assert first["events"][0]["data"] == {}
    else:
        assert first["events"][0]["data"] == {destination: becomes}
        assert rest[0]["events"][0]["data"] == {}


@pytest.mark.parametrize(
    ("said", "becomes"),
    [
        (
            '{"size": "L", "n": 1.50, "new": true, "é\\".": "", "gone": null}',
            {"size": "L", "n": "1.50", "new": "true", 'é".': ""},
        ),
        ("{}", {}),
        ("null", None),
        ('{"size": {"eu": 40}}', "refused"),
        ('{"size": [40]}', "refused"),
        ('"L"', "refused"),
        ("[]", "refused"),
    ],
)
def test_json_names_the_custom_attributes_of_its_products(said: str, becomes: object) -> None:
    plan = compiled(
        [("items", JSON)],
        {
            "items": "events.data.product_action.products",
            "static purchase": "events.data.product_action.action",
            "static commerce_event": "events.event_type",
        },
    )
    assert MappingPlan.from_json(json.loads(json.dumps(plan.to_json()))) == plan
    items = pa.array([f'[{{"id": "1", "custom_attributes": {said}}}, {{"id": "2"}}]'])
    table = pa.table({"email": ["x"], "items": pa.ExtensionArray.from_storage(JSON, items)})
    encoded = Encoder(plan, checks=Checks()).encode(table, chunk_id="c")
    if becomes == "refused":
        assert [reject.code for reject in encoded.rejects] == [RejectCode.INVALID_OBJECT]
        return
    batch = json.loads(bytes(encoded.data).removesuffix(b","))
    first, second = batch["events"][0]["data"]["product_action"]["products"]
    assert first == {"id": "1"} | ({} if becomes is None else {"custom_attributes": becomes})
    assert second == {"id": "2"}
