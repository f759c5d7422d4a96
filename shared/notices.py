"""What may have happened to a pipeline that an operator should find later (pure); the store keeps it."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum


class NoticeName(StrEnum):
    """What happened, as a fixed name."""

    REQUEST_REFUSED = "request_refused"
    WATERMARK_RESET = "watermark_reset"
    ROWS_FOUND = "rows_found"


@dataclass(frozen=True, slots=True)
class Notice:
    """One thing that happened."""

    id: int
    pipeline_id: str
    name: NoticeName
    message: str
    noticed_at: datetime
