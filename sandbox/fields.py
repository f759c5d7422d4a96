"""The fields that a batch may hold, as mParticle's JSON Schema for inbound batches lists them.

Written down a second time on purpose: the stand-in must not share a mistake with the product whose batches it judges.
A check is a predicate over a value as orjson gives it, so types are compared exactly. Where the schema says nothing
about a value, neither do we. mParticle publishes string formats for addresses and enums beside references, which
draft-07 ignores; only the former are checked.

Source: mparticle.inbound.eventsapi.schema.json (docs.mparticle.com/schema).
"""

import re
from collections.abc import Callable, Mapping
from ipaddress import ip_address
from typing import Any, Final

Check = Callable[[Any], bool]

SCALARS: Final[frozenset[type]] = frozenset({str, int, float, bool, type(None)})
_UUID: Final = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")


def scalar(value: Any) -> bool:
    """Accept what the schema calls ``String``: text, and numbers, flags and null beside it."""
    return type(value) in SCALARS


def text(value: Any) -> bool:
    """Accept text only."""
    return type(value) is str


def whole(value: Any) -> bool:
    """Accept whole numbers (1.0 is one in JSON Schema) and null."""
    return value is None or type(value) is int or (type(value) is float and value.is_integer())


def number(value: Any) -> bool:
    """Accept numbers and null."""
    return value is None or type(value) in {int, float}


def flag(value: Any) -> bool:
    """Accept true, false and null."""
    return value is None or type(value) is bool


def uuid(value: Any) -> bool:
    """Accept a UUID in its usual form, in either case, and null."""
    return value is None or (type(value) is str and _UUID.fullmatch(value) is not None)


def address(value: Any) -> bool:
    """Accept an IPv4 or IPv6 address."""
    if type(value) is not str:
        return False
    try:
        ip_address(value)
    except ValueError:
        return False
    return True


def attribute(value: Any) -> bool:
    """Accept a scalar or a list of scalars."""
    return type(value) in SCALARS or list_of_scalars(value)


def list_of_scalars(value: Any) -> bool:
    """Accept a list without lists or objects in it, and null."""
    return value is None or (type(value) is list and SCALARS.issuperset(map(type, value)))


def list_of_text(value: Any) -> bool:
    """Accept a list of text, and null."""
    return value is None or (type(value) is list and all(type(item) is str for item in value))


def attributes(value: Any) -> bool:
    """Accept a map of names to scalars or lists of scalars, and null."""
    if type(value) is not dict:
        return value is None
    # Scalars only, the usual case, is decided without a step of Python per value.
    return SCALARS.issuperset(map(type, value.values())) or all(map(attribute, value.values()))


def one_of(*names: str) -> Check:
    """Accept these words only."""
    allowed = frozenset(names)
    return lambda value: type(value) is str and value in allowed


def map_of(check: Check, *, nullable: bool = True) -> Check:
    """Accept an object of any names whose values all pass."""
    return lambda value: nullable if value is None else type(value) is dict and all(map(check, value.values()))


def list_of(check: Check, *, nullable: bool = True) -> Check:
    """Accept a list whose items all pass."""
    return lambda value: nullable if value is None else type(value) is list and all(map(check, value))


def closed(fields: Mapping[str, Check], *, required: tuple[str, ...] = (), is_open: bool = False) -> Check:
    """Accept an object (or null) of these fields only, unless it is open, with all required ones."""

    def accepts(value: Any) -> bool:
        if type(value) is not dict:
            return value is None
        for name, member in value.items():
            check = fields.get(name)
            if not (is_open if check is None else check(member)):
                return False
        return all(name in value for name in required)

    return accepts


IDENTITIES: Final = frozenset({
    "customer_id", "email", "other", "other_id_2", "other_id_3", "other_id_4", "other_id_5", "other_id_6",
    "other_id_7", "other_id_8", "other_id_9", "other_id_10", "mobile_number", "phone_number_2", "phone_number_3",
    "facebook", "facebook_custom_audience_id", "twitter", "google", "microsoft", "yahoo", "alias",
})  # fmt: skip

DEVICE_IDENTITIES: Final = (
    "android_uuid", "android_advertising_id", "ios_advertising_id", "ios_idfv", "amp_id", "roku_advertising_id",
    "roku_publisher_id", "microsoft_advertising_id", "microsoft_publisher_id", "fire_advertising_id", "push_token",
)  # fmt: skip

_DEVICE: Final[dict[str, Check]] = {
    **dict.fromkeys(
        (
            "brand", "product", "device", "android_uuid", "device_manufacturer", "os_version", "device_model",
            "device_country", "locale_language", "locale_country", "network_country", "network_carrier",
            "network_code", "network_mobile_country_code", "build_identifier", "build_version_release",
            "http_header_user_agent", "push_token", "cpu_architecture", "radio_access_technology",
            "bluetooth_version", "amp_id", "microsoft_advertising_id", "microsoft_publisher_id",
        ),
        scalar,
    ),
    **dict.fromkeys(
        ("screen_height", "screen_width", "screen_dpi", "timezone_offset", "att_timestamp_unixtime_ms"), whole
    ),
    **dict.fromkeys(
        (
            "is_tablet", "push_notification_sound_enabled", "push_notification_vibrate_enabled",
            "supports_telephony", "has_nfc", "bluetooth_enabled", "limit_ad_tracking", "is_dst",
        ),
        flag,
    ),
    **dict.fromkeys(
        (
            "ios_advertising_id", "ios_idfv", "android_advertising_id", "roku_advertising_id", "roku_publisher_id",
            "fire_advertising_id",
        ),
        uuid,
    ),
    "platform": one_of(
        "iOS", "Android", "web", "tvOS", "roku", "out_of_band", "alexa", "smart_tv", "fire_tv", "xbox"
    ),
    "att_authorization_status": one_of("authorized", "denied", "not_determined", "restricted"),
}  # fmt: skip

LOCATION: Final = closed(
    {
        **dict.fromkeys(("latitude", "longitude", "accuracy"), number),
        **dict.fromkeys(("country_code", "region_code", "postal_code", "location_source", "city_name"), scalar),
        "dma_code": whole,
    },
    required=("latitude", "longitude"),
)

_PURPOSES: Final = map_of(
    closed(
        {
            **dict.fromkeys(("regulation", "document", "location", "hardware_id"), scalar),
            "consented": flag,
            "timestamp_unixtime_ms": whole,
        },
        required=("consented", "timestamp_unixtime_ms"),
    ),
    nullable=False,
)

_ATTRIBUTION: Final = ("service_provider", "publisher", "campaign")

# Judged elsewhere: `events`, whose rules depend on the path, and `user_identities`, the heart of every batch.
TOP_LEVEL: Final[Mapping[str, Check]] = {
    **dict.fromkeys(("source_request_id", "api_key", "partner_identity", "sdk_version", "job_id"), scalar),
    **dict.fromkeys(("mpid", "origin_mpid", "batch_id", "timestamp_unixtime_ms"), whole),
    "user_attributes": attributes,
    "deleted_user_attributes": list_of_text,
    "environment": one_of("development", "production"),
    "device_info": closed(_DEVICE),
    "application_info": closed({
        **dict.fromkeys(
            (
                "application_name", "application_version", "application_build_number", "install_referrer", "package",
                "os",
            ),
            scalar,
        ),
        "apple_search_ads_attributes": map_of(map_of(scalar, nullable=False)),
    }),
    "context": closed(
        {"data_plan": closed({"plan_id": text, "plan_version": whole}, required=("plan_id",)), "location": LOCATION},
        is_open=True,
    ),
    "consent_state": closed({"gdpr": _PURPOSES, "ccpa": _PURPOSES}),
    "mp_deviceid": uuid,
    "ip": address,
    "api_keys": list_of_text,
    "integration_attributes": map_of(map_of(scalar, nullable=False)),
    "partner_identities": map_of(scalar),
    "attribution_info": closed(dict.fromkeys(_ATTRIBUTION, scalar), required=_ATTRIBUTION),
    "source_info": closed(
        {
            "channel": one_of("native", "javascript", "pixel", "desktop", "partner", "server_to_server"),
            **dict.fromkeys(("partner", "replay_request_id", "replay_job_id"), scalar),
            "is_historical": flag,
        },
        required=("channel",),
    ),
}  # fmt: skip
