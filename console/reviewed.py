"""What a review shows before a pipeline is activated: small values that any skin can show."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from shared.probe import RejectAnswer


@dataclass(frozen=True, slots=True)
class ReviewedColumn:
    """A column, the field that it becomes or why it cannot, and what else is to be known of that field."""

    name: str
    type: str
    becomes: str
    refused: str | None = None
    note: str | None = None


@dataclass(frozen=True, slots=True)
class ReviewedFeed:
    """Where the batches go; ``protection_means`` says what its input protection level allows them to do."""

    id: str
    name: str
    host: str
    protection: str
    protection_means: str
    quota_group: str
    batches_per_s: float


@dataclass(frozen=True, slots=True)
class SampleProfile:
    """A user as the sample's batches alone would make one; ``batches`` are so many of them."""

    identities: dict[str, str]
    user_attributes: dict[str, Any]
    batches: int


class Reads(StrEnum):
    """What a reading is of."""

    FIRST_SYNC = "first_sync"
    """The pipeline's first run: all of its history."""
    HISTORY = "history"
    """What of history is not settled yet."""
    NEXT_RUN = "next_run"
    """The live run that would begin now."""
    LATER_RUN = "later_run"
    """Each run after that, taken to read as much as changed within one interval of the schedule before now."""


@dataclass(frozen=True, slots=True)
class Reading:
    """What one run would read and send; what could not be found out is ``None``, and ``unknown`` says why.

    ``batches`` and ``takes_s``, at the feed's quota, are ``estimated`` in those words from the sample's batches a row.
    ``null_rows`` have no time: history reads them, and no run after it.
    """

    reads: Reads
    low: datetime | None = None
    high: datetime | None = None
    rows: int | None = None
    null_rows: int | None = None
    scanned_bytes: int | None = None
    batches: int | None = None
    takes_s: float | None = None
    estimated: str | None = None
    unknown: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Review:
    """A pipeline, saved or not, as it would run: nothing was sent for it, and nothing moved.

    Attributes:
        refused: Why it cannot run as it is declared.
        cautions: What runs allow and may not be expected.
        warnings: What it will cost.
        sample_rows: How many rows were read as a sample; ``None`` where none could be.
        batches: What they become, exactly as they would be sent, but for the values of secret columns.
        profiles: The users that these batches make, on their own.
        profiles_note: How to read the profiles.
        rejects: The rows among the sample that would be refused.
        due: The next times that a run is due, five at most; of one that is not activated, as if it were now.
        readings: What its runs read.
        unknown: What could not be found out, and why, by the part that lacks it.
    """

    pipeline_id: str
    name: str
    is_saved: bool
    state: str | None
    mode: str
    kind: str
    environment: str | None
    feed: ReviewedFeed
    columns: tuple[ReviewedColumn, ...]
    refused: str | None
    cautions: tuple[str, ...]
    warnings: tuple[str, ...]
    sample_rows: int | None
    batches: tuple[dict[str, Any], ...]
    profiles: tuple[SampleProfile, ...]
    profiles_note: str
    rejects: tuple[RejectAnswer, ...]
    schedule: str
    due: tuple[datetime, ...]
    readings: tuple[Reading, ...]
    unknown: dict[str, str]
