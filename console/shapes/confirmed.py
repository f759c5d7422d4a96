"""Shapes that mParticle's documents confirm, copied exactly; what is ours in them is optional and says so.

Source: mParticle, Warehouse Sync API v2, "Get all connections", and its migration page.
"""

from enum import StrEnum
from typing import Any, Final

from pydantic import Field

from console.shapes.ground import Audited, Message, Shape
from shared.catalog import ServiceProvider

SPELLINGS: Final = {
    ServiceProvider.SNOWFLAKE: "Snowflake",
    ServiceProvider.REDSHIFT: "Redshift",
    ServiceProvider.BIGQUERY: "BigQuery",
    ServiceProvider.DATABRICKS: "Databricks",
    ServiceProvider.DUCKDB: "DuckDB",
}
"""How answers spell a provider; requests may in any case. The first two are confirmed, the others by analogy."""


class ConnectionState(StrEnum):
    """Whether pipelines use a connection. Source: mParticle, migration page; what decides is ours."""

    NEW = "new"
    """No pipeline has used it."""
    ACTIVE = "active"
    """An active pipeline uses it."""
    INACTIVE = "inactive"
    """Only drafts and paused pipelines do."""


class ConnectionStatus(StrEnum):
    """Whether runs get through to the warehouse; ``faulted`` is not confirmed."""

    HEALTHY = "healthy"
    FAULTED = "faulted"


class ConnectionShape(Audited):
    """A connection; its secrets are never in an answer."""

    id: str
    name: str
    state: ConnectionState
    status: ConnectionStatus
    errors: tuple[Message, ...] = Field(description="why it is faulted: what runs were told that stopped for it")
    service_provider: str
    config: dict[str, Any]


class TokenRequest(Shape):
    """A sign-in by client credentials; ``audience`` is accepted and not used."""

    client_id: str
    client_secret: str = Field(repr=False)
    grant_type: str = "client_credentials"
    audience: str | None = None


class TokenAnswer(Shape):
    """A bearer token and how many seconds it is valid."""

    access_token: str = Field(repr=False)
    expires_in: int
    token_type: str = "Bearer"  # noqa: S105 - a word of OAuth
