"""A run on the terminal: a live bar while it works, a ledger when it ended."""

import time
from collections import deque
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
from shared.ledger import Ledger
from shared.run import WORKING

_SHOWN: Final = 8
"""Characters of a run's id; enough to tell runs apart."""
_LOOK_EVERY_S: Final = 0.25
_LOOKS: Final = 40
"""As many as are made in ten seconds, in which an attempt says several times how far it is."""


def follow(client: Client, run_id: UUID, title: str, screen: Console) -> RunShape:
    """Show a run's progress until nothing works on it any more, and give it as it ended."""
    screen.print(title)
    columns = (
        SpinnerColumn(),
        BarColumn(bar_width=20),
        TextColumn("{task.description}"),
        TimeRemainingColumn(compact=True),
    )
    speed = _Speed()
    with Progress(*columns, console=screen) as progress:
        bar = progress.add_task("reads the warehouse", total=None)
        why = None
        while True:
            run = client.get(f"/runs/{run_id}", RunShape)
            if run.state in WORKING and run.waits_for not in {None, why}:
                progress.console.print(f"waits: {escape(str(run.waits_for))}", soft_wrap=True)
                why = run.waits_for
            ledger = run.ledger
            per_s = speed.at(time.monotonic(), ledger.ended) if run.state in WORKING else run.rows_per_s
            is_read = run.slices_total > 0 and run.slices_published == run.slices_total
            progress.update(
                bar,
                total=ledger.extracted if is_read else None,
                completed=ledger.ended,
                description=f"{ledger.ended:,} of {ledger.extracted:,} rows, {_number(per_s)} rows/s, "
                f"{ledger.accepted:,} accepted, {ledger.rejected:,} rejected",
            )
            if run.state not in WORKING:
                return run
            time.sleep(_LOOK_EVERY_S)


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
    table.add_row("seconds at work", *(_number(run.worked_s, places=1) for run in runs))
    table.add_row("rows/s", *(_number(run.rows_per_s) for run in runs))
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


def run_table(runs: Sequence[RunShape], *, wide: bool = False) -> Table:
    """Give a list of runs, one a line; commands take a number, or the beginning of an id, that is shown here.

    Unchanged and superseded rows are shown where there are any: what was extracted is the sum of what is shown.
    """
    wide = wide or any(run.ledger.unchanged or run.ledger.superseded for run in runs)
    table = Table(box=box.SIMPLE_HEAD)
    table.add_column("run", justify="right", no_wrap=True)
    # A number is folded where the screen is narrow, and never cut: "5,1…" could be any.
    for heading in ("pipeline", "kind", "state"):
        table.add_column(heading, overflow="fold")
    further = ("unchanged", "superseded") if wide else ()
    counted = ("extracted", "accepted", "rejected", *further, "unsent")
    for heading in (*counted, "batches", "seconds at work"):
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
            _number(run.worked_s, places=1),
            str(run.id)[:_SHOWN],
        )
    return table


class _Speed:
    """Rows a second of late: neither a wait that is over nor what had ended before somebody looked counts."""

    def __init__(self) -> None:
        self._looks: deque[tuple[float, int]] = deque(maxlen=_LOOKS)

    def at(self, now_s: float, rows: int) -> float | None:
        """Take how many rows have ended by now, and give the speed since the oldest look that is remembered."""
        self._looks.append((now_s, rows))
        since_s, before = self._looks[0]
        return (rows - before) / (now_s - since_s) if now_s > since_s else None


def _number(value: float | None, *, places: int = 0) -> str:
    """Give a number as people read it; what is not known is no 0."""
    return "-" if value is None else f"{value:,.{places}f}"
