"""Bounds of windows, with all their digits: one that was cut to milliseconds would leave rows out."""

from datetime import UTC, datetime
from typing import Annotated

from pydantic import BeforeValidator, PlainSerializer

from shared import moments
from shared.fields import Moment


def _in_utc(given: object) -> object:
    """Take an instant without a zone as UTC, as the command line does."""
    if isinstance(given, str):
        try:
            instant = datetime.fromisoformat(given)
        except ValueError:
            return given
        return instant.replace(tzinfo=UTC) if instant.tzinfo is None else instant
    return given


Bound = Annotated[
    Moment, BeforeValidator(_in_utc), PlainSerializer(moments.written_exactly, return_type=str, when_used="json")
]
"""Such as ``2026-01-31T06:00:00.000Z``; one without a zone is taken as UTC."""
