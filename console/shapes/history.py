"""Shapes of history: backfills, initial syncs and their parts. Ours alone."""

from typing import Annotated
from uuid import UUID

from pydantic import Field

from console.shapes.bounds import Bound
from console.shapes.ground import Instant, Message, Shape
from console.shapes.requests import Requested
from shared.catalog import MOST_PARTS


class BackfillRequest(Requested):
    """A window to be read once more; without bounds all that the pipeline has read."""

    low: Bound | None = Field(None, alias="from", description="inclusive; all without, rows without a time included")
    high: Bound | None = Field(None, alias="until", description="exclusive; the pipeline's watermark without")
    parts: Annotated[int, Field(ge=1, le=MOST_PARTS)] = Field(1, description="each runs the query once")
    newest_first: bool = Field(default=False, description="read the newest part first")
    expected_rows: Annotated[int, Field(ge=0)] | None = Field(None, description="counted before, to tell what is left")


class WindowShape(Shape):
    """The window that a backfill would read."""

    low: Bound | None = Field(alias="from", description="inclusive; null is the beginning")
    high: Bound = Field(alias="until", description="exclusive")


class BackfillShape(Shape):
    """A backfill or an initial sync, and how far it is; counts are over all of its parts."""

    id: UUID
    pipeline_id: str
    kind: str = Field(description="initial or backfill")
    state: str = Field(description="running, paused, held, failed, cancelled, abandoned or done")
    low: Bound | None = Field(alias="from", description="inclusive; null is the beginning")
    high: Bound | None = Field(alias="until", description="exclusive; null until the first part is planned")
    newest_first: bool
    parts: int
    settled_parts: int
    expected_rows: int | None
    ended_rows: int
    rejected_rows: int
    seconds_left: int | None = Field(description="at the speed of its time at work so far; null where unknown")
    created_on: Instant
    paused_on: Instant | None
    cancelled_on: Instant | None
    warnings: tuple[Message, ...] = Field((), description="what of the request was not understood")


class PartShape(Shape):
    """One part of a backfill: its newest run, and what became of that run's rows."""

    part: int
    run_id: UUID
    run_number: int
    state: str
    low: Bound | None = Field(alias="from")
    high: Bound | None = Field(alias="until")
    extracted_rows: int
    accepted_rows: int
    rejected_rows: int
    superseded_rows: int
    unsent_rows: int
    error: Message | None
    started_on: Instant | None
    ended_on: Instant | None


class BackfillDetail(BackfillShape):
    """A backfill with its parts, in the order in which they are read."""

    runs: tuple[PartShape, ...]
