"""Every field of a batch that an event pipeline may fill, and those that it may not.

The one table that mappings are checked against; a test compares it with mParticle's schema, both ways.

Source: mParticle's JSON Schema of the Events API (mparticle.inbound.eventsapi.schema.json).
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from shared.mapping.destinations import DEVICE_INFO, RESERVED, USER_IDENTITIES, ValueType
from shared.mapping.event_fields import EVENT_TYPES, EVENTS, IDENTITY_TYPES, LOCATION
from shared.mapping.tree import Entries, Field, Group, Keys, Node, PerType

_TEXT: Final = Field(ValueType.TEXT)
_INTEGER: Final = Field(ValueType.INT64)
_BOOLEAN: Final = Field(ValueType.BOOLEAN)
_INSTANT: Final = Field(ValueType.EPOCH_MS)
_SCALARS: Final = Keys(Field(ValueType.SCALAR))


def _identity(name: str) -> Field:
    return Field(RESERVED[name].value, is_identity=True)


def _texts(*names: str) -> dict[str, Node]:
    return dict.fromkeys(names, _TEXT)


_DEVICE_IDENTITIES: Final = tuple(name for name, found in RESERVED.items() if found.path[0] == DEVICE_INFO)
_PURPOSE: Final = Group(
    {
        "regulation": _TEXT,
        "document": _TEXT,
        "consented": _BOOLEAN,
        "timestamp_unixtime_ms": _INSTANT,
        "location": _TEXT,
        "hardware_id": _TEXT,
    },
    required=("consented", "timestamp_unixtime_ms"),
)
_DEVICE: Final = Group(
    {
        **{name: _identity(name) for name in _DEVICE_IDENTITIES},
        **_texts("brand", "product", "device", "device_manufacturer", "device_model"),
        "platform": Field(
            ValueType.CHOICE,
            ("iOS", "Android", "web", "tvOS", "roku", "out_of_band", "alexa", "smart_tv", "fire_tv", "xbox"),
        ),
        "os_version": _TEXT,
        "screen_height": _INTEGER,
        "screen_width": _INTEGER,
        "screen_dpi": _INTEGER,
        **_texts("device_country", "locale_language", "locale_country"),
        **_texts("network_country", "network_carrier", "network_code", "network_mobile_country_code"),
        "timezone_offset": _INTEGER,
        **_texts("build_identifier", "build_version_release", "http_header_user_agent", "cpu_architecture"),
        "att_authorization_status": Field(ValueType.CHOICE, ("authorized", "denied", "not_determined", "restricted")),
        "att_timestamp_unixtime_ms": _INSTANT,
        "is_tablet": _BOOLEAN,
        "push_notification_sound_enabled": _BOOLEAN,
        "push_notification_vibrate_enabled": _BOOLEAN,
        "radio_access_technology": _TEXT,
        "supports_telephony": _BOOLEAN,
        "has_nfc": _BOOLEAN,
        "bluetooth_enabled": _BOOLEAN,
        "bluetooth_version": _TEXT,
        "limit_ad_tracking": _BOOLEAN,
        "is_dst": _BOOLEAN,
    }
)
_APPLICATION: Final = Group(
    {
        **_texts("application_name", "application_version", "application_build_number", "install_referrer", "package"),
        "os": Field(
            ValueType.CHOICE,
            (
                "IOS",
                "Android",
                "WindowsPhone",
                "MobileWeb",
                "UnityIOS",
                "UnityAndroid",
                "Desktop",
                "TVOS",
                "Roku",
                "OutOfBand",
                "Alexa",
                "SmartTV",
                "FireTV",
                "Xbox",
            ),
        ),
        "apple_search_ads_attributes": Keys(_SCALARS, "campaign"),
    }
)

BATCH: Final = Group(
    {
        USER_IDENTITIES: Group(dict.fromkeys(IDENTITY_TYPES, Field(ValueType.STRING, is_identity=True))),
        "mpid": _identity("mpid"),
        "mp_deviceid": _identity("mp_deviceid"),
        "events": Entries(
            Group({"event_type": Field(ValueType.CHOICE, EVENT_TYPES), "data": PerType(EVENTS)}, ("event_type",))
        ),
        "user_attributes": Keys(Field(ValueType.ATTRIBUTE)),
        "deleted_user_attributes": Field(ValueType.TEXTS),
        DEVICE_INFO: _DEVICE,
        "application_info": _APPLICATION,
        "ip": Field(ValueType.IP),
        "environment": Field(ValueType.CHOICE, ("development", "production")),
        "context": Group(
            {
                "data_plan": Group({"plan_id": _TEXT, "plan_version": _INTEGER}, required=("plan_id",)),
                "location": LOCATION,
            }
        ),
        "consent_state": Group(
            {"gdpr": Keys(_PURPOSE, "purpose"), "ccpa": Keys(_PURPOSE, "purpose", only=("data_sale_opt_out",))}
        ),
        "integration_attributes": Keys(_SCALARS, "module"),
        "partner_identities": _SCALARS,
        "attribution_info": Group(
            _texts("service_provider", "publisher", "campaign"), required=("service_provider", "publisher", "campaign")
        ),
    }
)

_BY_MPARTICLE: Final = "mParticle sets it itself"
UNSETTABLE: Final[Mapping[str, str]] = MappingProxyType(
    {
        "source_request_id": "Warehouse Sync sets it, because mParticle knows a batch that is sent again by it",
        "timestamp_unixtime_ms": (
            f"{_BY_MPARTICLE}; when the event happened goes to events.data.timestamp_unixtime_ms"
        ),
        "api_key": "the feed that a pipeline names says whose batches they are",
        "api_keys": "the feed that a pipeline names says whose batches they are",
        "partner_identity": "mParticle replaced it; use partner_identities.<name>",
        "batch_id": _BY_MPARTICLE,
        "source_info": _BY_MPARTICLE,
        "schema_version": _BY_MPARTICLE,
        "origin_mpid": _BY_MPARTICLE,
        "job_id": _BY_MPARTICLE,
        "sdk_version": _BY_MPARTICLE,
        "events.data.event_system_notification_info": _BY_MPARTICLE,
        "events.data.breadcrumbs": "send each breadcrumb as an event of its own, of the type breadcrumb",
    }
)
"""Fields of mParticle's schema that no mapping may fill, and why."""
