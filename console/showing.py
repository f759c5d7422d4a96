"""Pipelines, and what happened to a run, for people: tables, and a page of one pipeline."""

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from itertools import groupby
from typing import Final

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from console.progress import run_table, show_found, show_why
from console.shapes.extensions import ChunkShape, NoticeShape, RunEventShape
from console.shapes.reconstructed import HistoryShape, PipelineShape, PipelineStatus, RunShape
from console.unread import told
from shared import moments
from shared.run import RunKind

_DATE: Final = 10
"""Characters of a date: on a narrow screen the time of day goes below it, and neither is cut."""


def show_pipelines(screen: Console, found: Iterable[PipelineShape]) -> None:
    """Show a list of pipelines, those of each provider's warehouses together, and what holds any of them up."""

    def provider(one: PipelineShape) -> str:
        return one.service_provider

    listed = sorted(found, key=provider)
    for name, theirs in groupby(listed, key=provider):
        screen.print(f"[bold]{escape(name)}[/]")
        screen.print(_pipeline_table(theirs))
    for one in listed:
        _show_trouble(screen, one)


def show_pipeline(screen: Console, one: PipelineShape) -> None:
    """Show one pipeline as a page: what it is, where it stands, what holds it, and its newest runs."""
    facts = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    facts.add_column(style="bold", no_wrap=True)
    facts.add_column(overflow="fold")
    source = f"{one.data_model_id} on {one.connection_id} ({one.service_provider})"
    for name, value in (
        ("pipeline", f"{one.id} ({one.name})"),
        ("state", f"{one.state}, {one.status}"),
        ("reads", f"{source}, {one.sync_mode['type']}"),
        ("sends to", f"{one.feed_id}, {one.environment or 'without an environment'}"),
        ("frequency", one.schedule_in_words),
        ("next due", _when(one.next_due_on)),
        ("watermark", _watermark(one)),
        ("history", _history(one.history)),
    ):
        facts.add_row(name, escape(value))
    screen.print(facts)
    _show_trouble(screen, one)
    if one.recent_runs:
        screen.print(run_table(one.recent_runs))
    if one.recent_runs and (not_read := told(one.recent_runs[0], one)):
        screen.print(not_read, soft_wrap=True)
    shown = {run.id for run in one.recent_runs}
    if further := [run for run in (*one.running_runs, *one.held_by) if run.id not in shown]:
        screen.print("Older, and still open:")
        screen.print(run_table(further))
    for run in one.running_runs:
        show_why(screen, run)


def show_run(screen: Console, run: RunShape, events: Sequence[RunEventShape], chunks: Sequence[ChunkShape]) -> None:
    """Show one run: its ledger, its window, what happened to it, and its chunks."""
    screen.print(f"run {run.number} of {escape(run.pipeline_id)}, {run.id}", soft_wrap=True)
    screen.print(run_table([run], wide=True))
    low = "the beginning" if run.range_start is None else moments.told_exactly(run.range_start)
    high = "the end" if run.range_end is None else moments.told_exactly(run.range_end)
    screen.print(f"window: from {low} to {high}", soft_wrap=True)
    show_found(screen, run)
    show_why(screen, run)
    happened = Table(box=box.SIMPLE_HEAD)
    for heading in ("when", "what", "by", "why"):
        happened.add_column(heading)
    for event in events:
        why = "; ".join(f"{error.code}: {error.message}" for error in event.errors)
        happened.add_row(_when(event.happened_on), event.name, escape(event.actor or "-"), escape(why))
    screen.print(happened)
    if chunks:
        screen.print(_chunk_table(chunks))


def notice_table(notices: Iterable[NoticeShape]) -> Table:
    """Give what happened to a pipeline, a line each."""
    table = Table(box=box.SIMPLE_HEAD)
    for heading in ("when", "what", "said"):
        table.add_column(heading)
    for notice in notices:
        table.add_row(moments.told(notice.noticed_on), notice.name, escape(notice.message))
    return table


def _pipeline_table(found: Iterable[PipelineShape]) -> Table:
    table = Table(box=box.SIMPLE_HEAD)
    for heading in ("pipeline", "state", "mode", "schedule"):
        table.add_column(heading, overflow="fold")
    for heading in ("next due", "watermark", "history settled to"):
        table.add_column(heading, min_width=_DATE)
    for one in found:
        marks = (one.next_due_on, one.watermark, None if one.history is None else one.history.settled_to)
        table.add_row(
            one.id,
            _state(one),
            one.sync_mode["type"],
            escape(one.schedule_in_words),
            *(_when(mark) for mark in marks),
        )
    return table


def _state(one: PipelineShape) -> str:
    if one.faulted_reason:
        return "[red]faulted[/]"
    if any(run.held_on is not None for run in one.held_by):
        return f"{one.state}, [red]held[/]"
    return f"{one.state}, running" if one.running_runs else one.state


def _show_trouble(screen: Console, one: PipelineShape) -> None:
    if one.status is PipelineStatus.FAULTED:
        screen.print(f"{one.id} is [red]faulted[/]: {escape(one.faulted_reason or '')}", soft_wrap=True)
    for run in one.held_by:
        if run.held_on is not None:
            screen.print(f"{one.id} waits for a decision:", end=" ")
            show_why(screen, run)
            continue
        is_replay = run.kind is RunKind.REPLAY
        holds, frees = ("has a", "rows") if is_replay else ("is held by", "window")
        screen.print(
            f"{one.id} {holds} {run.state} {'replay' if is_replay else 'run'} {run.number}: `warehouse-sync retry "
            f"{run.number}` continues it, `warehouse-sync abandon {run.number}` frees its {frees}",
            soft_wrap=True,
        )


def _chunk_table(chunks: Iterable[ChunkShape]) -> Table:
    table = Table(box=box.SIMPLE_HEAD)
    for heading in ("chunk", "state"):
        table.add_column(heading)
    for heading in ("rows", "done", "accepted", "rejected", "attempts", "seconds queued", "at work"):
        table.add_column(heading, justify="right", overflow="fold")
    table.add_column("last said", overflow="fold")
    for chunk in chunks:
        counts = (chunk.rows, chunk.position, chunk.accepted, chunk.rejected, chunk.attempts)
        spans = ("-" if span is None else f"{span:,.1f}" for span in (chunk.queued_s, chunk.worked_s))
        numbers = (*(f"{count:,}" for count in counts), *spans)
        table.add_row(f"{chunk.slice_no}.{chunk.no}", chunk.state, *numbers, escape(chunk.error or ""))
    return table


def _watermark(one: PipelineShape) -> str:
    if one.watermark is None or one.lag_s is None:
        return "-"
    return f"{_when(one.watermark)}, {timedelta(seconds=round(one.lag_s))} behind now"


def _history(history: HistoryShape | None) -> str:
    if history is None:
        return "-"
    if history.is_settled:
        return f"loaded up to {_when(history.ends_at)}, {history.ended_rows:,} rows"
    of_expected = "" if history.expected_rows is None else f" of {history.expected_rows:,}"
    return f"{history.settled_parts} of {history.parts} parts, {history.ended_rows:,}{of_expected} rows"


def _when(instant: datetime | None) -> str:
    return "-" if instant is None else moments.told(instant)
