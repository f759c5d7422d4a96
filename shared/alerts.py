"""Alerts: what may be the matter with a pipeline, and what is known of it (pure).

A *condition* lasts: it opens an alert, and what ends it closes that. An *event* is over when it is told. Whoever looks
gives conditions; :mod:`worker.alerts` compares them with the alerts that are open and says what has changed.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Annotated, Any, Final
from uuid import UUID

from pydantic import Field

from shared.fields import Declared, Duration


class AlertName(StrEnum):
    """What is the matter, as a fixed name."""

    RUN_FAILED = "run_failed"
    PIPELINE_FAULTED = "pipeline_faulted"
    ROWS_REJECTED = "rows_rejected"
    STALE = "stale"
    VOLUME_UNUSUAL = "volume_unusual"
    RUN_HELD = "run_held"
    CREDENTIALS_REFUSED = "credentials_refused"
    FULL_RESYNC = "full_resync"
    BACKFILL_FINISHED = "backfill_finished"


EVENTS: Final = frozenset({AlertName.FULL_RESYNC, AlertName.BACKFILL_FINISHED})
"""What happens at an instant; everything else lasts until it is mended."""


class Channel(StrEnum):
    """A way to tell people."""

    WEBHOOK = "webhook"
    SLACK = "slack"
    EMAIL = "email"


class Change(StrEnum):
    """What became of an alert; each change is told once by every channel."""

    OPENED = "opened"
    CHANGED = "changed"
    RECOVERED = "recovered"
    HAPPENED = "happened"


class AlertPolicy(Declared):
    """What a pipeline wants to be told otherwise than others."""

    stale_after: Annotated[Duration, Field(gt=timedelta(0))] | None = Field(
        None, description="how old what was read last may be; unset: three occurrences of the schedule, and an hour"
    )
    max_rejected_ratio: float | None = Field(
        None, gt=0, lt=1, description="the share of rejected rows above which people are told; unset: the deployment's"
    )
    mute: tuple[AlertName, ...] = Field((), description="alerts that nobody is told of")


@dataclass(frozen=True, slots=True)
class Condition:
    """Something that is the matter now, or an event.

    Attributes:
        subject: what the alert is about; at most one is open of a name and a subject.
        kind: whose change is worth telling, e.g. the kind of a run's error.
        sentence: for an operator; holds no row's value and no secret.
        since: when it began; of an event, when it happened.
        counts: rows, by what became of them.
        is_muted: its pipeline wants nobody to be told.
    """

    name: AlertName
    subject: str
    pipeline_id: str
    pipeline_name: str
    sentence: str
    since: datetime
    run_id: UUID | None = None
    run_number: int | None = None
    kind: str | None = None
    counts: Mapping[str, int] = field(default_factory=dict)
    is_muted: bool = False

    @property
    def key(self) -> tuple[AlertName, str]:
        """What tells its alert from every other that is open."""
        return self.name, self.subject


@dataclass(frozen=True, slots=True)
class OpenAlert:
    """An alert that is open: its condition when it was last told, and since when that is not seen any more."""

    id: UUID
    condition: Condition
    told_at: datetime
    absent_since: datetime | None = None


@dataclass(frozen=True, slots=True)
class Mark:
    """How far an active pipeline has read: whoever judges it says whether that is too long ago.

    ``read_to`` is the watermark, or, of a pipeline that reads in full, when its last run settled. ``begun_at`` is when
    it was activated or resumed last; ``schedule`` and ``sync_mode`` are as they were declared.
    """

    pipeline_id: str
    pipeline_name: str
    schedule: Mapping[str, Any]
    sync_mode: Mapping[str, Any]
    read_to: datetime | None
    begun_at: datetime
    next_due_at: datetime | None
    stale_after: str | None = None
    is_muted: bool = False


@dataclass(frozen=True, slots=True)
class AlertChange:
    """One change to be recorded and told; ``alert_id`` is ``None`` where it makes the alert.

    ``ended_at`` is when a condition that recovered was first not seen any more.
    """

    change: Change
    condition: Condition
    alert_id: UUID | None = None
    ended_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Decision:
    """What one look comes to.

    Attributes:
        changes: what people are told.
        absent: alerts whose condition is not seen for the first time; they may yet come back.
        back: alerts whose condition is seen again.
        hushed: alerts that were muted meanwhile: closed, and nobody is told.
    """

    changes: tuple[AlertChange, ...] = ()
    absent: tuple[UUID, ...] = ()
    back: tuple[UUID, ...] = ()
    hushed: tuple[UUID, ...] = ()
