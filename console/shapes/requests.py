"""What requests of ours stand on: whatever of a body is not known is told, and not refused."""

from typing import Final

from pydantic import BaseModel, ConfigDict

MOST: Final = 1000
"""Items of a page of a long list."""


class Requested(BaseModel):
    """A body. It refuses what it does not know, so that :mod:`console.api.reading` can tell of it."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        validate_by_name=False,
        json_schema_extra={"additionalProperties": True},  # As the API takes it.
    )
