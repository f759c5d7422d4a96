from typing import Any

import pyarrow as pa
import pytest

from shared.columns import JSON
from shared.mapping.commerce_fields import PRODUCTS
from shared.mapping.destinations import ValueType
from shared.mapping.entries import named_like
from shared.mapping.plan import EVENT_DATA, Leaf, Need
from tests.shared.mapping.events import Mapped, compiled, reasons

PURCHASE: Mapped = {
    "static commerce_event": "events.event_type",
    "static purchase": "events.data.product_action.action",
}
ITEM = pa.struct(
    [("ID", pa.int64()), ("price", pa.decimal128(9, 2)), ("custom_attributes", pa.struct([("Size", pa.int8())]))]
)
MEMBERS = (
    Leaf("ID", ("id",), ValueType.TEXT),
    Leaf("price", ("price",), ValueType.NUMBER),
    Leaf("custom_attributes.Size", ("custom_attributes", "Size"), ValueType.TEXT),
)


def products(arrow_type: Any) -> Leaf:
    plan = compiled([("items", arrow_type)], {"items": "events.data.product_action.products", **PURCHASE})
    return plan.leaves[1]


def why_not_products(arrow_type: Any) -> list[str]:
    return reasons([("items", arrow_type)], {"items": "events.data.product_action.products", **PURCHASE})


@pytest.mark.parametrize(
    "layout", [pa.list_, pa.large_list, pa.list_view, pa.large_list_view, lambda item: pa.list_(item, 2)]
)
def test_the_structs_of_a_list_become_products_in_any_layout(layout: Any) -> None:
    assert products(layout(ITEM)) == Leaf(
        "items", (*EVENT_DATA, "product_action", "products"), ValueType.OBJECTS, members=MEMBERS
    )


@pytest.mark.parametrize("arrow_type", [JSON, pa.list_(JSON), pa.dictionary(pa.int8(), JSON)])
def test_json_may_hold_every_field_of_a_product(arrow_type: Any) -> None:
    members = products(arrow_type).members
    assert [(leaf.column, leaf.path) for leaf in members] == [(name, (name,)) for name in PRODUCTS.of.fields]
    assert [leaf.column for leaf in members if leaf.has_any_name] == ["custom_attributes"]


def test_promotions_and_impressions_are_lists_as_well() -> None:
    promotion = pa.struct([("id", pa.string()), ("position", pa.int8())])
    impression = pa.struct([("product_impression_list", pa.string()), ("products", pa.list_(ITEM))])
    plan = compiled(
        [("promoted", pa.list_(promotion)), ("seen", pa.list_(impression))],
        {
            "promoted": "events.data.promotion_action.promotions[*]",
            "seen": "events.data.product_impressions",
            "static view": "events.data.promotion_action.action",
            "static commerce_event": "events.event_type",
        },
    )
    assert [leaf.path for leaf in plan.leaves[1].members] == [("id",), ("position",)]
    name, listed = plan.leaves[2].members
    assert name.path == ("product_impression_list",)
    assert listed == Leaf("products", ("products",), ValueType.OBJECTS, members=MEMBERS)
    assert plan.leaves[2].needs == (Need((), ("product_impression_list", "products")),)


def test_a_list_of_products_is_only_for_commerce_events() -> None:
    plan = compiled(
        [("type", pa.string()), ("items", JSON), ("action", pa.string())],
        {
            "type": "events.event_type",
            "items": "events.data.product_action.products",
            "action": "events.data.product_action.action",
        },
    )
    assert plan.leaves[2].event_types == ("commerce_event",)


@pytest.mark.parametrize(
    ("arrow_type", "reason"),
    [
        (pa.list_(pa.string()), "a list of structs is expected, or JSON"),
        (ITEM, "a list of structs is expected, or JSON"),
        (pa.string(), "a list of structs is expected, or JSON"),
        (pa.list_(pa.struct([("sku", pa.string())])), "field 'sku' is none that an entry has"),
        (pa.list_(pa.struct([("nmae", pa.string())])), "the nearest is 'name'"),
        (pa.list_(pa.struct([("price", pa.bool_())])), "field 'price': a number is expected"),
        (pa.list_(pa.struct([("id", pa.string()), ("Id", pa.string())])), "fields 'id' and 'Id' are both 'id'"),
        (
            pa.list_(pa.struct([("custom_attributes", pa.map_(pa.string(), pa.string()))])),
            "field 'custom_attributes' must be a struct itself",
        ),
        (
            pa.list_(pa.struct([("custom_attributes", pa.struct([("a", pa.binary())]))])),
            "field 'custom_attributes.a': text is expected",
        ),
    ],
)
def test_structs_that_are_no_products_are_refused_with_the_cure(arrow_type: Any, reason: str) -> None:
    (found,) = why_not_products(arrow_type)
    assert reason in found
    assert "'events.data.product_action.products'" in found


def test_an_impression_without_its_list_is_refused() -> None:
    (found,) = reasons(
        [("seen", pa.list_(pa.struct([("products", JSON)])))],
        {"seen": "events.data.product_impressions", "static commerce_event": "events.event_type"},
    )
    assert "its structs have no field product_impression_list" in found


def test_products_without_an_action_are_refused() -> None:
    (found,) = reasons(
        [("items", JSON)],
        {"items": "events.data.product_action.products", "static commerce_event": "events.event_type"},
    )
    assert "events.data.product_action is mapped in part, and needs events.data.product_action.action" in found


def test_a_name_is_meant_exactly_or_without_regard_to_case() -> None:
    assert named_like("a", ["A", "a"]) == "a"
    assert named_like("B", ["a", "b"]) == "b"
    assert named_like("C", ["c", "ç"]) == "c"
    assert named_like("AB", ["Ab", "aB"]) is None
