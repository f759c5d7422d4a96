"""The encoder against an oracle that takes event rows one by one, for every type of event and Arrow type."""

import json
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from shared.catalog import Environment
from shared.errors import MappingRefused
from shared.mapping.compile_events import compile_event_mapping
from shared.mapping.paths import dotted
from shared.mapping.plan import MappingPlan
from shared.transformation import FieldMapping, FieldTransformation, MappingType
from tests.worker.mparticle.event_fields import KINDS
from tests.worker.mparticle.event_oracle import Digits, Fault, FloatText, IsRight, expected_of, parse, rows_of, same
from tests.worker.mparticle.event_tables import Made, event_tables
from tests.worker.mparticle.test_encode_oracle import CHUNK, TIGHT, Document, batches_of
from worker.mparticle.check import Checks
from worker.mparticle.encode import Encoder
from worker.mparticle.prepared import EncodedRows

SOME = settings(
    deadline=None, max_examples=25, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large]
)
EVERY_TYPE = pytest.mark.parametrize("event_type", [*sorted(KINDS), None], ids=lambda kind: kind or "by column")


def plain_of(expected: Any) -> Any:
    """Give an expected batch as a reader would have it that knows floats only and takes documents for text."""
    match expected:
        case dict():
            return {name: plain_of(value) for name, value in expected.items()}
        case list():
            return [plain_of(value) for value in expected]
        case Document() | FloatText():
            return "text"
        case Digits():
            return json.loads(expected.text)
        case Decimal():
            return float(expected)
        case str():
            return str(expected)
        case _:
            return expected


@EVERY_TYPE
@SOME
@given(data=st.data(), checks=st.sampled_from([Checks(), Checks(), TIGHT]), first_row=st.integers(0, 1000))
def test_every_event_becomes_the_batch_or_the_reject_that_the_oracle_says(
    is_right: IsRight, event_type: str | None, data: st.DataObject, checks: Checks, first_row: int
) -> None:
    made = data.draw(event_tables(event_type=event_type))
    plan, table = made.plan, made.table
    encoded = Encoder(plan, checks=checks).encode(table, chunk_id=CHUNK, first_row=first_row)
    batches = dict(zip(encoded.rows.tolist(), batches_of(encoded), strict=True))
    rejects = {reject.row: reject for reject in encoded.rejects}
    assert list(batches) == sorted(batches)
    assert list(rejects) == sorted(rejects)
    assert batches.keys() | rejects.keys() == set(range(first_row, first_row + table.num_rows))
    assert not batches.keys() & rejects.keys()
    for position, row in enumerate(rows_of(table), first_row):
        expected = expected_of(plan, row, f"{CHUNK}:{position}", checks)
        if isinstance(expected, Fault):
            assert position in rejects, (expected, batches[position])
            assert rejects[position].code in expected.codes
        else:
            assert position in batches, rejects[position]
            assert same(expected, parse(batches[position])), (expected, batches[position])
            assert is_right(json.loads(batches[position]))


@settings(SOME, max_examples=100)
@given(event_tables())
def test_a_compiled_transformation_sends_what_the_oracle_and_mparticles_schema_say(
    is_right: IsRight, made: Made
) -> None:
    try:
        plan = compiled(made)
    except MappingRefused as refused:
        _, *reasons = str(refused).split("\n- ")
        assert all("is mapped in part, and needs" in reason or "need one of" in reason for reason in reasons), reasons
        return
    encoded = Encoder(plan, checks=Checks()).encode(made.table, chunk_id=CHUNK)
    batches = dict(zip(encoded.rows.tolist(), batches_of(encoded), strict=True))
    codes = {reject.row: reject.code for reject in encoded.rejects}
    for position, row in enumerate(rows_of(made.table)):
        expected = expected_of(plan, row, f"{CHUNK}:{position}", Checks())
        if isinstance(expected, Fault):
            assert codes[position] in expected.codes
        else:
            assert same(expected, parse(batches[position])), (expected, batches[position])
            assert is_right(json.loads(batches[position]))


def compiled(made: Made) -> MappingPlan:
    """Compile a transformation that says what a plan of the tests says."""
    mappings = [
        FieldMapping(mapping_type=MappingType.COLUMN, source=leaf.column, destination=dotted(leaf.path))
        for leaf in made.plan.leaves
    ]
    mappings += [
        FieldMapping(mapping_type=MappingType.STATIC, value=constant.value, destination=dotted(constant.path))
        for constant in made.plan.constants
        if constant.path != ("environment",)
    ]
    return compile_event_mapping(
        made.table.schema,
        FieldTransformation(id="events", name="Events", mappings=tuple(mappings)),
        environment=Environment.PRODUCTION,
        on_null=made.plan.on_null,
        iterator=None,
    )


@EVERY_TYPE
@settings(SOME, max_examples=10)
@given(data=st.data())
def test_what_the_oracle_expects_is_right_to_mparticles_own_schema(
    is_right: IsRight, event_type: str | None, data: st.DataObject
) -> None:
    made = data.draw(event_tables(event_type=event_type))
    plan, table = made.plan, made.table
    for row in rows_of(table):
        expected = expected_of(plan, row, CHUNK, Checks())
        if not isinstance(expected, Fault):
            assert is_right(plain_of(expected))


@settings(SOME, max_examples=60)
@given(event_tables(), st.data())
def test_an_events_batch_depends_on_nothing_but_its_row(made: Made, data: st.DataObject) -> None:
    plan, table = made.plan, made.table
    encoder = Encoder(plan, checks=Checks())
    whole = encoder.encode(table, chunk_id=CHUNK)
    again = Encoder(plan, checks=Checks()).encode(table, chunk_id=CHUNK)
    cut = data.draw(st.integers(0, table.num_rows))
    parts = [
        encoder.encode(table.slice(0, cut), chunk_id=CHUNK),
        encoder.encode(table.slice(cut), chunk_id=CHUNK, first_row=cut),
    ]
    assert told(again) == told(whole)
    assert b"".join(bytes(part.data) for part in parts) == bytes(whole.data)
    assert [row for part in parts for row in part.rows.tolist()] == whole.rows.tolist()
    assert tuple(reject for part in parts for reject in part.rejects) == whole.rejects


def told(encoded: EncodedRows) -> tuple[bytes, list[int], Any]:
    return bytes(encoded.data), encoded.rows.tolist(), encoded.rejects
