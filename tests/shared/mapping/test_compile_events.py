import json
from typing import Any

import pyarrow as pa
import pytest

from shared.catalog import Environment, NullPolicy
from shared.columns import JSON
from shared.errors import DeclarationInvalid, MappingRefused
from shared.mapping.batch_fields import UNSETTABLE
from shared.mapping.compile_events import compile_event_mapping, require_sound
from shared.mapping.destinations import ValueType
from shared.mapping.event_fields import EVENT_TYPES, EVENTS
from shared.mapping.meanings import why_not
from shared.mapping.paths import Place, dotted, find, templates
from shared.mapping.plan import EVENT, EVENT_DATA, Constant, Leaf, MappingPlan, Need, Needed
from shared.mapping.tree import Entries, Field, merged
from shared.transformation import FieldMapping, FieldTransformation, MappingType
from tests.shared.mapping.events import SESSION_START, Mapped, compiled, reasons, static, transformation

TYPES: dict[ValueType, Any] = {
    ValueType.STRING: pa.string(),
    ValueType.UUID: pa.string(),
    ValueType.INT64: pa.int64(),
    ValueType.ATTRIBUTE: pa.list_(pa.string()),
    ValueType.SCALAR: pa.float64(),
    ValueType.TEXT: pa.string(),
    ValueType.NUMBER: pa.decimal128(10, 2),
    ValueType.BOOLEAN: pa.bool_(),
    ValueType.EPOCH_MS: pa.timestamp("us", "UTC"),
    ValueType.IP: pa.string(),
    ValueType.CHOICE: pa.string(),
    ValueType.TEXTS: pa.list_(pa.string()),
}
FREE = [path for path in map(".".join, templates()) if path not in ("environment", "events.event_type")]
CUSTOM: Mapped = {"static custom_event": "events.event_type", "static other": "events.data.custom_event_type"}


def mapped_with_its_needs(text: str, event_type: str) -> Mapped:
    """Map a field, and what the objects around it and its event need, each to a column of its own."""
    wanted: list[str] = [text]
    found: Mapped = {}
    group = EVENTS[event_type]
    wanted += [f"events.data.{name}" for name in (*group.required, *group.any_of[:1])]
    while wanted:
        path = wanted.pop(0)
        place = find(path)
        if any(other == path or f"{other}.".startswith(f"{path}.") for other in found.values()):
            continue
        if not isinstance(place, Place) or event_type not in place.by_type:
            needed = {"product_action": "action", "new": "identity", "old": "identity"}[path.rpartition(".")[2]]
            wanted.append(f"{path}.{needed}")
            continue
        found[f"c{len(found)}"] = path
        wanted += [f"{dotted(one.path)}.{name}" for one in place.enclosing for name in one.group.required]
    return found


@pytest.mark.parametrize("text", FREE)
def test_every_destination_compiles_with_what_it_needs(text: str) -> None:
    place = find(text)
    assert isinstance(place, Place)
    for event_type in place.by_type if len(place.by_type) < len(EVENT_TYPES) else ("session_start",):
        mappings = mapped_with_its_needs(text, event_type)
        columns = []
        for name, path in mappings.items():
            at = find(path or "")
            assert isinstance(at, Place)
            node = merged({event_type: at.by_type[event_type]})
            columns.append((name, JSON if isinstance(node, Entries) else TYPES[node.value]))
        if text == "user_identities.email":
            mappings, columns = {}, []
        plan = compiled(columns, {**mappings, f"static {event_type}": "events.event_type"})
        by_path = {dotted(leaf.path): leaf for leaf in plan.leaves}
        node = merged({event_type: place.by_type[event_type]})
        assert by_path[text].value is (ValueType.OBJECTS if isinstance(node, Entries) else node.value)
        assert by_path[text].event_types == ()
        assert MappingPlan.from_json(json.loads(json.dumps(plan.to_json()))) == plan


def test_a_row_becomes_one_event_of_its_user() -> None:
    plan = compiled(
        [("name", pa.string()), ("at", pa.timestamp("us")), ("colour", pa.string()), ("note", pa.string())],
        {
            "name": "$.events[0].data.event_name",
            "AT": "events.data.timestamp_unixtime_ms",
            "colour": "events.data.custom_attributes.favourite colour",
            "note": None,
            **CUSTOM,
        },
        iterator="at",
    )
    assert plan.leaves == (
        Leaf("email", ("user_identities", "email"), ValueType.STRING, is_identity=True),
        Leaf("name", (*EVENT_DATA, "event_name"), ValueType.TEXT),
        Leaf("at", (*EVENT_DATA, "timestamp_unixtime_ms"), ValueType.EPOCH_MS),
        Leaf("colour", (*EVENT_DATA, "custom_attributes", "favourite colour"), ValueType.SCALAR),
    )
    assert plan.constants == (
        Constant(("environment",), "production"),
        Constant((*EVENT, "event_type"), "custom_event"),
        Constant((*EVENT_DATA, "custom_event_type"), "other"),
    )
    assert plan.needs == (Need(EVENT_DATA, ("custom_event_type", "event_name")),)
    assert plan.has_events


def test_all_columns_that_no_mapping_covers_are_listed_but_the_iterator() -> None:
    columns = [("a", pa.int8()), ("b", pa.int8()), ("at", pa.timestamp("us"))]
    (reason,) = reasons(columns, SESSION_START, iterator="AT")
    assert reason.startswith("no mapping covers column 'a', 'b': map it, or leave it out")
    assert "'at'" in reasons(columns, SESSION_START)[0]


def test_a_column_may_go_to_two_fields() -> None:
    plan = compiled(
        [("id", pa.string())], {"id": "user_identities.customer_id", **SESSION_START}, copy("id", "user_attributes.id")
    )
    assert [leaf.column for leaf in plan.leaves] == ["email", "id", "id"]


def copy(source: str, destination: str) -> FieldMapping:
    return FieldMapping(mapping_type=MappingType.COLUMN, source=source, destination=destination)


def test_a_column_that_the_query_does_not_return_is_told_with_the_nearest() -> None:
    assert reasons([("colour", pa.string())], {"color": "user_attributes.c", "colour": None, **SESSION_START}) == [
        "the query has no column 'color'; the nearest that it has is 'colour'"
    ]


def test_case_counts_only_between_columns_that_differ_in_nothing_else() -> None:
    columns = [("Level", pa.int8()), ("level", pa.int8())]
    both: Mapped = {"Level": "user_attributes.L", "level": "user_attributes.l", **SESSION_START}
    assert [leaf.column for leaf in compiled(columns, both).leaves] == ["email", "Level", "level"]
    assert (
        "column 'LEVEL' may be any of 'Level', 'level'; spell it"
        in reasons(columns, {"LEVEL": "user_attributes.l", "Level": None, "level": None, **SESSION_START})[0]
    )


def test_a_destination_that_does_not_exist_is_told_with_the_nearest() -> None:
    assert reasons([("a", pa.string())], {"a": "events.data.event_nam", **SESSION_START}) == [
        (
            "column 'a': its destination 'events.data.event_nam' does not exist; the nearest that does is "
            "'events.data.event_name'"
        )
    ]
    (reason,) = reasons([], {"static x": "userattributes.a", **SESSION_START})
    assert reason.startswith("the static value: its destination 'userattributes.a' does not exist")


@pytest.mark.parametrize("path", UNSETTABLE)
def test_what_others_set_cannot_be_mapped(path: str) -> None:
    (reason,) = reasons([("a", pa.string())], {"a": path, **SESSION_START})
    assert f"{path!r} cannot be mapped: {UNSETTABLE[path]}" in reason


def test_two_claims_on_one_field_are_refused() -> None:
    columns = [("a", pa.string()), ("b", pa.string())]
    mappings: Mapped = {
        "a": "user_attributes.x",
        "b": "$.user_attributes.x",
        "static 1": "user_attributes.x",
        **SESSION_START,
    }
    assert reasons(columns, mappings) == [
        (
            "column 'a' (string), column 'b' (string), the static value all go to 'user_attributes.x'; keep one of "
            "these mappings"
        )
    ]


def test_a_list_is_filled_as_a_whole_or_by_its_fields() -> None:
    (reason,) = reasons(
        [("items", JSON), ("sku", pa.string())],
        {
            "items": "events.data.product_action.products",
            "sku": "events.data.product_action.products.id",
            "static purchase": "events.data.product_action.action",
            "static commerce_event": "events.event_type",
        },
    )
    assert "column 'sku' (string) to 'events.data.product_action.products.id' and column 'items'" in reason
    assert "one is inside of the other" in reason


def test_a_column_is_mapped_or_ignored() -> None:
    (reason,) = reasons(
        [("a", pa.string())],
        {"a": "user_attributes.a", **SESSION_START},
        FieldMapping(mapping_type="ignore", source="A"),
    )
    assert reason == "column 'a' is mapped and ignored; remove one of these mappings"


def test_events_without_type_or_owner_are_refused() -> None:
    with pytest.raises(MappingRefused) as refused:
        compile_event_mapping(
            pa.schema([("a", pa.string())]),
            transformation({"a": "user_attributes.a"}),
            environment=Environment.PRODUCTION,
            on_null=NullPolicy.OMIT,
            iterator=None,
        )
    assert "field transformation 'events'" in str(refused.value)
    assert "no mapping says of what type the events are: map a column or a static value to events.event_type" in str(
        refused.value
    )
    assert "no column is an identity" in str(refused.value)


@pytest.mark.parametrize(
    ("destination", "value", "reason"),
    [
        ("events.event_type", "purchase", "'purchase' is none of the words custom_event, "),
        ("events.data.timestamp_unixtime_ms", "now", "a string was given, a whole number, of milliseconds"),
        ("events.data.event_num", True, "a boolean was given, a whole number"),
        ("events.data.lifetime_value_change", "1.5", "a string was given, a number is expected"),
        ("events.data.is_goal_defined", 1, "a number was given, true or false is expected"),
        ("events.data.canonical_name", 7, "a number was given, a string"),
        ("events.data.session_uuid", "7", "a UUID is expected"),
        ("ip", "1.2.3", "an IPv4 or IPv6 address is expected"),
        ("device_info.platform", "ios", "xbox; the nearest is 'iOS'"),
        ("deleted_user_attributes", "a", "a static value is no list"),
        ("user_identities.customer_id", "7", "a static identity would give every row to one person"),
        ("mpid", 7, "a static identity would give every row to one person"),
    ],
)
def test_a_static_value_of_the_wrong_type_is_refused(destination: str, value: Any, reason: str) -> None:
    kind: Mapped = {} if destination == "events.event_type" else SESSION_START
    (found,) = reasons([], {**kind}, static(destination, value))
    assert found.startswith(f"the static value to {destination!r}: ")
    assert reason in found


@pytest.mark.parametrize(
    ("destination", "value"),
    [
        ("user_attributes.a", 1.5),
        ("events.data.custom_attributes.a", False),
        ("events.data.custom_attributes.a", ""),
        ("events.data.lifetime_value_change", 3),
        ("events.data.event_num", -(2**63)),
        ("events.data.session_uuid", "9A8C0e54-7f1b-4c5e-9d3a-0123456789ab"),
        ("ip", "2001:db8::1"),
        ("device_info.platform", "iOS"),
    ],
)
def test_a_static_value_stands_in_every_batch(destination: str, value: Any) -> None:
    place = find(destination)
    assert isinstance(place, Place)
    assert Constant(place.path, value) in compiled([], SESSION_START, static(destination, value)).constants


def test_the_environment_is_the_pipelines() -> None:
    assert compiled([], SESSION_START, static("environment", "production")) == compiled([], SESSION_START)
    for other in (
        reasons([], SESSION_START, static("environment", "development")),
        reasons([("env", pa.string())], {"env": "environment", **SESSION_START}),
    ):
        assert "set the pipeline's environment" in other[0]
        assert len(other) == 1


def test_what_events_of_the_one_type_need_must_be_mapped() -> None:
    assert reasons([], {"static custom_event": "events.event_type"}) == [
        "these events need events.data.custom_event_type, events.data.event_name: map a column or a static value to it"
    ]


def test_fields_of_other_events_than_those_are_refused() -> None:
    (reason,) = reasons([("a", pa.string())], {"a": "events.data.screen_name", **SESSION_START})
    assert "screen_view, commerce_event events have that, and these are session_start events" in reason


def test_a_column_of_event_types_makes_fields_count_for_their_events() -> None:
    plan = compiled(
        [("type", pa.string()), ("name", pa.string()), ("kind", pa.string()), ("at", pa.date32())],
        {
            "type": "events.event_type",
            "name": "events.data.screen_name",
            "kind": "events.data.custom_event_type",
            "at": "events.data.timestamp_unixtime_ms",
        },
        static("events.data.is_opted_out", value=True),
    )
    _, kind, name, custom, at = plan.leaves
    assert kind.choices == EVENT_TYPES
    assert name.event_types == ("screen_view", "commerce_event")
    assert custom.event_types == ("custom_event", "commerce_event")
    assert "purchase" not in custom.choices
    assert at.event_types == ()
    assert Constant((*EVENT_DATA, "is_opted_out"), value=True, event_types=("opt_out",)) in plan.constants
    assert Need(EVENT, ("event_type",)) in plan.needs
    assert Need(EVENT_DATA, ("custom_event_type", "event_name"), event_types=("custom_event",)) in plan.needs
    assert (
        Need(
            EVENT_DATA,
            ("product_action", "promotion_action", "product_impressions"),
            Needed.ANY,
            event_types=("commerce_event",),
        )
        in plan.needs
    )


@pytest.mark.parametrize(
    ("destination", "object_path", "absent"),
    [
        ("events.data.product_action.products.id", "events.data.product_action", "action"),
        ("events.data.promotion_action.promotions.id", "events.data.promotion_action", "action"),
        ("events.data.product_impressions.products.id", "events.data.product_impressions", "product_impression_list"),
        ("events.data.product_impressions.product_impression_list", "events.data.product_impressions", "products"),
        ("events.data.location.latitude", "events.data.location", "longitude"),
        ("context.location.longitude", "context.location", "latitude"),
        ("context.data_plan.plan_version", "context.data_plan", "plan_id"),
        ("consent_state.gdpr.a.b.consented", "consent_state.gdpr.a.b", "timestamp_unixtime_ms"),
        ("attribution_info.publisher", "attribution_info", "service_provider"),
        ("events.data.new.identity", "events.data.new", "identity_type"),
    ],
)
def test_part_of_an_object_without_what_it_needs_is_refused(destination: str, object_path: str, absent: str) -> None:
    place = find(destination)
    assert isinstance(place, Place)
    event_type = next(iter(place.by_type))
    node = place.by_type[event_type]
    assert isinstance(node, Field)
    found = reasons([("a", TYPES[node.value])], {"a": destination, f"static {event_type}": "events.event_type"})
    (reason,) = [reason for reason in found if reason.startswith(f"{object_path} is mapped in part")]
    assert f"{object_path}.{absent}" in reason
    also = reasons([("t", pa.string()), ("a", TYPES[node.value])], {"a": destination, "t": "events.event_type"})
    assert [reason] == also, "it is refused where a column tells the type as well"


def test_a_shopping_cart_alone_is_no_commerce_event() -> None:
    (reason,) = reasons(
        [("id", pa.string())],
        {"id": "events.data.shopping_cart.products.id", "static commerce_event": "events.event_type"},
    )
    assert "events.data.product_action, events.data.promotion_action, events.data.product_impressions" in reason


@pytest.mark.parametrize(
    ("destination", "arrow_type", "cure"),
    [
        ("events.data.event_num", pa.float64(), "a whole number is expected"),
        ("events.data.event_num", pa.decimal128(5, 2), "cast the column to an integer"),
        ("events.data.timestamp_unixtime_ms", pa.string(), "cast the column to a timestamp"),
        ("events.data.timestamp_unixtime_ms", JSON, "extract the value in SQL and cast it to a timestamp"),
        ("events.data.canonical_name", pa.struct([("a", pa.int8())]), "cast the column to text"),
        ("events.data.is_goal_defined", pa.float32(), "make the column a boolean"),
        ("events.data.session_uuid", pa.int64(), "a UUID is expected"),
        ("events.data.custom_attributes.a", pa.binary(), "bytes have no JSON form"),
        ("user_identities.customer_id", pa.float64(), "a float does not keep every digit"),
        ("ip", pa.int64(), "an IP address is expected"),
        ("device_info.platform", pa.int64(), "a word is expected"),
        ("deleted_user_attributes", pa.list_(pa.int8()), "a list of texts is expected"),
    ],
)
def test_a_column_that_cannot_become_its_field_is_refused_with_the_cure(
    destination: str, arrow_type: Any, cure: str
) -> None:
    (reason,) = reasons([("a", arrow_type)], {"a": destination, **SESSION_START})
    assert f"column 'a' ({arrow_type}) to {destination!r}: " in reason or arrow_type == JSON
    assert cure in reason


@pytest.mark.parametrize(
    ("value", "types"),
    [
        (ValueType.TEXT, [pa.string(), pa.int8(), pa.float64(), pa.decimal128(9, 2), pa.bool_(), pa.date32()]),
        (ValueType.TEXT, [pa.uuid(), pa.time64("us"), pa.timestamp("s", "UTC"), pa.dictionary(pa.int8(), pa.string())]),
        (ValueType.NUMBER, [pa.uint64(), pa.float16(), pa.decimal256(50, 10), pa.large_string()]),
        (ValueType.INT64, [pa.uint64(), pa.decimal128(38, 0), pa.string()]),
        (ValueType.BOOLEAN, [pa.bool_(), pa.bool8(), pa.int8(), pa.string()]),
        (ValueType.EPOCH_MS, [pa.timestamp("ns"), pa.date64(), pa.int64(), pa.decimal128(38, 0)]),
        (ValueType.TEXTS, [pa.list_(pa.string()), pa.large_list(pa.string()), pa.string()]),
        (ValueType.SCALAR, [JSON, pa.list_(pa.int8()), pa.struct([("a", pa.date32())])]),
    ],
)
def test_a_field_takes_what_becomes_its_type_without_a_guess(value: ValueType, types: list[Any]) -> None:
    assert [one for one in (*types, pa.null()) if why_not(value, one, is_identity=False)] == []


def test_two_sources_of_deleted_attributes_are_refused() -> None:
    columns = [("gone", pa.string()), ("a", pa.string())]
    mappings: Mapped = {"gone": "deleted_user_attributes", "a": "user_attributes.a", **SESSION_START}
    assert len(compiled(columns, mappings).leaves) == 3
    (reason,) = reasons(columns, mappings, on_null=NullPolicy.DELETE)
    assert "on_null: delete fills it too" in reason


def test_all_reasons_are_given_at_once() -> None:
    found = reasons(
        [("a", pa.float64()), ("b", pa.string()), ("c", pa.string())],
        {"a": "mpid", "b": "events.data.nothing", "d": "user_attributes.d", "static custom_event": "events.event_type"},
    )
    assert len(found) == 5


def test_a_transformation_is_declared_whole() -> None:
    with pytest.raises(ValueError, match="at least 1 item"):
        FieldTransformation(id="a", name="A", mappings=())


def unsound(mappings: Mapped, *others: FieldMapping) -> list[str]:
    with pytest.raises(DeclarationInvalid) as refused:
        require_sound(transformation({"who": "user_identities.email", **mappings}, *others))
    first, *found = str(refused.value).split("\n- ")
    assert first == f"field transformation 'events' cannot make events ({len(found)} to correct):"
    return found


@pytest.mark.parametrize(
    ("mappings", "reason"),
    [
        ({"a": "events.data.event_nam", **SESSION_START}, "the nearest that does is 'events.data.event_name'"),
        ({"a": "user_attributes.x", "b": "user_attributes.x", **SESSION_START}, "column 'a', column 'b' all go to"),
        ({"a": "environment", **SESSION_START}, "set the pipeline's environment"),
        ({"static x": "environment", **SESSION_START}, "set the pipeline's environment"),
        ({"static custom": "events.event_type"}, "the nearest is 'custom_event'"),
        ({"a": "user_attributes.x"}, "no mapping says of what type the events are"),
        ({"static screen_view": "events.event_type"}, "these events need events.data.screen_name"),
        ({"a": "events.data.screen_name", **SESSION_START}, "screen_view, commerce_event events have that"),
        (
            {"a": "events.data.product_action.products.id", "t": "events.event_type"},
            "events.data.product_action is mapped in part, and needs events.data.product_action.action",
        ),
    ],
)
def test_what_no_columns_can_mend_is_refused_when_it_is_declared(mappings: Mapped, reason: str) -> None:
    (found,) = unsound(mappings)
    assert reason in found


def test_who_events_belong_to_is_known_when_they_are_declared() -> None:
    with pytest.raises(DeclarationInvalid, match="no column is an identity"):
        require_sound(transformation({"a": "user_attributes.a", **SESSION_START}))


def test_what_only_columns_can_tell_is_no_reason_yet() -> None:
    mappings: Mapped = {
        "items": "events.data.product_action.products",
        "at": "events.data.timestamp_unixtime_ms",
        "note": None,
        "static purchase": "events.data.product_action.action",
        "static commerce_event": "events.event_type",
        "static development": "environment",
    }
    require_sound(transformation({"who": "user_identities.email", **mappings}))
