"""Whatever is mapped to whatever: either every reason against it, or a plan that holds what it promises."""

import json
from collections.abc import Sequence
from typing import Any

import pyarrow as pa
from hypothesis import event, given, settings
from hypothesis import strategies as st

from shared.catalog import Environment, NullPolicy
from shared.columns import JSON
from shared.errors import DeclarationInvalid, MappingRefused
from shared.mapping.compile_events import column_meanings, compile_event_mapping, require_sound
from shared.mapping.event_fields import EVENT_TYPES
from shared.mapping.paths import templates
from shared.mapping.plan import EVENT_TYPE, MappingPlan
from shared.transformation import FieldMapping, FieldTransformation, MappingType

NAMES = ["a", "A", "b", "email", "kind", "Ünï.code", "items", "at"]
TYPES: list[Any] = [
    pa.string(),
    pa.int64(),
    pa.decimal128(38, 0),
    pa.float64(),
    pa.bool_(),
    pa.timestamp("us", "UTC"),
    pa.list_(pa.string()),
    pa.list_(pa.struct([("id", pa.string())])),
    pa.null(),
    pa.binary(),
    JSON,
]
DESTINATIONS = st.one_of(
    st.sampled_from([".".join(path) for path in templates()]),
    st.sampled_from(["events.event_type", "user_identities.email", "events.data.product_action.action", "ip"]),
    st.text(max_size=20).filter(lambda text: text != "" and "\0" not in text),
)
VALUES = st.one_of(
    st.sampled_from([*EVENT_TYPES, "purchase", "other", "production"]),
    st.booleans(),
    st.integers(-(2**63), 2**63 - 1),
    st.floats(-9, 9),
)
SOURCES = st.sampled_from([*NAMES, "absent", "EMAIL"])
MAPPINGS = st.one_of(
    st.builds(FieldMapping, mapping_type=st.just(MappingType.COLUMN), source=SOURCES, destination=DESTINATIONS),
    st.builds(FieldMapping, mapping_type=st.just(MappingType.STATIC), destination=DESTINATIONS, value=VALUES),
    st.builds(FieldMapping, mapping_type=st.just(MappingType.IGNORE), source=SOURCES),
)
USUAL = (
    FieldMapping(mapping_type=MappingType.COLUMN, source="email", destination="user_identities.customer_id"),
    FieldMapping(mapping_type=MappingType.COLUMN, source="kind", destination="events.event_type"),
)


@st.composite
def anything(draw: st.DrawFn) -> tuple[Any, FieldTransformation]:
    names = draw(st.lists(st.sampled_from(NAMES), unique=True, max_size=6))
    schema = [(name, draw(st.sampled_from(TYPES))) for name in names]
    return pa.schema(schema), transformation(draw(st.lists(MAPPINGS, min_size=1, max_size=6)))


@st.composite
def usual(draw: st.DrawFn) -> tuple[Any, FieldTransformation]:
    """Draw a transformation that covers all columns, with at most one mapping that may be wrong."""
    names = draw(st.lists(st.sampled_from([name for name in NAMES if name not in ("email", "kind")]), unique=True))
    columns = [(name, draw(st.sampled_from(TYPES[:8]))) for name in names]
    mappings = [
        draw(
            st.sampled_from(
                [
                    FieldMapping(mapping_type=MappingType.IGNORE, source=name),
                    column(name, f"user_attributes.{name}"),
                    column(name, f"events.data.custom_attributes.{name}"),
                ]
            )
        )
        for name in names
    ]
    order = draw(st.permutations([*USUAL, *mappings, *draw(st.lists(MAPPINGS, max_size=1))]))
    return pa.schema([("kind", pa.string()), *columns, ("email", pa.string())]), transformation(order)


def column(source: str, destination: str) -> FieldMapping:
    return FieldMapping(mapping_type=MappingType.COLUMN, source=source, destination=destination)


def transformation(mappings: Sequence[FieldMapping]) -> FieldTransformation:
    return FieldTransformation(id="t", name="T", mappings=tuple(mappings))


SUBJECTS = st.one_of(anything(), usual())


def plan_or_refusal(subject: tuple[Any, FieldTransformation], on_null: NullPolicy) -> MappingPlan | str:
    schema, mapping = subject
    try:
        return compile_event_mapping(
            schema, mapping, environment=Environment.PRODUCTION, on_null=on_null, iterator="at"
        )
    except MappingRefused as error:
        return str(error)


def is_sound(mapping: FieldTransformation) -> bool:
    try:
        require_sound(mapping)
    except DeclarationInvalid:
        return False
    return True


@settings(deadline=None)
@given(SUBJECTS, st.sampled_from(NullPolicy))
def test_a_mapping_becomes_a_plan_or_all_reasons_against_it(
    subject: tuple[Any, FieldTransformation], on_null: NullPolicy
) -> None:
    schema, mapping = subject
    meanings = column_meanings(schema, mapping, iterator="at")
    assert set(meanings) == set(schema.names)
    plan = plan_or_refusal(subject, on_null)
    if isinstance(plan, str):
        event("refused")
        assert f"({plan.count(chr(10))} to correct)" in plan
        return
    event("compiled")
    assert is_sound(mapping)
    assert not any(meaning.refused for meaning in meanings.values())
    assert MappingPlan.from_json(json.loads(json.dumps(plan.to_json()))) == plan
    places = [schema.names.index(leaf.column) for leaf in plan.leaves]
    assert places == sorted(places)
    assert any(leaf.is_identity for leaf in plan.leaves)
    ignored = {one.source for one in mapping.mappings if one.mapping_type is MappingType.IGNORE}
    sent = {leaf.column for leaf in plan.leaves}
    assert {name for name in schema.names if name not in ignored | sent} <= {"at"}


@settings(deadline=None)
@given(SUBJECTS)
def test_no_two_fields_of_a_plan_are_in_each_others_place(subject: tuple[Any, FieldTransformation]) -> None:
    plan = plan_or_refusal(subject, NullPolicy.OMIT)
    if isinstance(plan, str):
        return
    paths = [leaf.path for leaf in plan.leaves] + [constant.path for constant in plan.constants]
    assert len(set(paths)) == len(paths)
    assert not any(path[:depth] in paths for path in paths for depth in range(1, len(path)))
    assert EVENT_TYPE in paths


@settings(deadline=None)
@given(SUBJECTS)
def test_what_is_unsound_fits_no_columns(subject: tuple[Any, FieldTransformation]) -> None:
    if not is_sound(subject[1]):
        assert isinstance(plan_or_refusal(subject, NullPolicy.OMIT), str)
