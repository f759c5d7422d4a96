"""Shapes of alerts. Ours alone."""

from enum import StrEnum
from uuid import UUID

from pydantic import Field

from console.shapes.confirmed import RunReference
from console.shapes.ground import Instant, Shape
from shared.alerts import AlertName, Change, Channel


class AlertState(StrEnum):
    """How an alert stands."""

    OPEN = "open"
    RECOVERED = "recovered"
    EVENT = "event"


class AlertShape(Shape):
    """Something that is the matter, or was, or happened."""

    id: UUID
    name: AlertName
    state: AlertState = Field(description="an event was over when it was told")
    title: str
    sentence: str = Field(description="what was told last; never a row's value")
    pipeline_id: str | None
    pipeline_name: str | None
    run: RunReference | None
    error_kind: str | None = Field(description="as docs/errors.md lists them")
    counts: dict[str, int] = Field(description="rows, by what became of them")
    cure: str = Field(description="what to do about it; empty where nothing is to be done")
    command: str | None = Field(description="what to run, or to look with")
    since: Instant
    opened_on: Instant
    recovered_on: Instant | None


class DeliveryShape(Shape):
    """One channel's part in telling a change."""

    channel: Channel
    attempts: int
    delivered_on: Instant | None
    given_up_on: Instant | None
    next_on: Instant | None = Field(description="not before then; null once it is over, or where it is due")
    error: str | None = Field(description="what the last attempt that failed said")


class AlertChangeShape(Shape):
    """One change of an alert, and who was told."""

    id: UUID = Field(description="what messages about it carry, in every channel and every repeat")
    change: Change
    title: str
    sentence: str
    changed_on: Instant
    deliveries: tuple[DeliveryShape, ...]


class AlertDetail(AlertShape):
    """An alert, with its changes, oldest first."""

    changes: tuple[AlertChangeShape, ...]


class ChannelShape(Shape):
    """What a channel answered to a message that tried it out."""

    channel: str
    is_well: bool
    said: str


class TrialShape(Shape):
    """What the channels answered; none where workers have none."""

    channels: tuple[ChannelShape, ...]
