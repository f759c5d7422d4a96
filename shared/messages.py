"""The only contract between processes: task names, queues and payloads.

A payload is a version and one identifier; what operators send is a pipeline's id alone. It never carries rows, SQL or
credentials; whatever a task needs it reads from the store. A version that a process does not know is refused, so that
old and new workers can run side by side.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum, StrEnum
from typing import Final
from uuid import UUID

from shared.errors import PayloadUnknown
from shared.run import Lane, RunId, Token

PAYLOAD_VERSION: Final = 1


class TaskName(StrEnum):
    """Every task, by its name. The last three take a pipeline's id and may be sent by any Celery client."""

    PLAN_RUN = "warehouse_sync.plan_run"
    EXTRACT_SLICE = "warehouse_sync.extract_slice"
    UPLOAD_CHUNK = "warehouse_sync.upload_chunk"
    SETTLE_RUN = "warehouse_sync.settle_run"
    UPKEEP = "warehouse_sync.upkeep"
    PROBE = "warehouse_sync.probe"
    ALERT = "warehouse_sync.alert"
    TRY_ALERTS = "warehouse_sync.try_alerts"
    TRIGGER = "warehouse_sync.trigger"
    PAUSE = "warehouse_sync.pause"
    RESUME = "warehouse_sync.resume"


class Queue(StrEnum):
    """Every queue; extract and upload never share slots, and neither do the lanes."""

    CONTROL = "control"
    PROBE = "probe"
    EXTRACT = "extract"
    UPLOAD = "upload"
    EXTRACT_BACKFILL = "extract.backfill"
    UPLOAD_BACKFILL = "upload.backfill"


class Priority(IntEnum):
    """Which of a queue's messages goes first; the numbers are the broker's, 0 before all others.

    A run's messages rank by how many of it are under way: whoever has few overtakes whoever fills the queue.
    """

    FIRST = 0
    BEHIND = 3
    LAST = 6

    @classmethod
    def of(cls, under_way: int) -> "Priority":
        """Give the rank of one more message of a run that has so many under way."""
        if under_way < _FEW:
            return cls.FIRST
        return cls.BEHIND if under_way < _SOME else cls.LAST


_FEW: Final = 2
_SOME: Final = 8

_QUEUES: Final[Mapping[tuple[TaskName, Lane], Queue]] = {
    # Somebody waits for the answer: the workers that may ask warehouses take these first.
    (TaskName.PROBE, Lane.LIVE): Queue.PROBE,
    (TaskName.PROBE, Lane.BACKFILL): Queue.PROBE,
    # Planning asks the warehouse for columns, so it waits where extraction waits and never holds a control slot.
    (TaskName.PLAN_RUN, Lane.LIVE): Queue.EXTRACT,
    (TaskName.PLAN_RUN, Lane.BACKFILL): Queue.EXTRACT_BACKFILL,
    (TaskName.EXTRACT_SLICE, Lane.LIVE): Queue.EXTRACT,
    (TaskName.EXTRACT_SLICE, Lane.BACKFILL): Queue.EXTRACT_BACKFILL,
    (TaskName.UPLOAD_CHUNK, Lane.LIVE): Queue.UPLOAD,
    (TaskName.UPLOAD_CHUNK, Lane.BACKFILL): Queue.UPLOAD_BACKFILL,
}


@dataclass(frozen=True, slots=True)
class Message:
    """One task to be sent: always after the transaction that recorded it has committed."""

    task: TaskName
    id: UUID
    lane: Lane = Lane.LIVE
    priority: Priority = Priority.FIRST

    @property
    def queue(self) -> Queue:
        """The queue that this task waits in."""
        return _QUEUES.get((self.task, self.lane), Queue.CONTROL)

    def payload(self) -> dict[str, object]:
        """Give what travels: the version and the id."""
        return {"version": PAYLOAD_VERSION, "id": str(self.id)}


@dataclass(frozen=True, slots=True)
class Death:
    """A claimant that stopped renewing its lease."""

    task: TaskName
    id: UUID
    run_id: RunId
    deaths: int
    token: Token


def read_payload(payload: object) -> UUID:
    """Give the id that a payload names.

    Raises:
        PayloadUnknown: the payload is of another version or another shape; its content is not repeated.
    """
    match payload:
        case {"version": int(version), "id": str(text)} if version == PAYLOAD_VERSION:
            try:
                return UUID(text)
            except ValueError:
                raise PayloadUnknown("a payload's id is not a UUID; something else sends to these queues") from None
        case {"version": int(version)} if version != PAYLOAD_VERSION:
            raise PayloadUnknown(
                f"a payload of version {version}, where this worker reads {PAYLOAD_VERSION}: update this worker"
            )
        case {"version": int()}:
            raise PayloadUnknown("a payload without an id; something else sends to these queues")
        case _:
            raise PayloadUnknown("a payload without a version; something else sends to these queues")
