"""What an event may hold and must hold, by its type, as mParticle's JSON Schema for inbound batches says.

Written down a second time on purpose, like the fields of a batch. ``data`` may hold any other field beside the known
ones, whatever its value: the schema closes the objects inside of it and only some events around it. Where the schema
lists words beside a reference, which draft-07 ignores, any scalar will do.

Source: mparticle.inbound.eventsapi.schema.json (docs.mparticle.com/schema).
"""

from collections.abc import Mapping
from typing import Any, Final

from sandbox.fields import (
    IDENTITIES,
    LOCATION,
    Check,
    attribute,
    closed,
    flag,
    list_of,
    map_of,
    number,
    one_of,
    scalar,
    text,
    uuid,
    whole,
)

_DEVICE_STATE: Final = closed({
    **dict.fromkeys(
        (
            "time_since_start_ms", "total_system_memory_usage_bytes", "disk_space_free_bytes",
            "external_disk_space_free_bytes",
        ),
        whole,
    ),
    **dict.fromkeys(
        (
            "battery_level", "system_memory_available_bytes", "system_memory_threshold_bytes",
            "application_memory_available_bytes", "application_memory_max_bytes", "application_memory_total_bytes",
        ),
        number,
    ),
    **dict.fromkeys(
        (
            "data_connection_type", "data_connection_type_detail", "cpu", "device_orientation",
            "status_bar_orientation",
        ),
        scalar,
    ),
    **dict.fromkeys(("gps_state", "system_memory_low"), flag),
})  # fmt: skip

_EVERY: Final[dict[str, Check]] = {
    **dict.fromkeys(
        (
            "timestamp_unixtime_ms", "event_id", "session_id", "session_start_unixtime_ms",
            "event_start_unixtime_ms", "event_num",
        ),
        whole,
    ),
    **dict.fromkeys(
        ("lifetime_value_attribute_name", "data_connection_type", "view_controller", "canonical_name"), scalar
    ),
    **dict.fromkeys(("is_goal_defined", "is_main_thread"), flag),
    "source_message_id": text,
    "session_uuid": uuid,
    "custom_attributes": map_of(scalar),
    "location": LOCATION,
    "device_current_state": _DEVICE_STATE,
    "lifetime_value_change": number,
    "event_system_notification_info": closed({"type": one_of("gdpr_change")}, required=("type",), is_open=True),
}  # fmt: skip

_PRODUCTS: Final = list_of(closed(
    {
        **dict.fromkeys(("id", "name"), text),
        **dict.fromkeys(("brand", "category", "variant", "coupon_code"), scalar),
        **dict.fromkeys(("position", "added_to_cart_time_ms"), whole),
        **dict.fromkeys(("price", "quantity", "total_product_amount"), number),
        "custom_attributes": map_of(text),
    },
    is_open=True,
))  # fmt: skip

_PRODUCT_ACTION: Final = closed(
    {
        **dict.fromkeys(
            ("checkout_options", "product_action_list", "product_list_source", "affiliation", "coupon_code"), scalar
        ),
        **dict.fromkeys(("total_amount", "tax_amount", "shipping_amount"), number),
        "action": one_of(
            "add_to_cart", "remove_from_cart", "checkout", "checkout_option", "click", "view_detail", "purchase",
            "refund", "add_to_wishlist", "remove_from_wish_list",
        ),
        "checkout_step": whole,
        "transaction_id": text,
        "products": _PRODUCTS,
    },
    required=("action",),
)  # fmt: skip

_PROMOTION_ACTION: Final = closed(
    {
        "action": one_of("view", "click"),
        "promotions": list_of(
            closed({**dict.fromkeys(("id", "name"), text), **dict.fromkeys(("creative", "position"), scalar)}),
            nullable=False,
        ),
    },
    required=("action",),
)

_IMPRESSIONS: Final = list_of(
    closed({"product_impression_list": text, "products": _PRODUCTS}, required=("product_impression_list", "products"))
)

_KINDS: Final = (
    "navigation", "location", "search", "transaction", "user_content", "user_preference", "social", "other", "media",
)  # fmt: skip

_COMMERCE_KINDS: Final = (
    "add_to_cart", "remove_from_cart", "checkout", "checkout_option", "click", "view_detail", "purchase", "refund",
    "promotion_view", "promotion_click", "add_to_wishlist", "remove_from_wishlist", "impression", "attribution",
    "consent_granted", "consent_denied",
)  # fmt: skip

_IDENTITY: Final = closed(
    {
        "identity_type": one_of(*IDENTITIES),
        "identity": scalar,
        "timestamp_unixtime_ms": whole,
        "created_this_batch": flag,
    },
    required=("identity_type", "identity", "timestamp_unixtime_ms"),
)

_BREADCRUMB: Final[dict[str, Check]] = {"label": text, "session_number": whole}

_OWN: Final[dict[str, dict[str, Check]]] = {
    "session_start": {},
    "session_end": {"session_duration_ms": whole},
    "screen_view": {"screen_name": text, "activity_type": scalar, "custom_flags": map_of(scalar)},
    "custom_event": {"custom_event_type": one_of(*_KINDS), "event_name": text, "custom_flags": map_of(scalar)},
    "crash_report": {
        **dict.fromkeys(
            ("class_name", "severity", "message", "stack_trace", "topmost_context", "pl_crash_report_file_base64"),
            scalar,
        ),
        **dict.fromkeys(("ios_image_base_address", "ios_image_size", "session_number"), whole),
        "exception_handled": flag,
        "breadcrumbs": lambda crumbs: crumbs is None or (type(crumbs) is list and all(map(_is_breadcrumb, crumbs))),
    },
    "opt_out": {"is_opted_out": flag},
    "first_run": {},
    "push_registration": {"register": flag, "registration_token": text},
    "application_state_transition": {
        **dict.fromkeys(("successfully_closed", "is_first_run", "is_upgrade"), flag),
        **dict.fromkeys(("push_notification_payload", "launch_referral"), scalar),
        "application_transition_type": one_of(
            "application_initialized", "application_exit", "application_background", "application_foreground"
        ),
    },
    "push_message": {
        **dict.fromkeys(
            (
                "push_message_token", "message", "network", "push_notification_payload", "application_state",
                "action_identifier", "push_message_behavior",
            ),
            scalar,
        ),
        "push_message_type": one_of("sent", "received", "action"),
    },
    "network_performance": {
        **dict.fromkeys(("http_verb", "url"), text),
        **dict.fromkeys(("time_elapsed", "bytes_in", "bytes_out", "response_code"), whole),
        "data": scalar,
    },
    "breadcrumb": _BREADCRUMB,
    "profile": {
        **dict.fromkeys(("previous_mpid", "current_mpid"), whole),
        "profile_event_type": one_of("signup", "login", "logout", "update", "delete"),
    },
    "commerce_event": {
        "product_action": _PRODUCT_ACTION,
        "promotion_action": _PROMOTION_ACTION,
        "product_impressions": _IMPRESSIONS,
        "shopping_cart": closed(
            {"products": lambda value: value is not None and _PRODUCTS(value)}, required=("products",)
        ),
        "currency_code": scalar,
        "screen_name": text,
        "is_non_interactive": flag,
        "event_name": text,
        "custom_event_type": one_of(*_KINDS, *_COMMERCE_KINDS),
        "custom_flags": map_of(scalar),
    },
    "user_attribute_change": {
        **dict.fromkeys(("new", "old"), attribute),
        **dict.fromkeys(("deleted", "is_new_attribute"), flag),
        "user_attribute_name": text,
    },
    "user_identity_change": dict.fromkeys(("new", "old"), _IDENTITY),
    "uninstall": {},
}  # fmt: skip

EVENTS: Final[Mapping[str, Mapping[str, Check]]] = {kind: {**_EVERY, **own} for kind, own in _OWN.items()}
"""Each event type and the known fields of its ``data``."""

REQUIRED: Final[Mapping[str, tuple[str, ...]]] = {
    **dict.fromkeys(EVENTS, ()),
    "session_end": ("session_duration_ms",),
    "screen_view": ("screen_name",),
    "custom_event": ("custom_event_type", "event_name"),
    "crash_report": ("severity", "message"),
    "opt_out": ("is_opted_out",),
    "push_registration": ("register", "registration_token"),
    "application_state_transition": ("application_transition_type",),
    "push_message": ("push_message_token", "push_message_type", "push_notification_payload"),
    "network_performance": ("url", "response_code"),
    "breadcrumb": ("label",),
    "profile": ("previous_mpid", "current_mpid", "profile_event_type"),
    "user_attribute_change": ("user_attribute_name",),
    "user_identity_change": ("new", "old"),
}
"""What ``data`` must hold; null will do where the field may be null."""

_CLOSED: Final = frozenset({
    "custom_event", "application_state_transition", "breadcrumb", "commerce_event", "first_run",
})  # fmt: skip
"""Events that hold nothing beside their type and ``data``."""

_MEMBERS: Final = 2


def flaw_of_event(event: Any) -> str | None:
    """Give the reason why mParticle would not process a batch with this event, or None.

    A field of ``data`` is named in the reason; only known ones can be bad.
    """
    if type(event) is not dict:
        return "bad_event"
    kind, data = event.get("event_type"), event.get("data")
    if type(kind) is not str or kind not in EVENTS:
        return "bad_event_type"
    if type(data) is not dict or (len(event) > _MEMBERS and kind in _CLOSED):
        return "bad_event"
    known = EVENTS[kind]
    for name, value in data.items():
        check = known.get(name)
        if check is not None and not check(value):
            return f"bad_event_{name}"
    for name in REQUIRED[kind]:
        if name not in data:
            return f"no_event_{name}"
    return None


def _is_breadcrumb(event: Any) -> bool:
    return flaw_of_event(event) is None and bool(event["event_type"] == "breadcrumb")
