"""Snowflake: the account, what to use in it, and as whom.

Source: mParticle, Warehouse Sync API v2, connection ``config`` of Snowflake; ``private_key`` and ``endpoint`` are ours.
"""

import re
from typing import Annotated, Final, Literal, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, model_validator

from shared.fields import Declared, Name, SecretReference
from shared.providers.endpoint import Endpoint, host_of

_DOMAIN: Final = ".snowflakecomputing.com"
_DOMAIN_IN_CHINA: Final = ".snowflakecomputing.cn"
_ACCOUNT: Final = re.compile(r"[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*")


def _account(text: str) -> str:
    if text.endswith(_DOMAIN_IN_CHINA):
        raise ValueError(
            f"expected what stands before {_DOMAIN_IN_CHINA}; name the whole address, https://{text}, as `endpoint`"
        )
    account = text.removesuffix(_DOMAIN)
    if not _ACCOUNT.fullmatch(account):
        raise ValueError(
            "expected an account identifier like myorg-myaccount, or xy12345 with its region, e.g. "
            f"xy12345.us-central1.gcp; what stands before {_DOMAIN} in the browser"
        )
    return account


def _region(text: str) -> str:
    if not _ACCOUNT.fullmatch(text):
        raise ValueError("expected a region like us-east-1 or us-central1.gcp")
    return text


def _endpoint(address: str) -> str:
    if urlsplit(address).path.strip("/"):
        raise ValueError("expected an address without a path, like https://abc.privatelink.snowflakecomputing.com")
    return address.rstrip("/")


class SnowflakeConfig(Declared):
    """A Snowflake account, the compute warehouse and database to use, and a user's sign-in."""

    service_provider: Literal["snowflake"] = Field("snowflake", exclude=True, repr=False)
    account_identifier: Annotated[str, AfterValidator(_account)]
    region: Annotated[str, AfterValidator(_region)] | None = Field(
        None, description="needed with an account locator (xy12345) only"
    )
    warehouse: Name = Field(description="the compute warehouse that runs the queries")
    database: Name
    schema_name: Name | None = Field(None, alias="schema", description="where unqualified tables are looked for")
    role: Name | None = Field(None, description="unset: the user's default role")
    user: Name
    password: SecretReference | None = None
    private_key: SecretReference | None = Field(None, description="a PEM file's content, instead of a password")
    private_key_passphrase: SecretReference | None = None
    environment: Literal["production", "development"] | None = Field(
        None, description="for pipelines that declare none themselves"
    )
    storage_integration: Name | None = Field(None, description="mParticle's; kept, and not used by a direct reader")
    aws_iam_user_arn: Name | None = Field(None, description="the same")
    aws_external_id: Name | None = Field(None, description="the same")
    endpoint: Annotated[Endpoint, AfterValidator(_endpoint)] | None = Field(
        None, description="instead of the account's own address: private link, test server"
    )

    @model_validator(mode="after")
    def _has_one_sign_in(self) -> Self:
        if (self.password is None) == (self.private_key is None):
            raise ValueError("password, private_key: name exactly one of them, as env:NAME or file:/path")
        if self.private_key_passphrase is not None and self.private_key is None:
            raise ValueError("private_key_passphrase: there is no private_key for it")
        return self

    @property
    def full_account(self) -> str:
        """The account as the client wants it: with the region, where that is not part of it yet."""
        if self.region is None or "." in self.account_identifier or "-" in self.account_identifier:
            return self.account_identifier
        return f"{self.account_identifier}.{self.region}"

    @property
    def hosts(self) -> tuple[str, ...]:
        """Hosts beyond the vendor's own that would be shown the secret."""
        return () if self.endpoint is None else (host_of(self.endpoint),)
