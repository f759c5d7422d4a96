"""A run on the terminal: a live bar while it works, a ledger when it ended."""

import time
from collections.abc import Iterable, Sequence
from dataclasses import fields
from datetime import timedelta
from typing import Final

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeRemainingColumn
from rich.table import Table

from console.forecast import schedule_words
from console.operations import Operations
from shared.findings import told
from shared.run import WORKING, Ledger, Run, RunId
from shared.store.declared import PipelineRow
from shared.store.notices import Notice

_SHOWN: Final = 8
"""Characters of a run's id; enough to tell runs apart."""
_DATE: Final = 10
"""Characters of a date: on a narrow screen the time of day goes below it, and neither is cut."""


def follow(operations: Operations, run_id: RunId, title: str, screen: Console) -> Run:
    """Show a run's progress until nothing works on it any more, and give it as it ended."""
    screen.print(title)
    columns = (
        SpinnerColumn(),
        BarColumn(bar_width=20),
        TextColumn("{task.description}"),
        TimeRemainingColumn(compact=True),
    )
    began_at = time.monotonic()
    with Progress(*columns, console=screen) as progress:
        bar = progress.add_task("reads the warehouse", total=None)
        told = None
        for run in operations.watch(run_id):
            if run.state in WORKING and (why := operations.why_it_waits(run_id)) not in {None, told}:
                progress.console.print(f"waits: {escape(str(why))}", soft_wrap=True)
                told = why
            ledger = run.ledger
            speed = rows_per_s(run) or ledger.ended / (time.monotonic() - began_at)
            is_read = run.slices_total > 0 and run.slices_published == run.slices_total
            progress.update(
                bar,
                total=ledger.extracted if is_read else None,
                completed=ledger.ended,
                description=f"{ledger.ended:,} of {ledger.extracted:,} rows, {speed:,.0f} rows/s, "
                f"{ledger.accepted:,} accepted, {ledger.rejected:,} rejected",
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


def ledger_table(runs: Sequence[Run]) -> Table:
    """Give the ledgers of a few runs side by side."""
    table = Table(title="Ledger", box=box.SIMPLE_HEAD)
    table.add_column("rows")
    for run in runs:
        table.add_column(f"{run.kind} run", justify="right")
    for name in (field.name for field in fields(Ledger)):
        table.add_row(name, *(f"{getattr(run.ledger, name):,}" for run in runs))
    table.add_row("balances", *("yes" if run.ledger.balances else "[red]no[/]" for run in runs))
    table.add_row("batches", *(f"{run.batches:,}" for run in runs))
    table.add_row("seconds", *(f"{took(run).total_seconds():.1f}" for run in runs))
    table.add_row("rows/s", *(f"{rows_per_s(run):,.0f}" for run in runs))
    return table


def show_found(screen: Console, run: Run) -> None:
    """Print what was found out about a run's rows beside where they ended, if anything was."""
    if run.findings:
        screen.print(f"{run.id} found, in rows: {escape(told(run.findings))}", soft_wrap=True)


def pipeline_table(rows: Iterable[PipelineRow]) -> Table:
    """Give a list of pipelines and where they stand."""
    table = Table(box=box.SIMPLE_HEAD)
    for heading in ("pipeline", "state", "mode", "schedule"):
        table.add_column(heading, overflow="fold")
    for heading in ("next due", "watermark", "history settled to"):
        table.add_column(heading, min_width=_DATE)
    for row in rows:
        marks = (row.next_due_at, row.standing.watermark, row.standing.history_settled_to)
        table.add_row(
            row.pipeline.id,
            "[red]faulted[/]" if row.faulted_reason else row.state,
            row.pipeline.sync_mode.type,
            schedule_words(row.pipeline.schedule),
            *(f"{mark:%Y-%m-%d %H:%M:%S}" if mark else "-" for mark in marks),
        )
    return table


def notice_table(notices: Iterable[Notice]) -> Table:
    """Give what happened to a pipeline, a line each."""
    table = Table(box=box.SIMPLE_HEAD)
    for heading in ("when", "what", "said"):
        table.add_column(heading)
    for notice in notices:
        table.add_row(f"{notice.noticed_at:%Y-%m-%d %H:%M:%S}", notice.name, escape(notice.message))
    return table


def run_table(runs: Iterable[Run]) -> Table:
    """Give a list of runs, one a line; commands take the beginning of an id that is shown here."""
    table = Table(box=box.SIMPLE_HEAD)
    table.add_column("run", no_wrap=True)
    # A number is folded where the screen is narrow, and never cut: "5,1…" could be any.
    for heading in ("pipeline", "kind", "state"):
        table.add_column(heading, overflow="fold")
    for heading in ("extracted", "accepted", "rejected", "unsent", "batches", "seconds"):
        table.add_column(heading, justify="right", overflow="fold")
    for run in runs:
        ledger = run.ledger
        counts = (ledger.extracted, ledger.accepted, ledger.rejected, ledger.unsent, run.batches)
        seconds = f"{took(run).total_seconds():.1f}"
        kind = f"{run.kind} (+{run.missed} missed)" if run.missed else run.kind.value
        state = f"{run.state}, paused" if run.paused_at and run.state in WORKING else run.state.value
        table.add_row(str(run.id)[:_SHOWN], run.pipeline_id, kind, state, *(f"{count:,}" for count in counts), seconds)
    return table
