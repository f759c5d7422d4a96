"""One body: whether it is taken, what is said about it, and what becomes of each of its batches.

A body is judged whole before anything of it is taken, and it is taken in one go, so a body that is refused has changed
nothing. A bulk body with bad batches is accepted, and these vanish: mParticle's own trap, and the default here.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from http import HTTPStatus
from typing import Any, Final

import orjson

from sandbox.batches import BATCH_BYTES, TOO_LARGE, flaw, oversized
from sandbox.counters import Counters
from sandbox.faults import Faults, FaultSwitch
from sandbox.profiles import Profiles
from sandbox.ratelimit import EXCEEDED_HEADER, USED_HEADER, RateLimit
from sandbox.received import ReceivedIds, Sighting
from sandbox.settings import SandboxFeed, SandboxSettings, Storing

BODY_BYTES: Final = 256_000
"""The largest body, uncompressed; HTTP API, "default service limits"."""

BODY_BATCHES: Final = 100
"""The most batches of a bulk body; HTTP API, "bulk events"."""


class Door(Enum):
    """A path that batches come in by."""

    EVENTS = "/v2/events"
    BULK = "/v2/bulkevents"
    HISTORICAL = "/v2/bulkevents/historical"


@dataclass(frozen=True, slots=True)
class Answer:
    """What the sender is told; a message goes into mParticle's error body."""

    status: HTTPStatus
    message: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)


class Intake:
    """Everything that the stand-in knows, behind the one question what to answer to a body.

    Args:
        settings: how the stand-in was started.
        now_s: seconds since the epoch, for the age of events.
        ticks_s: seconds on a clock that never goes back, for rates.
    """

    def __init__(self, settings: SandboxSettings, now_s: Callable[[], float], ticks_s: Callable[[], float]) -> None:
        self.counters = Counters()
        self.faults = FaultSwitch(settings.seed)
        self.profiles = Profiles()
        self.received = {feed.key: ReceivedIds() for feed in settings.feeds}
        self._rate = RateLimit(settings.batches_per_s, settings.acceleration_batches_per_s)
        self._keeps_ids = settings.storing is not Storing.OFF
        self._keeps_profiles = settings.storing is Storing.PROFILES
        self._now_s = now_s
        self._ticks_s = ticks_s

    def take(self, door: Door, feed: SandboxFeed, body: bytes) -> Answer:
        """Judge a body of at most the allowed size, take what is good of it, and give the answer."""
        try:
            parsed = orjson.loads(body)
        except orjson.JSONDecodeError as error:
            return _bad_request(f"The body is not JSON: {error.msg} at position {error.pos}.")
        batches: Any = [parsed] if door is Door.EVENTS else parsed
        if not isinstance(parsed, dict if door is Door.EVENTS else list):
            return _bad_request("Expected one batch." if door is Door.EVENTS else "Expected an array of batches.")
        if len(batches) > BODY_BATCHES:
            return _bad_request(f"Expected at most {BODY_BATCHES} batches, got {len(batches)}.")
        if (refusal := self._over_quota(len(batches))) is not None:
            return refusal
        flaws = self._flaws(door, body, batches)
        if (refusal := _refusal(self.faults.faults, door, batches, flaws)) is not None:
            return refusal
        self.counters.bytes += len(body)
        for batch, reason in zip(batches, flaws, strict=True):
            if reason is None:
                self._take(batch, feed, historical=door is Door.HISTORICAL)
            else:
                self.counters.drop(_id_of(batch), reason)
        used = self._rate.percentage_used()
        return Answer(HTTPStatus.ACCEPTED, headers={} if used is None else {USED_HEADER: str(used)})

    def _over_quota(self, batches: int) -> Answer | None:
        if not self._rate.is_set:
            return None
        exceeded = self._rate.admit(batches, self._ticks_s())
        if exceeded is None:
            return None
        headers = {EXCEEDED_HEADER: exceeded.limit}
        if not self.faults.faults.omit_retry_after:
            headers["Retry-After"] = str(exceeded.retry_after_s)
        return Answer(HTTPStatus.TOO_MANY_REQUESTS, f"The limit of {exceeded.limit} is exceeded.", headers)

    def _flaws(self, door: Door, body: bytes, batches: list[Any]) -> list[str | None]:
        historical = door is Door.HISTORICAL
        now_ms = int(self._now_s() * 1000)
        flaws = [flaw(batch, historical=historical, now_ms=now_ms) for batch in batches]
        if len(body) > BATCH_BYTES:
            for at in (0,) if door is Door.EVENTS else oversized(body, batches):
                flaws[at] = flaws[at] or TOO_LARGE
        return flaws

    def _take(self, batch: dict[str, Any], feed: SandboxFeed, *, historical: bool) -> None:
        counters = self.counters
        source_request_id = _id_of(batch)
        if source_request_id is None:
            counters.without_id += 1
        elif self._keeps_ids:
            sighting = self.received[feed.key].note(source_request_id, orjson.dumps(batch), historical=historical)
            if sighting is not Sighting.FIRST:
                counters.duplicates += sighting is Sighting.REPEATED
                counters.conflicts += sighting is Sighting.CONFLICTING
                return
        counters.batches += 1
        counters.historical += historical
        counters.by_environment[batch.get("environment", "production")] += 1
        if events := batch.get("events"):
            counters.events_by_type.update(event["event_type"] for event in events)
        # Old data leaves profiles as they are (HTTP API, "historical data").
        if self._keeps_profiles and not historical and not self.profiles.update(batch, feed.protection):
            counters.withheld += 1


def _refusal(faults: Faults, door: Door, batches: list[Any], flaws: list[str | None]) -> Answer | None:
    if faults.reject_all:
        return _bad_request("The body is refused.")
    bad = next((reason for reason in flaws if reason is not None), None)
    if bad is not None and (door is Door.EVENTS or faults.strict):
        return _bad_request(f"A batch is not valid: {bad}.")
    if (marked := faults.reject_marked) is not None:
        for batch, reason in zip(batches, flaws, strict=True):
            attributes = None if reason else batch.get("user_attributes")
            if attributes and marked.attribute in attributes and attributes[marked.attribute] == marked.value:
                return _bad_request(f"A batch is not valid: its user attribute {marked.attribute!r} is refused.")
    return None


def _bad_request(message: str) -> Answer:
    return Answer(HTTPStatus.BAD_REQUEST, message)


def _id_of(batch: Any) -> str | None:
    if type(batch) is not dict:
        return None
    source_request_id = batch.get("source_request_id")
    return source_request_id if source_request_id is None or type(source_request_id) is str else str(source_request_id)
