"""From a run's counters to its outcome and the new watermark (pure)."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from shared.errors import LedgerUnbalanced
from shared.run import Lane, Run, RunKind, RunState, Standing


@dataclass(frozen=True, slots=True)
class Settlement:
    """What settling writes: ``None`` leaves a mark where it is."""

    watermark: datetime | None = None
    history_settled_to: datetime | None = None


def decide(run: Run, standing: Standing, other_parts: Sequence[Run] = ()) -> Settlement | None:
    """Say how a run settles, or give ``None`` where it is not complete or not ours to settle any more.

    The order in which chunks ended makes no difference: only their counts are looked at. Rejected rows are no gap;
    each is kept with its reason. ``other_parts`` are those of the same initial sync: history is settled up to where the
    oldest of them that is not settled begins.

    Raises:
        LedgerUnbalanced: every chunk is done and yet rows are unaccounted for.
    """
    if run.state is not RunState.UPLOADING or not run.is_complete:
        return None
    if not run.ledger.balances or run.ledger.unsent:
        raise LedgerUnbalanced(
            f"run {run.number} of pipeline {run.pipeline_id!r}: {run.ledger.extracted} rows left the warehouse, "
            f"{run.ledger.ended} are accounted for ({run.ledger}); the watermark stays. Please report this"
        )
    if standing.generation != run.generation:
        return Settlement()
    if run.kind is RunKind.INITIAL:
        return Settlement(history_settled_to=_history_settled_to(standing, run, other_parts))
    if run.lane is Lane.LIVE and run.window.high is not None and run.window.low is not None:
        return Settlement(watermark=run.window.high)
    return Settlement()


def _history_settled_to(standing: Standing, run: Run, other_parts: Sequence[Run]) -> datetime | None:
    unsettled = [part for part in other_parts if part.state is not RunState.SETTLED]
    if not unsettled:
        return standing.history_to or run.window.high
    begins = [part.window.low for part in unsettled if part.window.low is not None]
    return min(begins) if len(begins) == len(unsettled) else None
