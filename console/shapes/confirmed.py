"""Shapes that mParticle's documents confirm, copied exactly; what is ours in them is optional and says so.

Source: mParticle, Warehouse Sync API v2, "Get all connections", and its migration page.
"""

from enum import StrEnum
from typing import Any, Final, Literal
from uuid import UUID

from pydantic import Field

from console.shapes.ground import Audited, Instant, Message, Secrets, Shape
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


class HealthStatus(StrEnum):
    """Whether runs get through with it; ``faulted`` is not confirmed."""

    HEALTHY = "healthy"
    FAULTED = "faulted"


class ConnectionShape(Audited):
    """A connection; its secrets are never in an answer."""

    id: str
    name: str
    state: ConnectionState
    status: HealthStatus
    errors: tuple[Message, ...] = Field(description="why it is faulted: what runs were told that stopped for it")
    service_provider: str
    config: dict[str, Any]
    secrets: Secrets


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


class V1RunState(StrEnum):
    """Where a run is in v1's words. Source: mParticle, Warehouse Sync API v1, runs: its table and its examples."""

    TRIGGERED = "triggered"
    QUEUED = "queued"
    RUNNING = "running"
    SUCCESS = "success"
    FAILED = "failed"


class V1RunShape(Shape):
    """A run as v1 shows it; ``id`` is the pipeline's. Source: mParticle, Warehouse Sync API v1, runs."""

    pipeline_run_id: int
    id: str
    workspace_id: int | str
    logical_date: Instant
    start_date: Instant | None
    end_date: Instant | None
    data_interval_start: Instant | None
    data_interval_end: Instant | None
    pipeline_run_type: Literal["scheduled", "manual"]
    pipeline_run_state: V1RunState
    is_externally_triggered: bool
    records_extracted: int | None
    records_mapped: int | None
    event_batches_generated: int | None
    created_on: Instant
    created_by: str | None
    last_modified_on: Instant | None
    last_modified_by: str | None


class V1RunsShape(Shape):
    """A page of runs as v1 shows it. Source: mParticle, Warehouse Sync API v1, runs."""

    items: tuple[V1RunShape, ...]


class RunReference(Shape):
    """Ours: which run is meant."""

    id: UUID
    number: int


class TriggeredShape(Shape):
    """A trigger that was taken. Source: mParticle, Warehouse Sync API v1, trigger."""

    pipeline_run_id: int
    status: Literal["trigger_requested"] = "trigger_requested"
    runs: tuple[RunReference, ...] = Field(
        (), description="ours: all runs that are now at work; a first trigger of an incremental pipeline has two"
    )
