"""The users that some batches make on their own, as the stand-in mParticle merges them (pure).

Values of secret columns are masked before they get here, so an identity that is one of them tells nobody apart: each
batch that has only such is taken for a user of its own.
"""

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any, Final

from console.reviewed import SampleProfile
from sandbox.batches import identities
from sandbox.profiles import Profiles
from shared.feed import ProtectionLevel
from shared.rejects import MASK

MEANS: Final = {
    ProtectionLevel.CREATE_AND_UPDATE: "its batches may create profiles and update them",
    ProtectionLevel.UPDATE_ONLY: (
        "its batches update profiles that mParticle has, and create none: users that it does not know stay unknown"
    ),
    ProtectionLevel.READ_ONLY: "its batches neither create nor update profiles; events may still be forwarded",
}
"""What an input protection level lets batches do. Source: mParticle, "Warehouse Sync", input protection levels."""

_NOTES: Final = {
    ProtectionLevel.CREATE_AND_UPDATE: (
        "as these batches alone make them; mParticle adds them to what it knows, and its identity strategy decides who "
        "is one user"
    ),
    ProtectionLevel.UPDATE_ONLY: (
        "as these batches alone would make them, and of those users only that mParticle knows already"
    ),
    ProtectionLevel.READ_ONLY: "none: the feed is read_only, so its batches change no profile",
}
_HISTORICAL_AGE: Final = timedelta(days=30)
_NO_MPID: Final = -(2**62)
"""Stands for a masked mpid, which is a number; far from any that mParticle gives."""


def note_on(protection: ProtectionLevel) -> str:
    """Say how profiles of a sample are to be read."""
    return _NOTES[protection]


def profiles_of(
    batches: Iterable[dict[str, Any]], *, protection: ProtectionLevel, historical_before: datetime | None
) -> tuple[SampleProfile, ...]:
    """Merge batches into users by their identities, in order; historical ones change nobody."""
    if protection is ProtectionLevel.READ_ONLY:
        return ()
    known = Profiles()
    named = []
    for number, batch in enumerate(batches):
        if historical_before is not None and _is_historical(batch, historical_before):
            continue
        apart = _told_apart(batch, number)
        known.update(apart, ProtectionLevel.CREATE_AND_UPDATE)
        named.append(identities(apart))
    found = (known.find(kind, value) for one in named for kind, value in one.items())
    distinct = {id(profile): profile for profile in found if profile is not None}
    return tuple(
        SampleProfile(
            identities={kind: _shown(value) for kind, value in profile.identities.items()},
            user_attributes=profile.attributes,
            batches=profile.updates,
        )
        for profile in distinct.values()
    )


def historical_before(now: datetime) -> datetime:
    """Give the instant before which events of a run planned now are historical."""
    return now - _HISTORICAL_AGE


def _is_historical(batch: dict[str, Any], before: datetime) -> bool:
    events = batch.get("events") or ()
    stamps = [event.get("data", {}).get("timestamp_unixtime_ms") for event in events]
    limit_ms = int(before.timestamp() * 1000)
    return bool(stamps) and all(isinstance(stamp, int) and stamp < limit_ms for stamp in stamps)


def _told_apart(batch: dict[str, Any], number: int) -> dict[str, Any]:
    """Give a batch whose masked identities are no other batch's."""
    apart = dict(batch)
    for group in ("user_identities", "device_info"):
        if isinstance(batch.get(group), dict):
            apart[group] = {kind: _own(value, number) for kind, value in batch[group].items()}
    if "mp_deviceid" in batch:
        apart["mp_deviceid"] = _own(batch["mp_deviceid"], number)
    if batch.get("mpid") == MASK:
        apart["mpid"] = _NO_MPID - number
    return apart


def _own(value: Any, number: int) -> Any:
    return f"{MASK}{number}" if value == MASK else value


def _shown(value: str) -> str:
    is_number = value.removeprefix("-").isdigit() and int(value) <= _NO_MPID
    return MASK if value.startswith(MASK) or is_number else value
