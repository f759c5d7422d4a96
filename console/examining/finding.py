"""What a look found: one line, and what to do about it."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from shared.errors import SyncError

MOST_SKEW: Final = timedelta(seconds=5)
"""Beyond it windows, schedules and leases lie visibly elsewhere than people think."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at: ``cure`` is ``None`` where it is well."""

    subject: str
    found: str
    cure: str | None = None

    @property
    def is_well(self) -> bool:
        """Whether nothing needs to be done about it."""
        return self.cure is None


def tried(subject: str, look: Callable[[], object], well: str) -> Finding:
    """Look, and say that it is well or what the look raised."""
    try:
        look()
    except SyncError as error:
        return failed(subject, error)
    return Finding(subject, well)


def failed(subject: str, error: SyncError) -> Finding:
    """Give an error as a finding; its sentence holds the cure."""
    return Finding(subject, type(error).__name__, str(error))


def compared(subject: str, told: datetime, *, earliest: datetime, latest: datetime, cure: str) -> Finding:
    """Compare a clock that was asked between two instants of this machine's with this machine's."""
    skew = max(told - latest, timedelta(0)) - max(earliest - told, timedelta(0))
    if abs(skew) <= MOST_SKEW:
        return Finding(subject, f"agrees with this machine's to {MOST_SKEW.total_seconds():g} s")
    direction = "ahead of" if skew > timedelta(0) else "behind"
    return Finding(subject, f"is {abs(skew).total_seconds():,.0f} s {direction} this machine's", cure)
