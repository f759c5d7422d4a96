"""Instants as text: one form for people, one for machines, both in UTC and both in the order of time (pure).

People read ``2026-11-30 21:05:07 UTC``, on screens, in errors and in alerts. Machines read RFC 3339 with a ``Z``, in
answers, cursors and logs: ``2026-11-30T21:05:07.000Z``.
"""

from datetime import UTC, datetime
from typing import Final

_MS_IN_US: Final = 1000


def told(instant: datetime) -> str:
    """Give an instant for people, to the second."""
    return told_exactly(instant.replace(microsecond=0))


def told_exactly(instant: datetime) -> str:
    """Give an instant for people with a fraction where it has one: two bounds that differ never look the same."""
    return f"{instant.astimezone(UTC).replace(tzinfo=None).isoformat(sep=' ')} UTC"


def written(instant: datetime) -> str:
    """Give an instant for machines as mParticle writes it, in milliseconds."""
    return _rfc_3339(instant, "milliseconds")


def written_exactly(instant: datetime) -> str:
    """Give an instant for machines in milliseconds or, where it has more digits, with all of them."""
    return _rfc_3339(instant, "microseconds" if instant.microsecond % _MS_IN_US else "milliseconds")


def _rfc_3339(instant: datetime, timespec: str) -> str:
    return instant.astimezone(UTC).isoformat(timespec=timespec).replace("+00:00", "Z")
