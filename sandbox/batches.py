"""What is wrong with one batch, if anything, and whom it is about.

Only what mParticle's schema forbids, or what its documentation says is not processed, is a flaw. Limits whose
consequence mParticle does not state (attribute counts and lengths) are not.
"""

import re
from collections.abc import Iterator
from typing import Any, Final

import orjson

from sandbox.events import flaw_of_event
from sandbox.fields import DEVICE_IDENTITIES, IDENTITIES, SCALARS, TOP_LEVEL, uuid

BATCH_BYTES: Final = 128_000
"""The largest batch, uncompressed; HTTP API, "default service limits"."""

HISTORICAL_AGE_MS: Final = 72 * 3_600_000
"""The youngest that data on the historical path may be; HTTP API, "historical data"."""

TOO_LARGE: Final = "too_large"

_BAD: Final = {name: f"bad_{name}" for name in TOP_LEVEL}
_TOKEN: Final = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"|[\[\]{},]', re.DOTALL)


def flaw(batch: Any, *, historical: bool, now_ms: int) -> str | None:
    """Give the reason why mParticle would not process a batch, or None.

    Args:
        batch: one batch, as orjson gives it.
        historical: whether it came on the path for old data, which has rules of its own.
        now_ms: the time of its arrival, in ms since the epoch.

    Source: the inbound JSON Schema; for old data HTTP API, "historical data".
    """
    if type(batch) is not dict:
        return "not_an_object"
    for name, value in batch.items():
        check = TOP_LEVEL.get(name)
        if check is not None:
            if not check(value):
                return _BAD[name]
        elif name == "user_identities":
            if not _are_identities(value):
                return "bad_user_identities"
        elif name != "events":
            return "unknown_field"
        elif (wrong := _flaw_of_events(value)) is not None:
            return wrong
    if not _has_identity(batch):
        return "no_identity"
    return _flaw_of_age(batch.get("events"), now_ms) if historical else None


def identities(batch: dict[str, Any]) -> dict[str, str]:
    """Give the kind and value of everything that names a valid batch's user, the most telling first.

    Empty values name nobody. Values are given as text, UUIDs in lower case.
    """
    found: dict[str, str] = {}
    if (mpid := batch.get("mpid")) is not None:
        found["mpid"] = str(int(mpid))
    if named := batch.get("user_identities"):
        if customer_id := _text(named.get("customer_id")):
            found["customer_id"] = customer_id
        for kind, value in named.items():
            if identity := _text(value):
                found[kind] = identity
    if device := batch.get("device_info"):
        for kind in DEVICE_IDENTITIES:
            if identity := _text(device.get(kind)):
                found[kind] = identity.lower() if uuid(identity) else identity
    if device_id := batch.get("mp_deviceid"):
        found["mp_deviceid"] = device_id.lower()
    return found


def oversized(body: bytes, batches: list[Any]) -> frozenset[int]:
    """Give the positions of the batches in an array that are larger than a batch may be, as they were sent."""
    compact = [len(orjson.dumps(batch)) for batch in batches]
    # Blanks and escapes make a batch longer on the wire than here, but by no more than the body is longer in all.
    slack = len(body) - sum(compact)
    if max(compact, default=0) + slack <= BATCH_BYTES:
        return frozenset()
    return frozenset(at for at, size in enumerate(_sizes(body)) if size > BATCH_BYTES)


def _sizes(body: bytes) -> Iterator[int]:
    """Measure each item of a JSON array's text."""
    depth = start = 0
    for token in _TOKEN.finditer(body):
        match token[0]:
            case b"[" | b"{":
                depth += 1
                start = token.end() if depth == 1 else start
            case b"]" | b"}":
                depth -= 1
                if depth == 0:
                    yield len(body[start : token.start()].strip())
            case b"," if depth == 1:
                yield len(body[start : token.start()].strip())
                start = token.end()


def _are_identities(value: Any) -> bool:
    if type(value) is not dict:
        return value is None
    return IDENTITIES.issuperset(value) and SCALARS.issuperset(map(type, value.values()))


def _has_identity(batch: dict[str, Any]) -> bool:
    named = batch.get("user_identities")
    # Text under the first name, the usual case, saves the walk through all that may name a user.
    if named and type(first := next(iter(named.values()))) is str and first:
        return True
    return bool(identities(batch))


def _flaw_of_events(events: Any) -> str | None:
    if type(events) is not list:
        return None if events is None else "bad_events"
    for event in events:
        if (wrong := flaw_of_event(event)) is not None:
            return wrong
    return None


def _flaw_of_age(events: list[dict[str, Any]] | None, now_ms: int) -> str | None:
    if not events:
        return "historical_no_events"
    for event in events:
        stamp = event["data"].get("timestamp_unixtime_ms")
        if type(stamp) not in {int, float}:
            return "historical_no_timestamp"
        if now_ms - stamp < HISTORICAL_AGE_MS:
            return "historical_too_young"
    return None


def _text(value: Any) -> str:
    if type(value) is str:
        return value
    return "" if value is None else orjson.dumps(value).decode()
