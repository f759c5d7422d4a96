"""What an event's ``data`` may hold, by the type of the event.

Text that mParticle's schema lets be any scalar is text here, so that a field has one type in all rows. Instants are
milliseconds since 1970 (``epoch_ms``), durations plain integers.

Source: mParticle's JSON Schema of the Events API (mparticle.inbound.eventsapi.schema.json).
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from shared.mapping.commerce_fields import COMMERCE, COMMERCE_NEEDS_ONE_OF, CUSTOM_EVENT_TYPES
from shared.mapping.destinations import ValueType
from shared.mapping.tree import Field, Group, Keys, Node

_TEXT: Final = Field(ValueType.TEXT)
_NUMBER: Final = Field(ValueType.NUMBER)
_INTEGER: Final = Field(ValueType.INT64)
_BOOLEAN: Final = Field(ValueType.BOOLEAN)
_INSTANT: Final = Field(ValueType.EPOCH_MS)
_ATTRIBUTE: Final = Field(ValueType.ATTRIBUTE)
_SCALARS: Final = Keys(Field(ValueType.SCALAR))

_ORIENTATION: Final = Field(
    ValueType.CHOICE,
    (
        "portrait",
        "portrait_upside_down",
        "landscape",
        "LandscapeLeft",
        "LandscapeRight",
        "FaceUp",
        "FaceDown",
        "Square",
    ),
)
IDENTITY_TYPES: Final = (
    "other",
    "customer_id",
    "facebook",
    "twitter",
    "google",
    "microsoft",
    "yahoo",
    "email",
    "alias",
    "facebook_custom_audience_id",
    *(f"other_id_{number}" for number in range(2, 11)),
    "mobile_number",
    "phone_number_2",
    "phone_number_3",
)

LOCATION: Final = Group(
    {
        "latitude": _NUMBER,
        "longitude": _NUMBER,
        "accuracy": _NUMBER,
        "dma_code": _INTEGER,
        "country_code": _TEXT,
        "region_code": _TEXT,
        "postal_code": _TEXT,
        "location_source": _TEXT,
        "city_name": _TEXT,
    },
    required=("latitude", "longitude"),
)

_COMMON: Final[dict[str, Node]] = {
    "timestamp_unixtime_ms": _INSTANT,
    "event_id": _INTEGER,
    "source_message_id": _TEXT,
    "session_id": _INTEGER,
    "session_uuid": Field(ValueType.UUID),
    "session_start_unixtime_ms": _INSTANT,
    "event_start_unixtime_ms": _INSTANT,
    "custom_attributes": _SCALARS,
    "location": LOCATION,
    "device_current_state": Group(
        {
            "time_since_start_ms": _INTEGER,
            "battery_level": _NUMBER,
            "data_connection_type": _TEXT,
            "data_connection_type_detail": _TEXT,
            "gps_state": _BOOLEAN,
            "total_system_memory_usage_bytes": _INTEGER,
            "disk_space_free_bytes": _INTEGER,
            "external_disk_space_free_bytes": _INTEGER,
            "cpu": _TEXT,
            "system_memory_available_bytes": _NUMBER,
            "system_memory_low": _BOOLEAN,
            "system_memory_threshold_bytes": _NUMBER,
            "application_memory_available_bytes": _NUMBER,
            "application_memory_max_bytes": _NUMBER,
            "application_memory_total_bytes": _NUMBER,
            "device_orientation": _ORIENTATION,
            "status_bar_orientation": _ORIENTATION,
        }
    ),
    "is_goal_defined": _BOOLEAN,
    "lifetime_value_change": _NUMBER,
    "lifetime_value_attribute_name": _TEXT,
    "data_connection_type": _TEXT,
    "event_num": _INTEGER,
    "view_controller": _TEXT,
    "is_main_thread": _BOOLEAN,
    "canonical_name": _TEXT,
}

_IDENTITY: Final = Group(
    {
        "identity_type": Field(ValueType.CHOICE, IDENTITY_TYPES),
        "identity": _TEXT,
        "timestamp_unixtime_ms": _INSTANT,
        "created_this_batch": _BOOLEAN,
    },
    required=("identity_type", "identity", "timestamp_unixtime_ms"),
)


def _words(*choices: str) -> Field:
    return Field(ValueType.CHOICE, choices)


def _event(fields: Mapping[str, Node], *required: str, any_of: tuple[str, ...] = ()) -> Group:
    return Group({**_COMMON, **fields}, required, any_of)


EVENTS: Final[Mapping[str, Group]] = MappingProxyType(
    {
        "custom_event": _event(
            {"event_name": _TEXT, "custom_event_type": _words(*CUSTOM_EVENT_TYPES), "custom_flags": _SCALARS},
            "custom_event_type",
            "event_name",
        ),
        "screen_view": _event({"screen_name": _TEXT, "activity_type": _TEXT, "custom_flags": _SCALARS}, "screen_name"),
        "commerce_event": _event(COMMERCE, any_of=COMMERCE_NEEDS_ONE_OF),
        "session_start": _event({}),
        "session_end": _event({"session_duration_ms": _INTEGER}, "session_duration_ms"),
        "application_state_transition": _event(
            {
                "application_transition_type": _words(
                    "application_initialized", "application_exit", "application_background", "application_foreground"
                ),
                "successfully_closed": _BOOLEAN,
                "is_first_run": _BOOLEAN,
                "is_upgrade": _BOOLEAN,
                "push_notification_payload": _TEXT,
                "launch_referral": _TEXT,
            },
            "application_transition_type",
        ),
        "push_registration": _event(
            {"register": _BOOLEAN, "registration_token": _TEXT}, "register", "registration_token"
        ),
        "push_message": _event(
            {
                "push_message_token": _TEXT,
                "push_message_type": _words("sent", "received", "action"),
                "message": _TEXT,
                "network": _TEXT,
                "push_notification_payload": _TEXT,
                "application_state": _words("not_running", "background", "foreground"),
                "action_identifier": _TEXT,
                "push_message_behavior": _words("Received", "DirectOpen", "Read", "InfluencedOpen", "Displayed"),
            },
            "push_message_token",
            "push_message_type",
            "push_notification_payload",
        ),
        "opt_out": _event({"is_opted_out": _BOOLEAN}, "is_opted_out"),
        "crash_report": _event(
            {
                "class_name": _TEXT,
                "severity": _TEXT,
                "message": _TEXT,
                "stack_trace": _TEXT,
                "exception_handled": _BOOLEAN,
                "topmost_context": _TEXT,
                "pl_crash_report_file_base64": _TEXT,
                "ios_image_base_address": _INTEGER,
                "ios_image_size": _INTEGER,
                "session_number": _INTEGER,
            },
            "severity",
            "message",
        ),
        "network_performance": _event(
            {
                "http_verb": _TEXT,
                "url": _TEXT,
                "time_elapsed": _INTEGER,
                "bytes_in": _INTEGER,
                "bytes_out": _INTEGER,
                "response_code": _INTEGER,
                "data": _TEXT,
            },
            "url",
            "response_code",
        ),
        "breadcrumb": _event({"session_number": _INTEGER, "label": _TEXT}, "label"),
        "profile": _event(
            {
                "previous_mpid": _INTEGER,
                "current_mpid": _INTEGER,
                "profile_event_type": _words("signup", "login", "logout", "update", "delete"),
            },
            "previous_mpid",
            "current_mpid",
            "profile_event_type",
        ),
        "user_attribute_change": _event(
            {
                "user_attribute_name": _TEXT,
                "new": _ATTRIBUTE,
                "old": _ATTRIBUTE,
                "deleted": _BOOLEAN,
                "is_new_attribute": _BOOLEAN,
            },
            "user_attribute_name",
        ),
        "user_identity_change": _event({"new": _IDENTITY, "old": _IDENTITY}, "new", "old"),
        "first_run": _event({}),
        "uninstall": _event({}),
    }
)
"""Event type to its fields, in the order in which the documentation lists them."""

EVENT_TYPES: Final = tuple(EVENTS)
