"""What the 17 types of events need and some of what else they may have, as plans of tests are made of it."""

from dataclasses import dataclass, field

from shared.mapping.destinations import ValueType
from shared.mapping.plan import EVENT_DATA, Leaf, Need, Needed, Path

T, N, INT, B, MS, S = (
    ValueType.TEXT,
    ValueType.NUMBER,
    ValueType.INT64,
    ValueType.BOOLEAN,
    ValueType.EPOCH_MS,
    ValueType.SCALAR,
)


@dataclass(frozen=True)
class Spot:
    """A field and what it accepts."""

    path: Path
    value: ValueType
    choices: tuple[str, ...] = ()
    is_identity: bool = False
    members: tuple[Leaf, ...] = ()
    needs: tuple[Need, ...] = ()


@dataclass(frozen=True)
class Kind:
    """One type of event: fields that it needs, and others."""

    needed: tuple[Spot, ...] = ()
    others: tuple[Spot, ...] = ()
    any_of: tuple[str, ...] = field(default=())


def spots(*top: str | int, **fields: ValueType | tuple[str, ...]) -> tuple[Spot, ...]:
    """Give fields of one object; words instead of a value type are the choices of one."""
    return tuple(
        Spot((*top, name), ValueType.CHOICE, choices=value) if isinstance(value, tuple) else Spot((*top, name), value)
        for name, value in fields.items()
    )


def data(**fields: ValueType | tuple[str, ...]) -> tuple[Spot, ...]:
    return spots(*EVENT_DATA, **fields)


def _members(*members: tuple[str, ValueType]) -> tuple[Leaf, ...]:
    return tuple(Leaf(name, tuple(name.split(".")), value) for name, value in members)


PRODUCT = _members(
    ("id", T),
    ("name", T),
    ("brand", T),
    ("position", INT),
    ("price", N),
    ("quantity", N),
    ("added_to_cart_time_ms", MS),
    ("custom_attributes.size", T),
    ('custom_attributes.a "b"', T),
)  # fmt: skip
PROMOTION = _members(("id", T), ("name", T), ("position", T))
IMPRESSION = (
    Leaf("product_impression_list", ("product_impression_list",), T),
    Leaf("products", ("products",), ValueType.OBJECTS, members=PRODUCT[:5]),
)
_KINDS = ("navigation", "location", "search", "transaction", "user_content", "other", "media")
_ACTIONS = ("add_to_cart", "purchase", "remove_from_wish_list")
_ACTION = (*EVENT_DATA, "product_action")
_PROMOTIONS = (*EVENT_DATA, "promotion_action")
_IMPRESSIONS = (*EVENT_DATA, "product_impressions")
_CART = (*EVENT_DATA, "shopping_cart")

COMMON = (
    *data(
        timestamp_unixtime_ms=MS, source_message_id=T, session_uuid=ValueType.UUID, session_start_unixtime_ms=MS,
        event_num=INT, is_goal_defined=B, lifetime_value_change=N, canonical_name=T,
    ),
    *spots(*EVENT_DATA, "custom_attributes", plan=S, **{'a "b".c': S, "z": S}),
    *spots(*EVENT_DATA, "location", latitude=N, longitude=N, city_name=T, dma_code=INT),
    *spots(*EVENT_DATA, "device_current_state", battery_level=N, gps_state=B, cpu=T, time_since_start_ms=INT),
)  # fmt: skip
KINDS: dict[str, Kind] = {
    "session_start": Kind(),
    "session_end": Kind(data(session_duration_ms=INT)),
    "screen_view": Kind(
        data(screen_name=T), (*data(activity_type=T), *spots(*EVENT_DATA, "custom_flags", one=S))
    ),
    "custom_event": Kind(
        data(custom_event_type=_KINDS, event_name=T), spots(*EVENT_DATA, "custom_flags", one=S, two=S)
    ),
    "crash_report": Kind(
        data(severity=T, message=T), data(exception_handled=B, ios_image_size=INT, stack_trace=T, session_number=INT)
    ),
    "opt_out": Kind(data(is_opted_out=B)),
    "first_run": Kind(),
    "push_registration": Kind(data(register=B, registration_token=T)),
    "application_state_transition": Kind(
        data(application_transition_type=("application_initialized", "application_exit")),
        data(is_upgrade=B, launch_referral=T),
    ),
    "push_message": Kind(
        data(push_message_token=T, push_message_type=("sent", "received", "action"), push_notification_payload=T),
        data(message=T, application_state=("not_running", "background", "foreground")),
    ),
    "network_performance": Kind(data(url=T, response_code=INT), data(http_verb=T, bytes_in=INT, data=T)),
    "breadcrumb": Kind(data(label=T), data(session_number=INT)),
    "profile": Kind(data(previous_mpid=INT, current_mpid=INT, profile_event_type=("signup", "login", "logout"))),
    "commerce_event": Kind(
        (),
        (
            *spots(*_ACTION, action=_ACTIONS, transaction_id=T, total_amount=N, checkout_step=INT),
            *spots(*_ACTION, "products", 0, id=T, name=T, price=N, position=INT),
            *spots(*_ACTION, "products", 0, "custom_attributes", size=T),
            Spot((*_ACTION, "products"), ValueType.OBJECTS, members=PRODUCT),
            *spots(*_PROMOTIONS, action=("view", "click")),
            *spots(*_PROMOTIONS, "promotions", 0, id=T, creative=T),
            Spot((*_PROMOTIONS, "promotions"), ValueType.OBJECTS, members=PROMOTION),
            *spots(*_IMPRESSIONS, 0, product_impression_list=T),
            *spots(*_IMPRESSIONS, 0, "products", 0, id=T, price=N),
            Spot(
                _IMPRESSIONS,
                ValueType.OBJECTS,
                members=IMPRESSION,
                needs=(Need((), ("product_impression_list", "products")),),
            ),
            Spot((*_CART, "products"), ValueType.OBJECTS, members=PRODUCT[2:7]),
            *data(currency_code=T, is_non_interactive=B, custom_event_type=("purchase", *_KINDS)),
        ),
        any_of=("product_action", "promotion_action", "product_impressions"),
    ),
    "user_attribute_change": Kind(
        data(user_attribute_name=T), data(new=ValueType.ATTRIBUTE, old=ValueType.ATTRIBUTE, deleted=B)
    ),
    "user_identity_change": Kind(
        tuple(
            spot
            for side in ("new", "old")
            for spot in spots(
                *EVENT_DATA, side, identity_type=("email", "customer_id"), identity=T, timestamp_unixtime_ms=MS
            )
        ),
        spots(*EVENT_DATA, "new", created_this_batch=B),
    ),
    "uninstall": Kind(),
}  # fmt: skip

IDENTITIES = (
    Spot(("user_identities", "customer_id"), ValueType.STRING, is_identity=True),
    Spot(("user_identities", "email"), ValueType.STRING, is_identity=True),
    Spot(("mpid",), ValueType.INT64, is_identity=True),
    Spot(("mp_deviceid",), ValueType.UUID, is_identity=True),
    Spot(("device_info", "push_token"), ValueType.STRING, is_identity=True),
    Spot(("device_info", "ios_idfv"), ValueType.UUID, is_identity=True),
)
BATCH = (
    *spots("device_info", brand=T, platform=("iOS", "Android", "web"), screen_width=INT, is_tablet=B),
    *spots("application_info", application_version=T, os=("IOS", "Android")),
    *spots("application_info", "apple_search_ads_attributes", "summer", click=S),
    *spots("user_attributes", **{"$Age": ValueType.ATTRIBUTE, "a.b": ValueType.ATTRIBUTE}),
    *spots(deleted_user_attributes=ValueType.TEXTS, ip=ValueType.IP),
    *spots("context", "data_plan", plan_id=T, plan_version=INT),
    *spots("context", "location", latitude=N, longitude=N),
    *spots("consent_state", "gdpr", "marketing", consented=B, timestamp_unixtime_ms=MS, document=T),
    *spots("consent_state", "ccpa", "data_sale_opt_out", consented=B, timestamp_unixtime_ms=MS),
    *spots("integration_attributes", "144", key=S, other=S),
    *spots("partner_identities", some=S),
    *spots("attribution_info", service_provider=T, publisher=T, campaign=T),
)

OBJECT_NEEDS: dict[Path, tuple[str, ...]] = {
    (*EVENT_DATA, "location"): ("latitude", "longitude"),
    ("context", "location"): ("latitude", "longitude"),
    ("context", "data_plan"): ("plan_id",),
    ("consent_state", "gdpr", "marketing"): ("consented", "timestamp_unixtime_ms"),
    ("consent_state", "ccpa", "data_sale_opt_out"): ("consented", "timestamp_unixtime_ms"),
    ("attribution_info",): ("service_provider", "publisher", "campaign"),
    (*EVENT_DATA, "new"): ("identity_type", "identity", "timestamp_unixtime_ms"),
    (*EVENT_DATA, "old"): ("identity_type", "identity", "timestamp_unixtime_ms"),
    _ACTION: ("action",),
    _PROMOTIONS: ("action",),
    (*_IMPRESSIONS, 0): ("product_impression_list", "products"),
    _CART: ("products",),
}
"""Objects and what they must have where they are sent."""


def needs_of(event_types: tuple[str, ...], paths: list[Path]) -> tuple[Need, ...]:
    """Give the needs of a plan for rows with events of these types that fills these fields."""
    needs: list[Need] = []
    if len(event_types) > 1:
        needs.append(Need(EVENT_DATA[:-1], ("event_type",)))
    for event_type in event_types:
        only_for = () if len(event_types) == 1 else (event_type,)
        kind = KINDS[event_type]
        # Of several fields of one needed object, the object is what the event needs.
        names = tuple(dict.fromkeys(str(spot.path[len(EVENT_DATA)]) for spot in kind.needed))
        if names:
            needs.append(Need(EVENT_DATA, names, event_types=only_for))
        if kind.any_of:
            needs.append(Need(EVENT_DATA, kind.any_of, Needed.ANY, event_types=only_for))
    needs += [
        Need(top, fields)
        for top, fields in OBJECT_NEEDS.items()
        # A change of a user attribute has single values where one of an identity has objects.
        if any(path[: len(top)] == top and len(path) > len(top) for path in paths)
    ]
    return tuple(needs)
