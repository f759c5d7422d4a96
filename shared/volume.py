"""How many rows a run may read before somebody is asked (pure).

A query that lost its WHERE, or a table that was loaded twice, reads many more rows than usual. Sent, they stay in
mParticle; so the run is held before they are.
"""

from collections.abc import Sequence
from statistics import median
from typing import Final, Self

from pydantic import Field, model_validator

from shared.fields import Declared

LOOKED_AT: Final = 10
"""Settled live runs of the pipeline that a run is compared with, at most."""
FEWEST_COMPARED: Final = 3
"""Of these, runs with rows that it takes to know what is usual. Ours, and a guess."""


class Volume(Declared):
    """How many rows a run may read without being held; what is left out limits nothing."""

    max_rows: int | None = Field(None, ge=0, description="of one run, however many others had")
    max_ratio: float | None = Field(
        None, ge=1, description="of a live run, in medians of the pipeline's last ten settled live runs that had rows"
    )

    @model_validator(mode="after")
    def _limits_something(self) -> Self:
        if self.max_rows is None and self.max_ratio is None:
            raise ValueError("expected max_rows, max_ratio or both; leave volume out to limit nothing")
        return self


def doubt(
    number: int, rows: int, *, max_rows: int | None, max_ratio: float | None, earlier: Sequence[int]
) -> str | None:
    """Say why somebody is to be asked about run ``number``, or ``None`` where its rows are as many as usual.

    ``earlier`` are the rows of the pipeline's last settled live runs; those without rows say nothing.
    """
    usual = [had for had in earlier if had]
    if max_rows is not None and rows > max_rows:
        why = f"volume.max_rows allows {max_rows:,}"
    elif max_ratio is not None and len(usual) >= FEWEST_COMPARED and rows > max_ratio * median(usual):
        why = (
            f"volume.max_ratio allows {max_ratio:g} times {median(usual):,.0f}, the median of the last "
            f"{len(usual)} live runs that had rows"
        )
    else:
        return None
    return (
        f"run {number} has read {rows:,} rows so far, and {why}. What it read last was not sent. If so many are right, "
        "approve the run; if not, abandon it and correct query or table, and its window is read again"
    )
