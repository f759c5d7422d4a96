"""Where in a batch a user pipeline's columns go.

A column with a reserved name, in whatever case, becomes an identity; every other column becomes the user attribute of
its own name, spelling and case kept, ``$`` names included.

Source: mParticle, "Warehouse Sync SQL reference", reserved column names; value types from mParticle's JSON Schema of
the Events API (mparticle.inbound.eventsapi.schema.json).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import Final

USER_IDENTITIES: Final = "user_identities"
DEVICE_INFO: Final = "device_info"
USER_ATTRIBUTES: Final = "user_attributes"
DELETED_USER_ATTRIBUTES: Final = "deleted_user_attributes"
ENVIRONMENT: Final = "environment"
SOURCE_REQUEST_ID: Final = "source_request_id"
MPID: Final = "mpid"
MP_DEVICEID: Final = "mp_deviceid"


class ValueType(StrEnum):
    """What a destination accepts.

    ``string`` and ``uuid`` take text, ``int64`` a 64-bit integer, ``attribute`` a string, number, boolean or a list
    of those.
    """

    STRING = "string"
    UUID = "uuid"
    INT64 = "int64"
    ATTRIBUTE = "attribute"


@dataclass(frozen=True, slots=True)
class Destination:
    """A field of a batch: its path from the top, what it accepts, and whether it says whose batch it is."""

    path: tuple[str, ...]
    value: ValueType
    is_identity: bool

    def __str__(self) -> str:
        """Give the path as mParticle's documentation writes it, with dots."""
        return ".".join(self.path)


_SYNONYMS: Final = {"customerid": "customer_id"}
_USER: Final = (
    "customer_id",
    "email",
    "facebook",
    "facebook_custom_audience_id",
    "google",
    "microsoft",
    "mobile_number",
    "other",
    *(f"other_id_{number}" for number in range(2, 11)),
    "phone_number_2",
    "phone_number_3",
    "twitter",
    "yahoo",
)
_DEVICE: Final = {
    "amp_id": ValueType.STRING,
    "android_advertising_id": ValueType.UUID,
    "android_uuid": ValueType.STRING,
    "fire_advertising_id": ValueType.UUID,
    "ios_advertising_id": ValueType.UUID,
    "ios_idfv": ValueType.UUID,
    "microsoft_advertising_id": ValueType.STRING,
    "microsoft_publisher_id": ValueType.STRING,
    "push_token": ValueType.STRING,
    "roku_advertising_id": ValueType.UUID,
    "roku_publisher_id": ValueType.UUID,
}


def _reserved() -> dict[str, Destination]:
    known = {name: Destination((USER_IDENTITIES, name), ValueType.STRING, is_identity=True) for name in _USER}
    known |= {name: Destination((DEVICE_INFO, name), value, is_identity=True) for name, value in _DEVICE.items()}
    known[MPID] = Destination((MPID,), ValueType.INT64, is_identity=True)
    known[MP_DEVICEID] = Destination((MP_DEVICEID,), ValueType.UUID, is_identity=True)
    return known | {name: known[synonym] for name, synonym in _SYNONYMS.items()}


RESERVED: Final[Mapping[str, Destination]] = MappingProxyType(_reserved())
"""Reserved column name, in lower case, to where it goes."""


def destination_of(column: str) -> Destination:
    """Say where a column of that name goes."""
    return RESERVED.get(column.lower()) or Destination(
        (USER_ATTRIBUTES, column), ValueType.ATTRIBUTE, is_identity=False
    )
