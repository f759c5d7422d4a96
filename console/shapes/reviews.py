"""Shapes of reviews: what a pipeline would do, before it does anything. Ours alone."""

from typing import Annotated, Any

from pydantic import Field

from console.shapes.answers import RefusedRow, Told
from console.shapes.bounds import Bound
from console.shapes.ground import Instant, Message
from console.shapes.requests import Requested
from shared.catalog import DataModel, Pipeline
from shared.transformation import FieldTransformation


class ReviewRequest(Requested):
    """A pipeline that nobody saved; what it names and is not given here is what is declared."""

    pipeline: Pipeline
    data_model: DataModel | None = None
    field_transformation: FieldTransformation | None = None
    rows: Annotated[int, Field(ge=1, le=100)] = Field(5, description="of the sample")


class ReviewedColumnShape(Told):
    """A column, the field that it becomes or why it cannot, and what else is to be known of that field."""

    name: str
    type: str
    becomes: str
    refused: str | None
    note: str | None


class ReviewedFeedShape(Told):
    """Where the batches go, and what the feed's input protection level lets them do."""

    id: str
    name: str
    host: str
    protection: str
    protection_means: str
    quota_group: str
    batches_per_s: float


class SampleProfileShape(Told):
    """A user as the sample's batches alone would make one."""

    identities: dict[str, str]
    user_attributes: dict[str, Any]
    batches: int


class ReadingShape(Told):
    """What one run would read and send; what could not be found out is null, and ``unknown`` says why."""

    reads: str = Field(description="first_sync, history, next_run or later_run")
    low: Bound | None = Field(alias="from")
    high: Bound | None = Field(alias="until")
    rows: int | None
    null_rows: int | None = Field(description="rows without a time: history reads them, and no run after it")
    scanned_bytes: int | None
    batches: int | None = Field(description="estimated from the sample's batches a row")
    takes_s: float | None = Field(description="estimated, at the feed's quota")
    estimated: str | None = Field(description="how")
    unknown: tuple[str, ...]


class ReviewShape(Told):
    """A pipeline, saved or not, as it would run: nothing was sent for it, and nothing moved."""

    pipeline_id: str
    name: str
    is_saved: bool
    state: str | None
    mode: str
    kind: str
    environment: str | None
    feed: ReviewedFeedShape
    columns: tuple[ReviewedColumnShape, ...]
    refused: str | None = Field(description="why it cannot run as it is declared")
    cautions: tuple[str, ...] = Field(description="what runs allow and may not be expected")
    warnings: tuple[str, ...] = Field(description="what it will cost")
    sample_rows: int | None = Field(description="null where none could be read")
    batches: tuple[dict[str, Any], ...] = Field(description="what the sample becomes; secret values are masked")
    profiles: tuple[SampleProfileShape, ...]
    profiles_note: str
    rejects: tuple[RefusedRow, ...]
    schedule: str
    due: tuple[Instant, ...]
    readings: tuple[ReadingShape, ...]
    unknown: dict[str, str] = Field(description="what could not be found out, and why, by the part that lacks it")
    not_understood: tuple[Message, ...] = Field((), description="what of the request was not understood")
