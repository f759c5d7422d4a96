"""Shapes that no stored copy of mParticle's v2 documents shows: v1's, and a reconstruction. Correct them here.

Source: mParticle, Warehouse Sync API v1 (complete) and what its v2 guide names; where both are silent, our spelling.
"""

from enum import StrEnum
from typing import Any, Literal
from uuid import UUID

from pydantic import Field

from console.shapes.bounds import Bound
from console.shapes.confirmed import HealthStatus, V1RunState
from console.shapes.ground import Audited, Instant, Message, Shape
from shared.alerts import AlertPolicy
from shared.catalog import Environment, NullPolicy, Pipeline
from shared.fields import Slug
from shared.run import HeldFor, Lane, PipelineState, RunKind, RunState


class DataModelShape(Audited):
    """A data model; ``secret_columns`` is ours."""

    id: str
    name: str
    type: Literal["sql"]
    sql_query: str
    secret_columns: tuple[str, ...]


class FieldTransformationShape(Audited):
    """A field transformation; its format is confirmed. Source: mParticle, "Field Transformations"."""

    id: str
    name: str
    destination_type: Literal["event_batch"]
    mappings: tuple[dict[str, Any], ...]


class LedgerShape(Shape):
    """Ours: what became of every row; ``extracted`` is counted apart, so that ``balances`` is a check."""

    extracted: int
    accepted: int
    rejected: int
    unchanged: int
    superseded: int
    unsent: int
    balances: bool

    @property
    def ended(self) -> int:
        """Rows whose end is known."""
        return self.accepted + self.rejected + self.unchanged + self.superseded + self.unsent


class RunShape(Shape):
    """A run. mParticle's names come first; from ``number`` on all is ours."""

    id: UUID
    pipeline_id: str
    type: Literal["scheduled", "manual"]
    status: V1RunState = Field(description="v1's words; ours, which tell more, are in `state`")
    errors: tuple[Message, ...] = Field(description="why it stopped")
    logical_date: Instant = Field(description="the occurrence that it stands for, or when it was asked for")
    started_on: Instant | None
    ended_on: Instant | None
    range_start: Bound | None = Field(description="of the iterator, inclusive; null: unbounded, or not planned yet")
    range_end: Bound | None = Field(
        description="exclusive; what is at it or after it, such as rows younger than `delay`, is left to a later run"
    )
    successful_records: int
    failed_records: int
    number: int = Field(description="what people call it; v1's pipeline_run_id")
    kind: RunKind
    lane: Lane
    mode: str
    state: RunState
    includes_null: bool = Field(description="whether rows without a time are read, too")
    scheduled_for: Instant | None
    missed: int = Field(description="earlier occurrences that it covers as well")
    paused_on: Instant | None
    held_on: Instant | None = Field(description="since when somebody is asked about it; null: it is not held")
    held_for: HeldFor | None = Field(description="what is asked; it is approved, cancelled or abandoned by somebody")
    held_reason: str | None
    waits_for: str | None = Field(description="what keeps its work waiting, where anything does")
    ledger: LedgerShape
    findings: dict[str, int] = Field(description="rows by what was found out about them beside where they ended")
    batches: int = Field(description="what its accepted rows were sent in")
    slices_total: int
    slices_published: int
    chunks_total: int
    chunks_done: int
    reopenings: int
    accepts_rejects: bool
    accepts_volume: bool = Field(description="whether somebody took its rows, however many or few")
    backfill_id: UUID | None
    part: int
    replays: UUID | None = Field(description="the run whose rejected rows it sends anew")
    created_on: Instant
    worked_s: float | None = Field(
        description="seconds that it was at work so far: since its planning began, without the time in which it waited "
        "its turn, was paused, failed, cancelled or held; what its tasks wait for in between, a free worker or the "
        "quota, is part of it; null until planning begins"
    )
    rows_per_s: float | None = Field(
        description="rows of a settled run by second of `worked_s`; null where it was interrupted, because rows that "
        "were under way then ended outside of that time"
    )


class LatestRunShape(RunShape):
    """A run in both versions' words: v2's, and of v1's those that do not contradict them."""

    pipeline_run_id: int
    data_interval_start: Instant | None
    data_interval_end: Instant | None
    pipeline_run_type: Literal["scheduled", "manual"]
    pipeline_run_state: V1RunState
    is_externally_triggered: bool
    records_extracted: int | None
    records_mapped: int | None
    event_batches_generated: int | None


class PipelineStatus(StrEnum):
    """What a pipeline does now."""

    IDLE = "idle"
    PENDING = "pending"
    """A run waits to begin."""
    RUNNING = "running"
    FAULTED = "faulted"
    """Nothing more runs until somebody acts."""


class StatusShape(Shape):
    """What a pipeline does now; the ``is_`` fields and the latest run are v1's, and confirmed."""

    pipeline_id: str
    status: PipelineStatus
    connection_status: HealthStatus
    data_model_status: HealthStatus
    is_active: bool
    is_faulted: bool
    is_connection_active: bool
    is_connection_faulted: bool
    latest_pipeline_run: LatestRunShape | None


class HistoryShape(Shape):
    """Ours: how far the initial sync is."""

    is_settled: bool
    settled_to: Bound | None = Field(description="where the oldest part begins that is not settled")
    ends_at: Bound | None = Field(description="where the live lane begins; null until the first part is planned")
    parts: int
    settled_parts: int
    ended_rows: int
    expected_rows: int | None


class PipelineShape(Audited):
    """A pipeline and how it stands. mParticle's names come first; from ``feed_id`` on all is ours."""

    id: str
    name: str
    connection_id: str
    data_model_id: str
    field_transformation_id: str | None
    partner_feed_id: int | None = Field(description="mParticle's own number of the feed, which is not known here")
    partner_feed_key: str | None = Field(description="the feed's key, all but its beginning hidden")
    state: PipelineState
    sync_mode: dict[str, Any]
    schedule: dict[str, Any]
    environment: Environment | None
    plan_id: str | None
    plan_version: int | None
    feed_id: str
    on_null: NullPolicy
    rename: dict[str, str]
    merge: bool
    order_by_identity: bool
    historical: Literal["auto", "never"]
    one_row_per: tuple[str, ...]
    alerts: AlertPolicy | None = Field(None, description="ours: what people are told otherwise than of others")
    limits: dict[str, str]
    data_plan: dict[str, Any] | None
    max_rejected_ratio: float | None
    max_rejected_rows: int | None
    volume: dict[str, Any] | None = None
    service_provider: str
    status: PipelineStatus
    schedule_in_words: str
    next_due_on: Instant | None
    watermark: Bound | None = Field(description="where the next run begins to read")
    lag_s: float | None = Field(description="how far the watermark lies behind now, in seconds")
    history: HistoryShape | None
    faulted_reason: str | None
    held_by: tuple[RunShape, ...] = Field(
        description="stopped and held runs; each is retried, approved or abandoned by somebody"
    )
    running_runs: tuple[RunShape, ...]
    recent_runs: tuple[RunShape, ...] = Field(description="the five newest")


class PipelineRequest(Pipeline):
    """What documents a request to declare a pipeline: ours, with mParticle's names for a part of it."""

    feed_id: Slug | None = Field(None, description="ours; or name the feed by partner_feed_key")  # type: ignore[assignment]
    partner_feed_key: str | None = Field(None, description="of a feed that is declared; a hidden one is ignored")
    partner_feed_id: int | None = Field(None, description="not known here; ignored, which `warnings` says")
    state: PipelineState | None = Field(None, description="where to bring it; unset: a new one is a draft")
    plan_id: str | None = Field(None, description="ignored: data_plan holds what batches are checked against")
    plan_version: int | None = Field(None, description="ignored, as plan_id is")
