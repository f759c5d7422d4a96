from typing import Any

import pytest
from pydantic import ValidationError

from shared.providers.snowflake import SnowflakeConfig

DECLARED = {
    "account_identifier": "myorg-myaccount",
    "warehouse": "LOADING",
    "database": "ANALYTICS",
    "user": "WAREHOUSE_SYNC",
    "password": "env:WAREHOUSE_SYNC_SECRET_SNOWFLAKE",
}


def config(**changes: Any) -> SnowflakeConfig:
    given = {name: value for name, value in (DECLARED | changes).items() if value is not None}
    return SnowflakeConfig.model_validate(given)


@pytest.mark.parametrize(
    ("changes", "account"),
    [
        ({}, "myorg-myaccount"),
        ({"account_identifier": "myorg-myaccount.snowflakecomputing.com"}, "myorg-myaccount"),
        ({"region": "us-east-1"}, "myorg-myaccount"),
        ({"account_identifier": "xy12345"}, "xy12345"),
        ({"account_identifier": "xy12345", "region": "us-central1.gcp"}, "xy12345.us-central1.gcp"),
        ({"account_identifier": "xy12345.us-central1.gcp", "region": "us-central1.gcp"}, "xy12345.us-central1.gcp"),
    ],
)
def test_the_region_is_part_of_an_account_locator_once(changes: dict[str, str], account: str) -> None:
    assert config(**changes).full_account == account


@pytest.mark.parametrize(
    ("changes", "field", "expected"),
    [
        ({"account_identifier": "https://myorg-myaccount.snowflakecomputing.com"}, "account_identifier", "myorg-"),
        ({"account_identifier": "my account"}, "account_identifier", "xy12345.us-central1.gcp"),
        ({"account_identifier": "xy1.cn-north-1.snowflakecomputing.cn"}, "account_identifier", "`endpoint`"),
        ({"region": "us east"}, "region", "us-east-1"),
        ({"warehouse": ""}, "warehouse", "at least 1 character"),
        ({"database": ""}, "database", "at least 1 character"),
        ({"user": ""}, "user", "at least 1 character"),
        ({"password": "secret"}, "password", "env:"),
        ({"private_key": "-----BEGIN PRIVATE KEY-----"}, "private_key", "env:"),
        ({"endpoint": "myorg-myaccount.snowflakecomputing.com"}, "endpoint", "https://warehouse.example.com:443"),
        ({"endpoint": "http://snowflake.example.com"}, "endpoint", "use https"),
        ({"endpoint": "https://snowflake.example.com/session"}, "endpoint", "without a path"),
        ({"environment": "staging"}, "environment", "'production' or 'development'"),
        ({"passwort": "env:A"}, "passwort", "Extra inputs"),
    ],
)
def test_what_is_refused_is_named_with_what_was_expected(changes: dict[str, str], field: str, expected: str) -> None:
    with pytest.raises(ValidationError) as refused:
        config(**changes)
    (error,) = refused.value.errors()
    assert error["loc"] == (field,)
    assert expected in str(error["msg"]) + str(error.get("ctx"))


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"password": None}, "password, private_key"),
        ({"private_key": "env:KEY"}, "password, private_key"),
        ({"private_key_passphrase": "env:PHRASE"}, "private_key_passphrase: there is no private_key"),
    ],
)
def test_there_is_one_sign_in(changes: dict[str, str | None], named: str) -> None:
    with pytest.raises(ValidationError, match=named):
        config(**changes)


def test_a_key_may_have_a_passphrase() -> None:
    declared = config(password=None, private_key="file:/run/secrets/key", private_key_passphrase="env:PHRASE")
    assert declared.private_key_passphrase == "env:PHRASE"


def test_only_an_endpoint_is_a_host_that_must_be_allowed() -> None:
    assert config().hosts == ()
    assert config(endpoint="https://abc.privatelink.snowflakecomputing.com/").hosts == (
        "abc.privatelink.snowflakecomputing.com",
    )


def test_what_mparticle_asks_for_is_kept() -> None:
    given = {
        "storage_integration": "mp_us1",
        "aws_iam_user_arn": "arn:aws:iam::1:user/x",
        "aws_external_id": "x",
    }
    assert config(**given).model_dump(include=set(given)) == given
