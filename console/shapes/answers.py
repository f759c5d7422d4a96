"""Shapes of questions to workers and their answers. Ours alone."""

from typing import Annotated, Any

from pydantic import ConfigDict, Field

from console.shapes.bounds import Bound
from console.shapes.ground import Instant, Message, Shape
from console.shapes.requests import Requested
from shared.probe import MOST_SENT_ROWS


class SampleRequest(Requested):
    """How many rows are read as a sample."""

    rows: Annotated[int, Field(ge=1, le=100)] = 5


class SendRequest(Requested):
    """How many rows are sent."""

    rows: Annotated[int, Field(ge=1, le=MOST_SENT_ROWS)] = 5


class WindowRequest(Requested):
    """Which window is asked about; without bounds the next run's."""

    low: Bound | None = Field(None, alias="from", description="inclusive")
    high: Bound | None = Field(None, alias="until", description="exclusive; the watermark where only from is given")


class Told(Shape):
    """An answer that is read off a value of ours, field by field."""

    model_config = ConfigDict(from_attributes=True)


class ColumnShape(Told):
    """One column: its type in the warehouse's own word, and the field that it becomes or why it cannot."""

    name: str
    type: str
    becomes: str
    refused: str | None = None


class RefusedRow(Told):
    """A row of a sample that would be or was refused, by its position among the rows from 0, and why."""

    row: int
    code: str
    reason: str


class SentShape(Told):
    """What became of rows that were sent, in the environment development. A row that was sent stays sent."""

    ids: str = Field(description="the batches' source_request_id begin so; a colon and a row's position follow")
    rows: int
    accepted_rows: int
    accepted_batches: int
    unsent_rows: int = 0
    why_unsent: str | None = None
    note: str


class FeedAnswerShape(Told):
    """What a feed answered to an empty body; ``signed_in`` is null where its answer does not tell."""

    host: str
    signed_in: bool | None
    found: str
    unknown: str


class AnswerShape(Told):
    """What a worker found out; only what the kind of the question asks for is there."""

    session: dict[str, str] = Field({}, description="as whom the warehouse signed in")
    warehouse_now: Instant | None = None
    columns: tuple[ColumnShape, ...] = ()
    refused: str | None = Field(None, description="why the pipeline cannot run as it is declared")
    cautions: tuple[str, ...] = Field((), description="what runs allow and may not be expected")
    rows: tuple[dict[str, Any], ...] = Field((), description="values of secret columns are masked")
    batches: tuple[dict[str, Any], ...] = Field((), description="what the rows become")
    rejects: tuple[RefusedRow, ...] = ()
    low: Bound | None = Field(None, alias="from")
    high: Bound | None = Field(None, alias="until")
    row_count: int | None = None
    null_count: int | None = Field(None, description="rows without a time: history and full runs read them, no other")
    scanned_bytes: int | None = None
    sent: SentShape | None = None
    feed: FeedAnswerShape | None = None
    warnings: tuple[Message, ...] = Field((), description="what of the request was not understood")
