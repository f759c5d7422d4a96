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

    ==============  =================================================================================================
    ``string``      an identity as text; an integer becomes text, and the empty text is no identity
    ``uuid``        a UUID as text
    ``int64``       a 64-bit integer
    ``attribute``   a string, number, boolean or a list of those
    ``scalar``      a string, number or boolean
    ``text``        a string; numbers, dates and booleans become one
    ``number``      a number
    ``boolean``     true or false
    ``epoch_ms``    milliseconds since 1970 as an integer; instants and dates become that
    ``ip``          an IPv4 or IPv6 address as text
    ``choice``      one of some words
    ``texts``       a list of strings
    ``objects``     a list of objects of known fields
    ==============  =================================================================================================
    """

    STRING = "string"
    UUID = "uuid"
    INT64 = "int64"
    ATTRIBUTE = "attribute"
    SCALAR = "scalar"
    TEXT = "text"
    NUMBER = "number"
    BOOLEAN = "boolean"
    EPOCH_MS = "epoch_ms"
    IP = "ip"
    CHOICE = "choice"
    TEXTS = "texts"
    OBJECTS = "objects"


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
