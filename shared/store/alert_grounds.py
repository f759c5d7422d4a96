"""What every look at what is the matter reads of pipelines and runs: names, wishes, counts."""

from datetime import timedelta
from typing import Any, Final

import sqlalchemy as sa

from shared.run import PipelineState
from shared.store.declared_tables import pipelines

EVENTS_SEEN_FOR: Final = timedelta(days=1)
"""An event is looked for so long. Alerts are kept for at least twice that, and so none is told again."""
COUNTS: Final = ("extracted", "accepted", "rejected", "unchanged", "superseded", "unsent")
NAME: Final = pipelines.c.document["name"].astext
POLICY: Final = pipelines.c.document["alerts"]
MUTED: Final = sa.func.coalesce(POLICY["mute"], sa.text("'[]'::jsonb"))
IS_DECLARED: Final = pipelines.c.state != PipelineState.DELETED


def counts_of(row: Any) -> dict[str, int]:
    """Give what became of the rows of a run, or of several; what became of none is left out."""
    return {name: int(count) for name in COUNTS if (count := getattr(row, name))}


def counted(count: int, noun: str) -> str:
    """Say a number of things."""
    return f"{int(count):,} {noun}{'' if count == 1 else 's'}"
