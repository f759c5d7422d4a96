"""How many rows a run may read, and how few, before somebody is asked (pure).

A query that lost its WHERE, or a table that was loaded twice, reads many more rows than usual. Sent, they stay in
mParticle; so the run is held before they are.

A model upstream that broke, or a table that was truncated or is loaded late, reads far fewer. Settled, the run would
move the watermark on, and rows that arrive below it would never be read; so it is held before it settles. Rows count
where they are read, before it is known which of them are unchanged or refused: a run that finds nothing new to send
still shows that the table is whole.
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
    """How many rows a run may read without being held, at most and at least; what is left out limits nothing."""

    max_rows: int | None = Field(None, ge=0, description="of one run, however many others had")
    max_ratio: float | None = Field(
        None, ge=1, description="of a live run, in medians of the pipeline's last ten settled live runs that had rows"
    )
    min_rows: int | None = Field(
        None,
        ge=1,
        # A release that does not know it reads every pipeline that does without.
        exclude_if=lambda rows: rows is None,
        description="of a live run once all of it is read, however many others had; fewer, or none, hold it",
    )
    min_ratio: float | None = Field(
        None,
        gt=0,
        le=1,
        exclude_if=lambda ratio: ratio is None,
        description="of a live run once all of it is read, in the same medians: 0.2 holds one with less than a fifth",
    )

    @model_validator(mode="after")
    def _limits_something(self) -> Self:
        if self.max_rows is None and self.max_ratio is None and self.min_rows is None and self.min_ratio is None:
            raise ValueError(
                "expected at least one of max_rows, max_ratio, min_rows and min_ratio; "
                "leave volume out to limit nothing"
            )
        return self

    @model_validator(mode="after")
    def _leaves_room(self) -> Self:
        if self.min_rows is not None and self.max_rows is not None and self.min_rows > self.max_rows:
            raise ValueError(
                f"min_rows ({self.min_rows}) is above max_rows ({self.max_rows}), so every run would be held; "
                "expected min_rows, the fewest that are right, to be at most max_rows, the most that are"
            )
        return self


def too_many(
    number: int, rows: int, *, max_rows: int | None, max_ratio: float | None, earlier: Sequence[int]
) -> str | None:
    """Say why somebody is to be asked about the many rows of run ``number``, or ``None`` where there is no need.

    ``earlier`` are the rows of the pipeline's last settled live runs; those without rows say nothing.
    """
    usual = _usual(earlier)
    if max_rows is not None and rows > max_rows:
        why = f"volume.max_rows allows {max_rows:,}"
    elif max_ratio is not None and usual is not None and rows > max_ratio * usual:
        why = f"volume.max_ratio allows {_medians(max_ratio, usual, earlier)}"
    else:
        return None
    return (
        f"run {number} has read {_counted(rows)} so far, and {why}. What it read last was not sent. If so many are "
        "right, approve the run; if not, abandon it and correct query or table, and its window is read again"
    )


def too_few(
    number: int, rows: int, *, min_rows: int | None, min_ratio: float | None, earlier: Sequence[int]
) -> str | None:
    """Say why somebody is to be asked about the few rows that run ``number`` has in all, as ``too_many`` does."""
    usual = _usual(earlier)
    if min_rows is not None and rows < min_rows:
        why = f"volume.min_rows expects {min_rows:,} or more"
    elif min_ratio is not None and usual is not None and rows < min_ratio * usual:
        why = f"volume.min_ratio expects {_medians(min_ratio, usual, earlier)}, or more"
    else:
        return None
    return (
        f"run {number} has read {_counted(rows)} in all, and {why}. What it read last was not sent, and nothing newer "
        "is read meanwhile. If so few are right, approve the run; if not, correct query or table, or wait until it is "
        "loaded, then abandon the run, and its window is read again"
    )


def _usual(earlier: Sequence[int]) -> float | None:
    """Give how many rows a run has that has any, or ``None`` where that is not known."""
    had_rows = [rows for rows in earlier if rows]
    return median(had_rows) if len(had_rows) >= FEWEST_COMPARED else None


def _medians(ratio: float, usual: float, earlier: Sequence[int]) -> str:
    compared = sum(rows > 0 for rows in earlier)
    return f"{ratio:g} times {usual:,.0f}, the median of the last {compared} live runs that had rows"


def _counted(rows: int) -> str:
    return f"{rows:,} {'row' if rows == 1 else 'rows'}"
