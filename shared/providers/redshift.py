"""Redshift: the cluster or workgroup, the database, and a user.

Source: mParticle, Warehouse Sync API v2, connection ``config`` of Redshift; ``tls`` is ours.
"""

import re
from typing import Annotated, Final, Literal

from pydantic import AfterValidator, Field

from shared.fields import Declared, Name, SecretReference

_HOST: Final = re.compile(r"[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?")
_ROLE: Final = re.compile(r"arn:aws(-[a-z]+)*:iam::[0-9]{12}:role/[A-Za-z0-9_+=,.@/-]+")
_DOMAINS: Final = tuple(
    f".{service}.amazonaws.com{country}" for service in ("redshift", "redshift-serverless") for country in ("", ".cn")
)
"""Redshift's own, and not all of AWS's: there, anybody's machine has a name."""


def _host(text: str) -> str:
    if not _HOST.fullmatch(text):
        raise ValueError(
            "expected a host name like my-cluster.abc123.us-east-1.redshift.amazonaws.com, without scheme, port or path"
        )
    return text


def _role(text: str) -> str:
    if not _ROLE.fullmatch(text):
        raise ValueError("expected an IAM role's ARN like arn:aws:iam::123456789012:role/my-role")
    return text


class RedshiftConfig(Declared):
    """A Redshift database and a user who may read it."""

    service_provider: Literal["redshift"] = Field("redshift", exclude=True, repr=False)
    host: Annotated[str, AfterValidator(_host)]
    port: Annotated[int, Field(ge=1, le=65535)] = 5439
    database: Name
    user: Annotated[Name, Field(description="one that may only read what the data models name")]
    password: SecretReference
    aws_iam_role_arn: Annotated[str, AfterValidator(_role)] | None = Field(
        None, description="mParticle's, for UNLOAD; kept, and not used by a direct reader"
    )
    tls: Literal["verify-full", "verify-ca", "off"] = Field(
        "verify-full",
        description="verify-ca does not ask for the host's name; off shows rows and password to everybody on the way",
    )

    @property
    def hosts(self) -> tuple[str, ...]:
        """The host, unless it is the vendor's own."""
        return () if self.host.lower().endswith(_DOMAINS) else (self.host,)
