"""Rows beyond a limit are rejected, cut or noted as the pipeline says, alike for every layout of a column."""

import json
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from typing import Any, Self

import pyarrow as pa
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from shared.catalog import Environment, NullPolicy
from shared.columns import JSON
from shared.dataplan import DataPlan, OnViolation
from shared.errors import MappingRefused
from shared.ledger import RejectCode
from shared.limits import Beyond, EventName, Limits
from shared.mapping.compile import compile_user_mapping
from shared.mapping.destinations import ValueType
from shared.mapping.plan import EVENT_DATA, EVENT_TYPE, Constant, Leaf, MappingPlan
from worker.mparticle.check import Checks
from worker.mparticle.encode import Encoder, Merging
from worker.mparticle.judge import Judge
from worker.mparticle.prepared import Prepared

VALUE, ENTRIES, ENTRY, ATTRIBUTES, NAME = 5, 2, 3, 4, 6
TEXTS = st.text('aé\U0001f600"\\', max_size=8)
SETTINGS = {
    "attribute_value": RejectCode.VALUE_TOO_LONG,
    "list_entries": RejectCode.LIST_TOO_LONG,
    "list_entry": RejectCode.LIST_ENTRY_TOO_LONG,
    "user_attributes": RejectCode.TOO_MANY_ATTRIBUTES,
}


def checks_of(**limits: Beyond) -> Checks:
    return Checks(VALUE, ENTRIES, ENTRY, ATTRIBUTES, name_max_chars=NAME, limits=Limits(**limits))


def batches_of(prepared: Prepared) -> list[dict[str, Any]]:
    written = prepared.write()
    whole: list[dict[str, Any]] = json.loads(b"[" + bytes(written.data)[:-1] + b"]")
    return whole


def noted(prepared: Prepared) -> dict[str, list[int]]:
    return {name: rows.tolist() for name, rows in prepared._noted.items()}


COLUMNS: dict[str, st.SearchStrategy[Any]] = {
    "text": TEXTS,
    "shared": TEXTS,
    "list": st.lists(st.none() | TEXTS, max_size=4),
    "ints": st.lists(st.integers(-99, 99), max_size=4),
    "json": TEXTS
    | st.lists(TEXTS | st.integers(10**20, 10**21) | st.booleans(), max_size=4)
    | st.dictionaries(TEXTS, TEXTS, max_size=1)
    | st.integers(0, 10**22),
    "struct": st.fixed_dictionaries({"a": st.sampled_from(["", "x"])}),
}


def table_of(rows: list[dict[str, Any]]) -> pa.Table:
    def column(name: str) -> list[Any]:
        return [row[name] for row in rows]

    documents = [None if value is None else json.dumps(value, ensure_ascii=False) for value in column("json")]
    return pa.table(
        {
            "email": ["a@x"] * len(rows),
            "text": pa.array(column("text"), pa.string()),
            "shared": pa.array(column("shared"), pa.string()).dictionary_encode(),
            "list": pa.array(column("list"), pa.list_(pa.string())),
            "ints": pa.array(column("ints"), pa.large_list(pa.int64())),
            "json": pa.ExtensionArray.from_storage(JSON, pa.array(documents, pa.string())),
            "struct": pa.array(column("struct"), pa.struct([("a", pa.string())])),
        }
    )


def sent_as(value: Any) -> Any:
    """Give a value as it is sent where there are no limits."""
    if isinstance(value, dict) or (isinstance(value, list) and any(isinstance(one, dict | list) for one in value)):
        return json.dumps(value, separators=(",", ":"), ensure_ascii=False)
    return [one for one in value if one is not None] if isinstance(value, list) else value


@dataclass
class Naively:
    """One row, read value by value: what is sent of it, what is noted, and the limit it is rejected for."""

    limits: dict[str, Beyond]
    values: dict[str, Any]
    noted: set[str] = field(default_factory=set)
    rejected: str | None = None

    @classmethod
    def of(cls, row: dict[str, Any], limits: dict[str, Beyond]) -> Self:
        read = cls(limits, {name: sent_as(row[name]) for name in COLUMNS if row[name] is not None})
        read._keep("attribute_value", str, lambda text: len(text) > VALUE, lambda text: text[:VALUE])
        read._keep("list_entries", list, lambda entries: len(entries) > ENTRIES, lambda entries: entries[:ENTRIES])
        read._keep(
            "list_entry", list, lambda entries: any(map(_is_long, entries)), lambda it: [_cut(one) for one in it]
        )
        if len(read.values) > ATTRIBUTES and read._cuts("user_attributes"):
            read.values = dict(list(read.values.items())[:ATTRIBUTES])
        return read

    def _keep(self, setting: str, kind: type, is_long: Callable[[Any], bool], cut: Callable[[Any], Any]) -> None:
        for name, value in self.values.items():
            if isinstance(value, kind) and is_long(value) and self._cuts(setting):
                self.values[name] = cut(value)

    def _cuts(self, setting: str) -> bool:
        if self.limits[setting] is Beyond.REJECT:
            self.rejected = self.rejected or setting
        else:
            self.noted.add(f"{setting}_{'truncated' if self.limits[setting] is Beyond.TRUNCATE else 'over_limit'}")
        return self.limits[setting] is Beyond.TRUNCATE


def _is_long(entry: Any) -> bool:
    return isinstance(entry, str) and len(entry) > ENTRY


def _cut(entry: Any) -> Any:
    return entry[:ENTRY] if isinstance(entry, str) else entry


ROWS = st.lists(st.fixed_dictionaries({name: st.none() | values for name, values in COLUMNS.items()}), max_size=8)


LONG_ENTRY_BEYOND = [dict.fromkeys(COLUMNS) | {"json": ["", "", "beyond the limit"]}]
CUT = dict.fromkeys(SETTINGS, Beyond.TRUNCATE)


@given(rows=ROWS, limits=st.fixed_dictionaries(dict.fromkeys(SETTINGS, st.sampled_from(Beyond))))
@example(rows=LONG_ENTRY_BEYOND, limits=CUT)
@example(rows=LONG_ENTRY_BEYOND, limits=CUT | {"list_entry": Beyond.REJECT})
def test_limits_are_kept_as_a_row_by_row_reading_would(rows: list[dict[str, Any]], limits: dict[str, Beyond]) -> None:
    table = table_of(rows)
    plan = compile_user_mapping(
        table.schema, environment=Environment.PRODUCTION, on_null=NullPolicy.OMIT, iterator=None
    )
    prepared = Encoder(plan, checks=checks_of(**limits)).prepare(table, chunk_id="c")
    expected = [Naively.of(row, limits) for row in rows]
    sent = [batch.get("user_attributes", {}) for batch in batches_of(prepared)] if rows else []
    assert sent == [read.values for read in expected if read.rejected is None]
    assert [(reject.row, reject.code) for reject in prepared.rejects] == [
        (row, SETTINGS[read.rejected]) for row, read in enumerate(expected) if read.rejected
    ]
    assert noted(prepared) == {
        name: [row for row, read in enumerate(expected) if name in read.noted]
        for name in {name for read in expected for name in read.noted}
    }


def test_a_number_in_a_list_that_is_cut_keeps_its_digits() -> None:
    documents = ['["abcd", 1.10, 12345678901234567890123]', '["é\\ud83d\\ude00bc","x"]']
    values = pa.ExtensionArray.from_storage(JSON, pa.array(documents))
    table = pa.table({"email": ["a", "b"], "j": values})
    plan = compile_user_mapping(
        table.schema, environment=Environment.PRODUCTION, on_null=NullPolicy.OMIT, iterator=None
    )
    checks = Checks(
        entry_max_chars=3, list_max_entries=2, limits=Limits(list_entries=Beyond.TRUNCATE, list_entry=Beyond.TRUNCATE)
    )
    written = Encoder(plan, checks=checks).encode(table, chunk_id="c")
    assert b'"j":["abc",1.10]' in bytes(written.data)
    assert '"j":["é\U0001f600b","x"]'.encode() in bytes(written.data)


@pytest.mark.parametrize("on_null", [NullPolicy.DELETE, NullPolicy.NULL])
def test_attributes_are_never_left_out_where_that_would_delete_them(on_null: NullPolicy) -> None:
    table = pa.table({"email": ["a"], **{f"c{number}": [1] for number in range(ATTRIBUTES + 1)}})
    plan = compile_user_mapping(table.schema, environment=Environment.PRODUCTION, on_null=on_null, iterator=None)
    prepared = Encoder(plan, checks=checks_of(user_attributes=Beyond.TRUNCATE)).prepare(table, chunk_id="c")
    assert [reject.code for reject in prepared.rejects] == [RejectCode.TOO_MANY_ATTRIBUTES]


def event_plan(*leaves: Leaf, constants: tuple[Constant, ...] = ()) -> MappingPlan:
    identity = Leaf("email", ("user_identities", "email"), ValueType.STRING, is_identity=True)
    event_type = Constant(EVENT_TYPE, "custom_event")
    return MappingPlan((identity, *leaves), (event_type, *constants), NullPolicy.OMIT)


NAMED = Leaf("name", (*EVENT_DATA, "event_name"), ValueType.TEXT)


def test_an_events_name_is_cut_by_characters() -> None:
    table = pa.table({"email": ["a", "b", "c"], "name": ["é" * NAME, "é" * (NAME + 1), "\U0001f600" * 9]})
    plan = event_plan(NAMED)
    cut = Encoder(plan, checks=checks_of()).prepare(table, chunk_id="c")
    names = [batch["events"][0]["data"]["event_name"] for batch in batches_of(cut)]
    assert names == ["é" * NAME, "é" * NAME, "\U0001f600" * NAME]
    assert noted(cut) == {"event_name_truncated": [1, 2]}
    rejected = Encoder(plan, checks=checks_of(event_name=Beyond.REJECT)).prepare(table, chunk_id="c")
    assert [(reject.row, reject.code) for reject in rejected.rejects] == [
        (1, RejectCode.NAME_TOO_LONG),
        (2, RejectCode.NAME_TOO_LONG),
    ]
    warned = Encoder(plan, checks=checks_of(event_name=Beyond.WARN)).prepare(table, chunk_id="c")
    assert noted(warned) == {"event_name_over_limit": [1, 2]}
    assert batches_of(warned)[2]["events"][0]["data"]["event_name"] == "\U0001f600" * 9


def named_plan(*names: str) -> MappingPlan:
    return event_plan(
        *(
            Leaf(f"column{number}", (*EVENT_DATA, "custom_attributes", name), ValueType.SCALAR)
            for number, name in enumerate(names)
        )
    )


def test_an_attributes_name_is_cut_and_its_rows_are_counted() -> None:
    plan = named_plan("attribute one", "b")
    table = pa.table({"email": ["a", "b"], "column0": [1, None], "column1": [2, 3]})
    prepared = Encoder(plan, checks=checks_of()).prepare(table, chunk_id="c")
    attributes = [batch["events"][0]["data"]["custom_attributes"] for batch in batches_of(prepared)]
    assert attributes == [{"attrib": 1, "b": 2}, {"b": 3}]
    assert noted(prepared) == {"event_attribute_name_truncated": [0]}


def test_names_that_would_be_one_once_they_are_cut_are_refused_before_any_row() -> None:
    with pytest.raises(MappingRefused, match=r"names that are one, 'attrib' and on, .* 6 characters"):
        Encoder(named_plan("attribute one", "attribute two"), checks=checks_of())
    Encoder(named_plan("attribute one", "attribute two"), checks=checks_of(event_attribute_name=Beyond.WARN))


def test_a_name_that_is_to_be_rejected_is_refused_before_any_row() -> None:
    with pytest.raises(MappingRefused, match=r"'column0'.*13 characters.*limits\.event_attribute_name"):
        Encoder(named_plan("attribute one"), checks=checks_of(event_attribute_name=Beyond.REJECT))


def test_a_static_value_is_held_to_the_same_limits() -> None:
    name = Constant((*EVENT_DATA, "event_name"), "purchase")
    table = pa.table({"email": ["a"]})
    cut = Encoder(event_plan(constants=(name,)), checks=checks_of()).prepare(table, chunk_id="c")
    assert batches_of(cut)[0]["events"][0]["data"]["event_name"] == "purcha"
    with pytest.raises(MappingRefused, match=r"events\.data\.event_name has 8 characters"):
        Encoder(event_plan(constants=(name,)), checks=checks_of(event_name=Beyond.REJECT))


def test_events_beyond_the_workspaces_names_are_noted_or_rejected() -> None:
    names = pa.array(["a", "b", None, "a", "b"]).dictionary_encode()
    table = pa.table({"email": ["x", "x", "x", None, "x"], "name": names})
    asked: list[Collection[EventName]] = []

    def say(found: Collection[EventName]) -> set[EventName]:
        asked.append(found)
        return {EventName("custom_event", "b")}

    warned = Encoder(event_plan(NAMED), checks=Checks()).prepare(table, chunk_id="c", beyond=say)
    assert asked == [{EventName("custom_event", "a"), EventName("custom_event", "b")}]
    assert noted(warned) == {"distinct_names_over_limit": [1, 4]}
    strict = Checks(limits=Limits(distinct_names=Beyond.REJECT))
    rejected = Encoder(event_plan(NAMED), checks=strict).prepare(table, chunk_id="c", beyond=say)
    assert [(reject.row, reject.code) for reject in rejected.rejects] == [
        (1, RejectCode.TOO_MANY_EVENT_NAMES),
        (3, RejectCode.NO_IDENTITY),
        (4, RejectCode.TOO_MANY_EVENT_NAMES),
    ]


def test_only_names_of_rows_that_are_sent_are_asked_for() -> None:
    table = pa.table({"email": [None, "x"], "name": ["of nobody", "b"]})
    asked: list[Collection[EventName]] = []

    def say(names: Collection[EventName]) -> set[EventName]:
        asked.append(names)
        return set()

    Encoder(event_plan(NAMED), checks=Checks()).prepare(table, chunk_id="c", beyond=say)
    assert asked == [{EventName("custom_event", "b")}]


def plan_of(on_violation: OnViolation) -> DataPlan:
    point = {
        "match": {"type": "custom_event", "criteria": {"event_name": "buy", "custom_event_type": "other"}},
        "validator": {
            "type": "json_schema",
            "definition": {
                "properties": {"data": {"properties": {"custom_attributes": {"properties": {"p": {"maximum": 5}}}}}}
            },
        },
    }
    return DataPlan(document={"data_points": [point]}, on_violation=on_violation)


@pytest.mark.parametrize("on_violation", OnViolation)
def test_rows_that_violate_the_data_plan_are_counted_by_rule_and_rejected_if_it_says_so(
    on_violation: OnViolation,
) -> None:
    kind = Constant((*EVENT_DATA, "custom_event_type"), "other")
    price = Leaf("price", (*EVENT_DATA, "custom_attributes", "p"), ValueType.SCALAR)
    table = pa.table({"email": ["x"] * 4, "name": ["buy", "buy", "sell", "buy"], "price": [1, 9, 1, None]})
    encoder = Encoder(
        event_plan(NAMED, price, constants=(kind,)),
        checks=Checks(),
        merging=Merging(max_events=100),
        judge=Judge(plan_of(on_violation)),
    )
    prepared = encoder.prepare(table, chunk_id="c")
    rule = 'custom_event "buy": custom_attributes.p: invalid_value (maximum)'
    assert noted(prepared) == {f"plan: {rule}": [1], "plan: custom_event: unplanned": [2]}
    (batch,) = batches_of(prepared)
    if on_violation is OnViolation.WARN:
        assert (len(batch["events"]), prepared.rejects) == (4, ())
        return
    assert len(batch["events"]) == 2
    assert [(reject.row, reject.code, reject.reason) for reject in prepared.rejects] == [
        (1, RejectCode.PLAN_VIOLATION, rule),
        (2, RejectCode.PLAN_VIOLATION, "custom_event: unplanned"),
    ]


def test_what_is_noted_counts_when_its_row_becomes_final() -> None:
    table = pa.table({"email": ["a", "b", "c"], "name": ["long enough", "short", "also long"]})
    prepared = Encoder(event_plan(NAMED), checks=checks_of()).prepare(table, chunk_id="c")
    rows = prepared.shares.order
    assert prepared.found(rows[:0], []) == {}
    assert prepared.found(rows[:2], []) == {"event_name_truncated": 1}
    assert prepared.found(rows[2:], []) == {"event_name_truncated": 1}
