"""Bounds of windows, with all their digits: one that was cut to milliseconds would leave rows out."""

from datetime import UTC, datetime
from typing import Annotated, Final

from pydantic import BeforeValidator, PlainSerializer

from shared.fields import Moment

_MS_IN_US: Final = 1000


def exactly(instant: datetime) -> str:
    """Give an instant in UTC with a Z, in milliseconds or, where it has more digits, with all of them."""
    timespec = "microseconds" if instant.microsecond % _MS_IN_US else "milliseconds"
    return instant.astimezone(UTC).isoformat(timespec=timespec).replace("+00:00", "Z")


def _in_utc(given: object) -> object:
    """Take an instant without a zone as UTC, as the command line does."""
    if isinstance(given, str):
        try:
            instant = datetime.fromisoformat(given)
        except ValueError:
            return given
        return instant.replace(tzinfo=UTC) if instant.tzinfo is None else instant
    return given


Bound = Annotated[Moment, BeforeValidator(_in_utc), PlainSerializer(exactly, return_type=str, when_used="json")]
"""Such as ``2026-01-31T06:00:00.000Z``; one without a zone is taken as UTC."""
