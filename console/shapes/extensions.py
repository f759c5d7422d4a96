"""Shapes of what mParticle's API does not have: ours alone."""

from uuid import UUID

from pydantic import Field

from console.shapes.confirmed import RunReference
from console.shapes.ground import Audited, Instant, Message, Secrets, Shape
from console.shapes.reconstructed import RunShape
from shared.feed import ProtectionLevel
from shared.notices import NoticeName
from shared.run import ChunkState


class FeedShape(Audited):
    """An mParticle input: where batches go. Its secret is never in an answer."""

    id: str
    name: str
    base_url: str
    api_key: str
    input_protection_level: ProtectionLevel
    quota_group: str
    batches_per_s: float
    workspace: str
    gzip: bool
    secrets: Secrets


class RetryRequest(Shape):
    """How a stopped run goes on."""

    accepts_rejects: bool = Field(default=False, description="take its rejected rows as they are, however many")


class RunsShape(Shape):
    """The runs that are now at work."""

    runs: tuple[RunReference, ...]


class AbandonedShape(RunShape):
    """A run that was given up."""

    rows_to_be_sent_again: int = Field(description="accepted rows, under new ids, by the next run that reads them")


class RunEventShape(Shape):
    """One thing that happened to a run: the state that it came to, or ``held``, ``paused`` or ``resumed``."""

    id: int
    happened_on: Instant
    name: str
    actor: str | None = Field(description="who moved it; null: the system by itself")
    errors: tuple[Message, ...]


class ChunkShape(Shape):
    """What one upload task handles; ``position`` of its ``rows`` are final."""

    id: UUID
    slice_no: int
    no: int
    state: ChunkState
    rows: int
    position: int
    accepted: int
    rejected: int
    unchanged: int
    superseded: int
    spool_bytes: int
    attempts: int
    deaths: int = Field(description="claimants that recorded nothing")
    error: str | None = Field(description="what the last attempt that did not finish said")
    claimant: str | None = Field(description="who claimed it last, as host:pid")
    published_on: Instant
    in_doubt_since: Instant | None
    not_before: Instant | None
    done_on: Instant | None
    queued_s: float | None = Field(description="seconds until it was claimed, over all attempts; null: it never was")
    worked_s: float | None = Field(description="seconds that it was claimed, over all attempts that are over")


class NoticeShape(Shape):
    """What happened to a pipeline that somebody should find later."""

    name: NoticeName
    message: str
    noticed_on: Instant
