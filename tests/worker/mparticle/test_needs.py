"""Fields that an event, or an object in it, must have."""

from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from shared.ledger import RejectCode
from shared.mapping.destinations import ValueType
from shared.mapping.paths import dotted
from shared.mapping.plan import Constant, Leaf, Need, Needed, Path
from worker.mparticle.finding import Finding
from worker.mparticle.needs import Fields, unmet
from worker.mparticle.read import read

DATA: Path = ("events", 0, "data")
ACTION: Path = (*DATA, "product_action")
TYPE: Path = ("events", 0, "event_type")


def leaf(*path: str | int, value: ValueType = ValueType.TEXT, **more: Any) -> Leaf:
    return Leaf("-".join(map(str, path)), path, value, **more)


def fields(columns: dict[Path, list[Any]], *constants: Constant, rows: int | None = None) -> Fields:
    leaves = [leaf(*path) for path in columns]
    read_columns = [
        read(one, pa.array(values, pa.string())) for one, values in zip(leaves, columns.values(), strict=True)
    ]
    count = rows if rows is not None else len(next(iter(columns.values())))
    return Fields(leaves, constants, read_columns, count)


def broken(found: Fields, *needs: Need) -> list[tuple[str, list[int]]]:
    """The field that each finding names, and its rows."""
    findings: list[Finding] = list(unmet(found, needs))
    assert all(finding.code is RejectCode.MISSING_FIELD for finding in findings)
    named = [(finding.reason.split(" has no value")[0], np.flatnonzero(finding.rows).tolist()) for finding in findings]
    return [(name, rows) for name, rows in named if rows]


def test_a_field_of_an_events_data_must_have_a_value_in_every_row() -> None:
    found = fields({(*DATA, "event_name"): ["a", None, ""]})
    assert broken(found, Need(DATA, ("event_name",))) == [("events.data.event_name", [1])]


def test_a_field_that_nothing_is_mapped_to_is_missing_in_every_row() -> None:
    found = fields({(*DATA, "event_name"): ["a", "b"]})
    assert broken(found, Need(DATA, ("custom_event_type",))) == [("events.data.custom_event_type", [0, 1])]


def test_a_constant_is_there_in_every_row_it_is_said_in() -> None:
    kinds = {TYPE: ["screen_view", "custom_event", None]}
    always = fields(kinds, Constant((*DATA, "event_name"), "x"))
    assert broken(always, Need(DATA, ("event_name",))) == []
    sometimes = fields(kinds, Constant((*DATA, "event_name"), "x", event_types=("custom_event",)))
    assert broken(sometimes, Need(DATA, ("event_name",))) == [("events.data.event_name", [0, 2])]


def test_a_need_of_some_event_types_is_one_of_rows_with_these_only() -> None:
    found = fields({TYPE: ["custom_event", "screen_view", "custom_event", None], (*DATA, "name"): [None] * 4})
    need = Need(DATA, ("name",), event_types=("custom_event", "breadcrumb"))
    assert broken(found, need) == [("events.data.name", [0, 2])]
    (finding,) = unmet(found, [need])
    assert "events of type custom_event or breadcrumb" in finding.reason


@pytest.mark.parametrize(("said", "rows"), [("custom_event", [0, 1]), ("screen_view", [])])
def test_the_event_type_may_be_a_constant(said: str, rows: list[int]) -> None:
    found = fields({(*DATA, "name"): [None, None]}, Constant(TYPE, said))
    wanted = [("events.data.name", rows)] if rows else []
    assert broken(found, Need(DATA, ("name",), event_types=("custom_event",))) == wanted


def test_without_an_event_type_there_are_no_events_of_a_type() -> None:
    found = fields({(*DATA, "name"): [None]})
    assert found.of_types(("custom_event",)) is not None
    assert broken(found, Need(DATA, ("name",), event_types=("custom_event",))) == []


def test_an_object_needs_its_fields_only_where_something_of_it_is_sent() -> None:
    found = fields({(*ACTION, "action"): ["purchase", None, None], (*ACTION, "coupon"): [None, "c", None]})
    assert broken(found, Need(ACTION, ("action",))) == [("events.data.product_action.action", [1])]


def test_of_some_fields_any_may_be_enough() -> None:
    promotion, impression = (*DATA, "promotion_action"), (*DATA, "product_impressions")
    found = fields({(*promotion, "action"): ["view", None, None], impression: [None, "x", None]})
    need = Need(DATA, ("promotion_action", "product_impressions"), Needed.ANY)
    assert broken(found, need) == [("events.data.promotion_action or product_impressions", [2])]


def test_an_object_counts_as_a_field_where_anything_of_it_is_sent() -> None:
    found = fields({(*ACTION, "products", "id"): ["x", None]})
    assert broken(found, Need(DATA, ("product_action",))) == [("events.data.product_action", [1])]


def test_an_entry_of_a_list_is_always_sent_and_needs_what_it_needs() -> None:
    found = fields({("id",): ["x", None], ("price",): [None, None]})
    assert broken(found, Need((), ("id",))) == [("id", [1])]


def test_a_column_that_is_always_null_says_no_type_and_no_field() -> None:
    types = Leaf("t", TYPE, ValueType.CHOICE, choices=("custom_event",))
    found = Fields([types], (), [read(types, pa.nulls(2))], rows=2)
    of_type = found.of_types(("custom_event",))
    assert of_type is not None
    assert of_type.tolist() == [False, False]


def test_shared_values_tell_the_type_of_each_row() -> None:
    types = Leaf("t", TYPE, ValueType.CHOICE, choices=("custom_event", "screen_view"))
    column = pa.array(["custom_event", None, "screen_view", "custom_event"]).dictionary_encode()
    of_type = Fields([types], (), [read(types, column)], rows=4).of_types(("custom_event",))
    assert of_type is not None
    assert of_type.tolist() == [True, False, False, True]


def test_no_rows_lack_nothing() -> None:
    found = fields({(*DATA, "name"): []})
    assert broken(found, Need(DATA, ("name",)), Need(DATA, ("a", "b"), Needed.ANY)) == []


def test_paths_are_told_as_they_are_declared() -> None:
    assert dotted((*ACTION, "products", "id")) == "events.data.product_action.products.id"
