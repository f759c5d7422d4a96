"""What the stand-in counts, and the promise that its counts keep.

Every batch of a body that was answered 202 is in exactly one of ``batches``, ``duplicates``, ``conflicts`` and
``dropped``; a body answered otherwise is only a request, its answer and nothing else.
"""

from collections import Counter, deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any, Final

_REMEMBERED_DROPS: Final = 100


@dataclass(frozen=True, slots=True)
class Drop:
    """A batch that vanished: its id, if it had one, and why."""

    source_request_id: str | None
    reason: str


@dataclass(slots=True)
class Counters:
    """Counts since the start or the last reset.

    Attributes:
        requests: everything that arrived on a path for batches, whatever came of it.
        bytes: uncompressed bytes of the bodies that were taken.
        wire_bytes: bytes of all bodies that were read, as they came.
        batches: valid batches, taken for the first time.
        events_by_type: events in these.
        historical: those of them that came on the path for old data.
        duplicates: batches whose id was known, with the same content.
        conflicts: batches whose id was known, with other content; they change nothing either.
        without_id: taken batches that no repeat could be told from.
        withheld: taken batches that a protection level kept from the profiles.
        dropped_by_reason: batches that vanished.
        by_environment: taken batches; one that names no environment is of production.
        answers_by_status: answers given.
        connections_cut: requests that a fault left without an answer.
        drops: the latest batches that vanished.
    """

    requests: int = 0
    bytes: int = 0
    wire_bytes: int = 0
    batches: int = 0
    historical: int = 0
    duplicates: int = 0
    conflicts: int = 0
    without_id: int = 0
    withheld: int = 0
    events_by_type: Counter[str] = field(default_factory=Counter)
    dropped_by_reason: Counter[str] = field(default_factory=Counter)
    by_environment: Counter[str] = field(default_factory=Counter)
    answers_by_status: Counter[HTTPStatus] = field(default_factory=Counter)
    connections_cut: int = 0
    drops: deque[Drop] = field(default_factory=lambda: deque(maxlen=_REMEMBERED_DROPS))

    def drop(self, source_request_id: str | None, reason: str) -> None:
        """Count a batch that vanishes."""
        self.dropped_by_reason[reason] += 1
        self.drops.append(Drop(source_request_id, reason))

    def as_json(self, *, profiles: int) -> dict[str, Any]:
        """Give all counts, beside the number of profiles there are."""
        refused = (item for item in self.answers_by_status.items() if item[0] >= HTTPStatus.BAD_REQUEST)
        return {
            "requests": self.requests,
            "bytes": self.bytes,
            "wire_bytes": self.wire_bytes,
            "batches": self.batches,
            "events": self.events_by_type.total(),
            "events_by_type": dict(self.events_by_type),
            "historical": self.historical,
            "duplicates": self.duplicates,
            "conflicts": self.conflicts,
            "without_id": self.without_id,
            "withheld": self.withheld,
            "dropped": self.dropped_by_reason.total(),
            "dropped_by_reason": dict(self.dropped_by_reason),
            "by_environment": dict(self.by_environment),
            "answers_by_status": _by_number(self.answers_by_status.items()),
            "rejected_requests_by_status": _by_number(refused),
            "connections_cut": self.connections_cut,
            "profiles": profiles,
        }


def _by_number(counts: Iterable[tuple[HTTPStatus, int]]) -> dict[str, int]:
    return {str(status.value): count for status, count in counts}
