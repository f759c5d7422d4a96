"""Databricks: a SQL warehouse, the catalog and schema, and a token or a service principal.

mParticle asks for a provider and a schema only, because it is given the data through a share; a direct reader needs
the SQL warehouse's own address. ``provider`` is kept.
"""

import re
from typing import Annotated, Final, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from shared.fields import Declared, Name, SecretReference
from shared.providers.endpoint import Endpoint, host_of, is_this_machine

_HOST: Final = re.compile(r"[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?")
_PATH: Final = re.compile(r"/?[A-Za-z0-9_./-]+(\?o=[0-9]+)?")
_DOMAINS: Final = (
    ".databricks.com",
    ".azuredatabricks.net",
    ".databricks.azure.us",
    ".databricks.azure.cn",
    ".databricks.us",
)


def _host(text: str) -> str:
    if not _HOST.fullmatch(text):
        raise ValueError("expected a host name like dbc-a1b2c3d4-e5f6.cloud.databricks.com, without scheme or path")
    return text


def _path(text: str) -> str:
    if not _PATH.fullmatch(text):
        raise ValueError("expected the SQL warehouse's HTTP path, like /sql/1.0/warehouses/a1b2c3d4e5f6a7b8")
    return text


class DatabricksConfig(Declared):
    """A SQL warehouse of a workspace, where unqualified tables are looked for, and a sign-in."""

    service_provider: Literal["databricks"] = Field("databricks", exclude=True, repr=False)
    provider: Name | None = Field(None, description="mParticle's; kept, and not used by a direct reader")
    server_hostname: Annotated[str, AfterValidator(_host)]
    http_path: Annotated[str, AfterValidator(_path)]
    catalog: Name | None = Field(None, description="unset: the workspace's default catalog")
    schema_name: Name = Field(alias="schema")
    access_token: SecretReference | None = None
    client_id: Name | None = Field(None, description="a service principal's, with client_secret, instead of a token")
    client_secret: SecretReference | None = None
    endpoint: Endpoint | None = Field(
        None, description="instead of the workspace's own address: private link, test server"
    )

    @model_validator(mode="after")
    def _has_one_sign_in(self) -> Self:
        if (self.client_id is None) != (self.client_secret is None):
            raise ValueError("client_id, client_secret: a service principal needs both")
        if (self.access_token is None) == (self.client_id is None):
            raise ValueError("access_token, client_id: name a token, or a service principal, and not both")
        return self

    @property
    def host(self) -> str:
        """The host that is signed in at."""
        return self.server_hostname if self.endpoint is None else host_of(self.endpoint)

    @property
    def base_url(self) -> str:
        """The address of the workspace's services, without a slash at its end."""
        return f"https://{self.server_hostname}" if self.endpoint is None else self.endpoint.rstrip("/")

    @property
    def service_url(self) -> str:
        """The address of the SQL warehouse."""
        return f"{self.base_url}/{self.http_path.lstrip('/')}"

    @property
    def is_on_this_machine(self) -> bool:
        """Whether it is a test server's."""
        return is_this_machine(self.host)

    @property
    def hosts(self) -> tuple[str, ...]:
        """Hosts beyond the vendor's own that would be shown the secret."""
        return () if self.host.lower().endswith(_DOMAINS) else (self.host,)
