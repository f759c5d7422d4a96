import pytest

from shared.mapping.destinations import RESERVED, Destination, ValueType, destination_of

USER = "customerid customer_id facebook twitter google microsoft yahoo email facebook_custom_audience_id other"
USER_NUMBERED = [f"other_id_{number}" for number in range(2, 11)]
PHONES = ["mobile_number", "phone_number_2", "phone_number_3"]
DEVICE_TEXT = ["android_uuid", "push_token", "amp_id", "microsoft_advertising_id", "microsoft_publisher_id"]
DEVICE_UUID = [
    "ios_advertising_id",
    "ios_idfv",
    "android_advertising_id",
    "roku_advertising_id",
    "roku_publisher_id",
    "fire_advertising_id",
]


def test_exactly_mparticles_reserved_columns_are_reserved() -> None:
    names = {*USER.split(), *USER_NUMBERED, *PHONES, *DEVICE_TEXT, *DEVICE_UUID, "mpid", "mp_deviceid"}
    assert set(RESERVED) == names
    assert all(destination.is_identity for destination in RESERVED.values())


@pytest.mark.parametrize("name", [*DEVICE_UUID, "mp_deviceid"])
def test_what_mparticle_wants_as_a_uuid_is_one(name: str) -> None:
    assert RESERVED[name].value is ValueType.UUID


@pytest.mark.parametrize(
    ("column", "path"),
    [
        ("CUSTOMERID", "user_identities.customer_id"),
        ("Push_Token", "device_info.push_token"),
        ("MP_DeviceId", "mp_deviceid"),
        ("mpid", "mpid"),
        ("$FirstName", "user_attributes.$FirstName"),
        ("alias", "user_attributes.alias"),
        ("Email ", "user_attributes.Email "),
    ],
)
def test_a_column_goes_where_its_name_says(column: str, path: str) -> None:
    assert str(destination_of(column)) == path


def test_an_attribute_is_no_identity() -> None:
    assert destination_of("age") == Destination(("user_attributes", "age"), ValueType.ATTRIBUTE, is_identity=False)
