"""Batches are judged by a data plan, and no rule tells a value of a row."""

from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.dataplan import DataPlan
from worker.mparticle.judge import Judge, Violation


def _point(match: str, definition: dict[str, Any], **criteria: str) -> dict[str, Any]:
    return {
        "match": {"type": match, "criteria": criteria},
        "validator": {"type": "json_schema", "definition": definition},
    }


def _event(**attributes: Any) -> dict[str, Any]:
    """Give the schema of an event as mParticle's own editor writes it."""
    return {
        "properties": {"data": {"properties": {"custom_attributes": attributes}, "required": ["custom_attributes"]}}
    }


PLAN = DataPlan(
    document={
        "data_points": [
            _point(
                "custom_event",
                _event(
                    additionalProperties=False,
                    properties={
                        "price": {"type": "number", "minimum": 0},
                        "currency": {"type": "string", "enum": ["EUR", "USD"]},
                        "mail": {"format": "email"},
                    },
                    required=["price"],
                ),
                event_name="purchase_done",
                custom_event_type="transaction",
            ),
            _point("screen_view", {}, screen_name="home"),
            _point(
                "product_action",
                {
                    "properties": {
                        "data": {
                            "properties": {
                                "product_action": {
                                    "properties": {
                                        "products": {"items": {"properties": {"id": {"pattern": "^[0-9]+$"}}}}
                                    }
                                }
                            }
                        }
                    }
                },
                action="purchase",
            ),
            _point("promotion_action", {}, action="view"),
            _point("user_attributes", {"additionalProperties": False, "properties": {"plan": {"type": "string"}}}),
            _point(
                "user_identities",
                {
                    "additionalProperties": False,
                    "properties": {"customerid": {"pattern": "^c"}, "ios_idfa": {"type": "string"}},
                },
            ),
            _point("unknown", {"not": {}}),
        ]
    }
)
JUDGE = Judge(PLAN, names={"colour"})


def _judged(**batch: Any) -> list[tuple[str, int | None]]:
    (violations,) = JUDGE.judge([orjson.dumps(batch)])
    return [(violation.rule, violation.event) for violation in violations]


def _bought(**attributes: Any) -> dict[str, Any]:
    data = {"event_name": "purchase_done", "custom_event_type": "transaction", "custom_attributes": attributes}
    return {"event_type": "custom_event", "data": data}


def test_a_batch_as_planned_violates_nothing() -> None:
    assert (
        _judged(
            events=[
                _bought(price=1, currency="EUR", mail="a@x"),
                {"event_type": "screen_view", "data": {"screen_name": "home"}},
                {"event_type": "commerce_event", "data": {"promotion_action": {"action": "view", "promotions": []}}},
            ],
            user_attributes={"plan": "gold"},
            user_identities={"customer_id": "c1"},
            device_info={"ios_advertising_id": "00000000-0000-0000-0000-000000000001", "brand": "x"},
        )
        == []
    )


@pytest.mark.parametrize(
    ("attributes", "rules"),
    [
        ({"price": "dear"}, ['custom_event "purchase_done": custom_attributes.price: invalid_value (type)']),
        ({"price": -1}, ['custom_event "purchase_done": custom_attributes.price: invalid_value (minimum)']),
        ({}, ['custom_event "purchase_done": custom_attributes.price: missing_required']),
        (
            {"price": 1, "currency": "secret"},
            ['custom_event "purchase_done": custom_attributes.currency: invalid_value (enum)'],
        ),
        (
            {"price": 1, "mail": "secret"},
            ['custom_event "purchase_done": custom_attributes.mail: invalid_value (format)'],
        ),
        ({"price": 1, "secret": 2}, ['custom_event "purchase_done": custom_attributes: unplanned attribute']),
        (
            {"price": 1, "secret": 2, "colour": "red"},
            [
                'custom_event "purchase_done": custom_attributes.colour: unplanned',
                'custom_event "purchase_done": custom_attributes: unplanned attribute',
            ],
        ),
        (
            {"price": 1, "colour": "red"},
            ['custom_event "purchase_done": custom_attributes.colour: unplanned'],
        ),
    ],
)
def test_a_rule_names_the_plans_own_words(attributes: dict[str, Any], rules: list[str]) -> None:
    assert _judged(events=[_bought(**attributes)]) == [(rule, 0) for rule in rules]


def test_an_event_that_no_data_point_is_about_is_unplanned_and_not_named() -> None:
    events = [
        {"event_type": "custom_event", "data": {"event_name": "secret", "custom_event_type": "other"}},
        {"event_type": "custom_event", "data": {"event_name": "purchase_done", "custom_event_type": "other"}},
        {"event_type": "screen_view", "data": {"screen_name": "secret"}},
        {"event_type": "commerce_event", "data": {"product_action": {"action": "refund"}}},
        {"event_type": "commerce_event", "data": {"product_impressions": [{}], "promotion_action": {"action": "view"}}},
    ]
    kinds = ["custom_event", "custom_event", "screen_view", "product_action", "product_impression"]
    assert _judged(events=events) == [(f"{kind}: unplanned", number) for number, kind in enumerate(kinds)]


def test_events_that_a_plan_cannot_describe_are_not_judged() -> None:
    assert _judged(events=[{"event_type": "session_start", "data": {}}, {"event_type": "opt_out"}]) == []


def test_products_are_judged_one_by_one_and_counted_once_an_event() -> None:
    products = [{"id": "1"}, {"id": "secret"}, {"id": "also"}]
    event = {"event_type": "commerce_event", "data": {"product_action": {"action": "purchase", "products": products}}}
    rule = 'product_action "purchase": product_action.products[].id: invalid_value (pattern)'
    assert _judged(events=[event, event]) == [(rule, 0), (rule, 1)]


def test_a_user_is_judged_apart_from_the_events() -> None:
    assert _judged(
        events=[_bought(price=1)], user_attributes={"plan": 1, "colour": 2, "secret": 3}, user_identities={"email": "e"}
    ) == [
        ("user_attributes: colour: unplanned", None),
        ("user_attributes: unplanned attribute", None),
        ("user_attributes: plan: invalid_value (type)", None),
        ("user_identities: unplanned attribute", None),
    ]


def test_an_identity_is_found_under_the_plans_spelling() -> None:
    assert _judged(user_identities={"customer_id": "x"}) == [
        ("user_identities: customerid: invalid_value (pattern)", None)
    ]


def test_what_a_plan_or_a_batch_does_not_speak_of_is_not_judged() -> None:
    empty = Judge(DataPlan(document={"data_points": []}))
    assert empty.judge([b'{"user_attributes":{"a":1},"user_identities":{"email":"x"},"events":null}', b"{}"]) == [
        (),
        (),
    ]


_ANY = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.text("SECRET", min_size=3, max_size=6),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text("SECRET", min_size=3), inner, max_size=2),
    max_leaves=6,
)


@given(
    attributes=st.dictionaries(st.sampled_from(["price", "currency", "mail", "SECRET"]), _ANY),
    user=st.dictionaries(st.sampled_from(["plan", "SECRET"]), _ANY),
)
def test_no_rule_tells_a_value(attributes: dict[str, Any], user: dict[str, Any]) -> None:
    (violations,) = JUDGE.judge([orjson.dumps({"events": [_bought(**attributes)], "user_attributes": user})])
    assert not any(set("SECRT") <= set(violation.rule) or "SECRET" in violation.rule for violation in violations)
    assert all(isinstance(violation, Violation) for violation in violations)
