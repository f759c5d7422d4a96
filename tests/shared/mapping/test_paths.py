import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.mapping.batch_fields import UNSETTABLE
from shared.mapping.event_fields import EVENT_TYPES
from shared.mapping.paths import Place, Unknown, dotted, find, nearest, templates
from shared.mapping.tree import Entries, Field

IN_THE_MIDDLE = st.text(st.characters(codec="utf-8", exclude_characters=".[]"), min_size=1, max_size=20)
AT_THE_END = st.text(st.characters(codec="utf-8"), min_size=1, max_size=40)


def place(text: str) -> Place:
    found = find(text)
    assert isinstance(found, Place), f"{text}: {found.reason}"
    return found


def why(text: str) -> str:
    found = find(text)
    assert isinstance(found, Unknown), text
    return found.reason


@settings(deadline=None)
@given(st.data())
def test_every_destination_is_found_by_its_path_with_any_free_names(data: st.DataObject) -> None:
    template = data.draw(st.sampled_from(templates()))
    names = [
        data.draw(AT_THE_END if at == len(template) - 1 else IN_THE_MIDDLE) if name.startswith("<") else name
        for at, name in enumerate(template)
    ]
    found = place(".".join(names))
    assert dotted(found.path) == str(found) == ".".join(names)
    assert [name for name in found.path if name != 0] == names


@settings(deadline=None)
@given(st.sampled_from(templates()), st.sampled_from(["[0]", "[*]", "[]"]))
def test_lists_may_be_marked_and_a_dollar_may_stand_before(template: tuple[str, ...], mark: str) -> None:
    plain = ".".join(template)
    marked = re.sub(r"\b(events|products|promotions|product_impressions)(?=\.)", rf"\1{mark}", plain)
    assert place(f"$.{marked}") == place(plain)
    if isinstance(next(iter(place(plain).by_type.values())), Entries):
        assert place(f"{marked}{mark}") == place(plain)


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("events.event_type", ("events", 0, "event_type")),
        (
            "events[0].data.product_action.products[*].custom_attributes.size in cm.eu",
            ("events", 0, "data", "product_action", "products", 0, "custom_attributes", "size in cm.eu"),
        ),
        ("events.data.product_action.products", ("events", 0, "data", "product_action", "products")),
        (
            "events.data.product_impressions.products.id",
            ("events", 0, "data", "product_impressions", 0, "products", 0, "id"),
        ),
        ("user_attributes.$City", ("user_attributes", "$City")),
        ("$.user_attributes.$.[0]", ("user_attributes", "$.[0]")),
        ("consent_state.gdpr.a.b c.consented", ("consent_state", "gdpr", "a.b c", "consented")),
        ("consent_state.ccpa.data_sale_opt_out.document", ("consent_state", "ccpa", "data_sale_opt_out", "document")),
        ("integration_attributes.128.client.id", ("integration_attributes", "128", "client.id")),
    ],
)
def test_a_path_leads_where_its_names_say(text: str, path: tuple[str | int, ...]) -> None:
    assert place(text).path == path


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("event_type", "events.event_type"),
        ("data.event_name", "events.data.event_name"),
        ("events.data.Event_Name", "events.data.event_name"),
        ("events[1].data.event_name", "events.data.event_name"),
        ("user_identities.Email", "user_identities.email"),
        ("user_atributes.plan tier", "user_attributes.plan tier"),
        ("custom_attributes.color", "events.data.custom_attributes.color"),
        ("events.data.custom_attribute.a", "events.data.custom_attributes.a"),
        ("events.data.product_action.product.id", "events.data.product_action.products.id"),
        ("events.data.custom_event_types", "events.data.custom_event_type"),
        ("consent_state.ccpa.sale.consented", "consent_state.ccpa.data_sale_opt_out.consented"),
        ("device_info.ios_idfv[0]", "device_info.ios_idfv"),
    ],
)
def test_what_does_not_exist_is_told_with_the_nearest_that_does(text: str, meant: str) -> None:
    assert why(text) == f"does not exist; the nearest that does is {meant!r}"


@settings(deadline=None)
@given(st.text(max_size=60))
def test_the_nearest_to_any_text_can_be_mapped(text: str) -> None:
    assert isinstance(find(nearest(text)), Place)


@pytest.mark.parametrize(
    ("text", "such_as"),
    [
        ("events", "events.event_type"),
        ("events.data", "events.data.timestamp_unixtime_ms"),
        ("user_attributes.", "user_attributes.<name>"),
        ("events.data.location", "events.data.location.latitude"),
        ("consent_state.gdpr", "consent_state.gdpr.<purpose>.regulation"),
    ],
)
def test_an_object_is_no_destination_and_its_fields_are(text: str, such_as: str) -> None:
    assert why(text) == f"is an object and not a field; map what it has, such as {such_as!r}"


@pytest.mark.parametrize("text", UNSETTABLE)
def test_what_others_set_is_refused_with_the_reason(text: str) -> None:
    assert why(f"$.{text}") == f"cannot be mapped: {UNSETTABLE[text]}"
    assert why(f"{text}.anything") == why(text)


def test_a_field_is_known_by_the_event_types_that_have_it() -> None:
    assert set(place("events.data.screen_name").by_type) == {"screen_view", "commerce_event"}
    assert tuple(place("events.data.source_message_id").by_type) == EVENT_TYPES
    assert tuple(place("ip").by_type) == EVENT_TYPES
    assert set(place("events.data.new").by_type) == {"user_attribute_change"}
    assert set(place("events.data.new.identity").by_type) == {"user_identity_change"}


def test_the_same_name_may_have_other_words_in_other_events() -> None:
    found = place("events.data.custom_event_type").by_type
    assert isinstance(custom := found["custom_event"], Field)
    assert isinstance(commerce := found["commerce_event"], Field)
    assert set(custom.choices) < set(commerce.choices)
