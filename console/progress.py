"""A run on the terminal: a live bar while it works, a ledger when it ended."""

from collections.abc import Iterable
from datetime import timedelta

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeRemainingColumn
from rich.table import Table

from console.operations import Operations
from shared.run import Run, RunId, RunState


def follow(operations: Operations, run_id: RunId, title: str, screen: Console) -> Run:
    """Show a run's progress until nothing works on it any more, and give it as it ended."""
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[detail]}"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=screen) as progress:
        bar = progress.add_task(title, total=None, detail="reads the warehouse")
        run = operations.run(run_id)
        for run in operations.watch(run_id):
            ledger = run.ledger
            is_known = run.slices_total > 0 and run.slices_published == run.slices_total
            progress.update(
                bar,
                total=ledger.extracted if is_known else None,
                completed=ledger.ended if run.state is not RunState.CREATED else 0,
                detail=f"{rows_per_s(run):,.0f} rows/s, {ledger.accepted:,} accepted, {ledger.rejected:,} rejected",
            )
    return run


def took(run: Run) -> timedelta:
    """How long a run has worked: from when planning began to when it ended, or to its last change."""
    if run.started_at is None or run.ended_at is None:
        return timedelta(0)
    return run.ended_at - run.started_at


def rows_per_s(run: Run) -> float:
    """Rows that ended, by second of the run's own time; 0 while that is unknown."""
    seconds = took(run).total_seconds()
    return run.ledger.ended / seconds if seconds else 0.0


def ledgers(runs: Iterable[Run]) -> Table:
    """Give the ledgers of some runs as a table."""
    table = Table(title="Ledger: extracted = accepted + rejected + unchanged + superseded + unsent")
    for heading in ("run", "pipeline", "kind", "state"):
        table.add_column(heading)
    counts = ("extracted", "accepted", "rejected", "unchanged", "superseded", "unsent")
    for heading in (*counts, "seconds", "rows/s"):
        table.add_column(heading, justify="right")
    for run in runs:
        table.add_row(
            str(run.id),
            run.pipeline_id,
            run.kind,
            run.state,
            *(f"{getattr(run.ledger, name):,}" for name in counts),
            f"{took(run).total_seconds():.1f}",
            f"{rows_per_s(run):,.0f}",
        )
    return table
