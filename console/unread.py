"""What a run that found nothing new has not read yet, in words.

A window ends before now, so the rows that somebody has just changed are often younger than it. Who is told only that
no row was read takes the sync for broken.
"""

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Final

from console.shapes.reconstructed import PipelineShape, RunShape
from shared import moments
from shared.catalog import IteratorType
from shared.run import Lane, RunKind, RunState

_READS_ON: Final = frozenset({RunKind.SCHEDULED, RunKind.MANUAL, RunKind.INITIAL})
"""Kinds of runs whose window another one follows."""


def found_nothing_new(run: RunShape) -> bool:
    """Whether an incremental run settled without a row that no earlier one had read, and a later one reads on.

    Of an initial sync only the oldest part counts: where the newest is read first, the others are followed by nothing.
    """
    if run.state is not RunState.SETTLED or run.mode != "incremental" or run.range_end is None:
        return False
    is_followed = run.kind in _READS_ON and (run.lane is Lane.LIVE or (run.includes_null and run.part == 0))
    return is_followed and run.ledger.extracted == run.ledger.unchanged


def newest_of_each(runs: Iterable[RunShape]) -> list[RunShape]:
    """Give the newest run of each pipeline among some that are listed newest first: what older ones left was read."""
    newest: dict[str, RunShape] = {}
    for run in runs:
        newest.setdefault(run.pipeline_id, run)
    return list(newest.values())


def told(run: RunShape, pipeline: PipelineShape) -> str | None:
    """Say up to which instant a run read that found nothing new, and why; ``None`` of any other run.

    ``pipeline`` is the run's own, as it is declared now.
    """
    if run.range_end is None or not found_nothing_new(run):
        return None
    until = moments.told(run.range_end)
    begins = f"run {run.number} of {run.pipeline_id} found nothing new: it read rows changed before {until}"
    if _is_over(run.range_end, pipeline):
        return f"{begins}, and `until` lets nothing later be read"
    return f"{begins} ({_why(pipeline)}); rows changed since then are read by the next run"


def _is_over(read_to: datetime, pipeline: PipelineShape) -> bool:
    until = pipeline.sync_mode.get("until")
    # A window ends on a whole unit of the iterator, and so may lie that much before it.
    unit = timedelta(days=1) if _is_by_day(pipeline) else timedelta(seconds=1)
    return until is not None and read_to > datetime.fromisoformat(until) - unit


def _why(pipeline: PipelineShape) -> str:
    delay = f"`delay` is {pipeline.schedule['delay']}"
    return f"{delay}, and of a DATE iterator only whole days are read" if _is_by_day(pipeline) else delay


def _is_by_day(pipeline: PipelineShape) -> bool:
    return pipeline.sync_mode.get("iterator_data_type") == IteratorType.DATE
