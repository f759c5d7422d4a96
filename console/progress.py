"""A run on the terminal: a live bar while it works, a ledger when it ended."""

import time
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import fields
from typing import Final
from uuid import UUID

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeRemainingColumn
from rich.table import Table

from console import unread
from console.client import Client
from console.shapes.reconstructed import PipelineShape, RunShape
from shared.errors import NotFound
from shared.findings import told
from shared.run import WORKING, Ledger

_SHOWN: Final = 8
"""Characters of a run's id; enough to tell runs apart."""
_LOOK_EVERY_S: Final = 0.25


def follow(client: Client, run_id: UUID, title: str, screen: Console) -> RunShape:
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
        why = None
        while True:
            run = client.get(f"/runs/{run_id}", RunShape)
            if run.state in WORKING and run.waits_for not in {None, why}:
                progress.console.print(f"waits: {escape(str(run.waits_for))}", soft_wrap=True)
                why = run.waits_for
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
            if run.state not in WORKING:
                return run
            time.sleep(_LOOK_EVERY_S)


def took_s(run: RunShape) -> float:
    """How long a run has worked, in seconds: from when planning began to when it ended; 0 until it has."""
    return run.took_s or 0.0


def rows_per_s(run: RunShape) -> float:
    """Rows that ended, by second of the run's own time; 0 while that is unknown."""
    return run.ledger.ended / run.took_s if run.took_s else 0.0


def ledger_table(runs: Sequence[RunShape]) -> Table:
    """Give the ledgers of a few runs side by side."""
    table = Table(title="Ledger", box=box.SIMPLE_HEAD)
    table.add_column("rows")
    for run in runs:
        table.add_column(f"{run.kind} run", justify="right")
    for name in (field.name for field in fields(Ledger)):
        table.add_row(name, *(f"{getattr(run.ledger, name):,}" for run in runs))
    table.add_row("balances", *("yes" if run.ledger.balances else "[red]no[/]" for run in runs))
    table.add_row("batches", *(f"{run.batches:,}" for run in runs))
    table.add_row("seconds", *(f"{took_s(run):.1f}" for run in runs))
    table.add_row("rows/s", *(f"{rows_per_s(run):,.0f}" for run in runs))
    return table


def show_found(screen: Console, run: RunShape) -> None:
    """Print what was found out about a run's rows beside where they ended, if anything was."""
    if run.findings:
        screen.print(f"run {run.number} found, in rows: {escape(told(run.findings))}", soft_wrap=True)


def show_unread(screen: Console, client: Client, runs: Iterable[RunShape]) -> None:
    """Print of each run that found nothing new up to where it read and why; of deleted pipelines none reads on."""
    for run in filter(unread.found_nothing_new, runs):
        with suppress(NotFound):
            pipeline = client.get(f"/pipelines/{run.pipeline_id}", PipelineShape)
            screen.print(unread.told(run, pipeline), soft_wrap=True)


def show_why(screen: Console, run: RunShape) -> None:
    """Print what keeps a run waiting, or what it stopped for."""
    if run.held_on is not None:
        screen.print(
            f"run {run.number} [red]is held[/] ({run.held_for}): {escape(run.held_reason or '')}. Decide: "
            f"`warehouse-sync approve {run.number}` or `warehouse-sync abandon {run.number}`",
            soft_wrap=True,
        )
    if run.waits_for:
        screen.print(f"run {run.number} waits: {escape(run.waits_for)}", soft_wrap=True)
    for error in run.errors:
        screen.print(f"run {run.number} [red]{error.code}[/]: {escape(error.message)}", soft_wrap=True)


def run_table(runs: Iterable[RunShape], *, wide: bool = False) -> Table:
    """Give a list of runs, one a line; commands take a number, or the beginning of an id, that is shown here."""
    table = Table(box=box.SIMPLE_HEAD)
    table.add_column("run", justify="right", no_wrap=True)
    # A number is folded where the screen is narrow, and never cut: "5,1…" could be any.
    for heading in ("pipeline", "kind", "state"):
        table.add_column(heading, overflow="fold")
    further = ("unchanged", "superseded") if wide else ()
    counted = ("extracted", "accepted", "rejected", *further, "unsent")
    for heading in (*counted, "batches", "seconds"):
        table.add_column(heading, justify="right", overflow="fold")
    table.add_column("id", no_wrap=True)
    for run in runs:
        counts = (*(getattr(run.ledger, name) for name in counted), run.batches)
        kind = f"{run.kind} (+{run.missed} missed)" if run.missed else run.kind.value
        state = f"{run.state}, paused" if run.paused_on and run.state in WORKING else run.state.value
        state = "held" if run.held_on is not None else state
        table.add_row(
            str(run.number),
            run.pipeline_id,
            kind,
            state,
            *(f"{count:,}" for count in counts),
            f"{took_s(run):.1f}",
            str(run.id)[:_SHOWN],
        )
    return table
