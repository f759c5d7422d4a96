"""A review on the terminal, a section a part: what is read, what it becomes, when, and what it costs."""

import json
from collections.abc import Iterable
from datetime import timedelta
from math import ceil
from typing import Final

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from console.shapes.reviews import ReadingShape, ReviewShape
from shared import moments

_READS: Final = {
    "first_sync": "the first sync: all of history",
    "history": "what is left of history",
    "next_run": "the next run",
    "later_run": "each run after that",
}


def show_review(screen: Console, review: ReviewShape) -> None:
    """Show all of a review."""
    _show_what_it_is(screen, review)
    _show_columns(screen, review)
    _show_sample(screen, review)
    _show_when(screen, review)
    _show_readings(screen, review.readings)
    _show_lines(screen, "Warnings", review.warnings)
    _show_lines(screen, "Notes", review.cautions)
    _show_lines(screen, "Not found out", (f"{part}: {why}" for part, why in review.unknown.items()))
    _show_lines(screen, "Not understood", (one.message for one in review.not_understood))
    if review.refused:
        screen.print(f"[red]The pipeline cannot run:[/] {escape(review.refused)}", soft_wrap=True)
    else:
        screen.print("nothing was sent to mParticle", soft_wrap=True)


def _show_what_it_is(screen: Console, review: ReviewShape) -> None:
    stands = review.state if review.is_saved else "not saved"
    _head(screen, f"Pipeline {review.pipeline_id} ({review.name})")
    screen.print(
        f"{stands}; sends {review.kind} in sync mode {review.mode} to the environment {review.environment or '-'}",
        soft_wrap=True,
    )
    feed = review.feed
    screen.print(
        f"feed {feed.id} ({escape(feed.name)}) at {escape(feed.host)}: {feed.batches_per_s:,.10g} batches a second, of "
        f"quota group {escape(feed.quota_group)}",
        soft_wrap=True,
    )
    screen.print(f"input protection {feed.protection}: {escape(feed.protection_means)}", soft_wrap=True)


def _show_columns(screen: Console, review: ReviewShape) -> None:
    if not review.columns:
        return
    _head(screen, "Columns")
    table = _table("column", "type", "becomes", "to be known")
    for column in review.columns:
        becomes = escape(column.becomes) if column.refused is None else f"[red]refused:[/] {escape(column.refused)}"
        table.add_row(escape(column.name), escape(column.type), becomes, escape(column.note or ""))
    screen.print(table)


def _show_sample(screen: Console, review: ReviewShape) -> None:
    if review.sample_rows is None:
        return
    _head(screen, f"Batches of {review.sample_rows} rows")
    for batch in review.batches:
        screen.print_json(json.dumps(batch))
    for reject in review.rejects:
        screen.print(f"row {reject.row + 1} would be rejected ({reject.code}): {escape(reject.reason)}", soft_wrap=True)
    _head(screen, "Profiles")
    for profile in review.profiles:
        who = ", ".join(f"{name} {value}" for name, value in profile.identities.items())
        screen.print(
            f"{escape(who) or 'nobody'}, of {profile.batches} batch{'' if profile.batches == 1 else 'es'}",
            soft_wrap=True,
        )
        screen.print_json(json.dumps(profile.user_attributes))
    screen.print(escape(review.profiles_note), soft_wrap=True)


def _show_when(screen: Console, review: ReviewShape) -> None:
    _head(screen, "When")
    screen.print(f"schedule: {escape(review.schedule)}", soft_wrap=True)
    for number, due in enumerate(review.due):
        screen.print(f"{'first due' if number == 0 else 'then'} {moments.told(due)}", soft_wrap=True)
    if not review.due:
        screen.print("no run is due by itself", soft_wrap=True)


def _show_readings(screen: Console, readings: Iterable[ReadingShape]) -> None:
    _head(screen, "What runs read and send")
    table = _table("run", "from", "until")
    for heading in ("rows", "without a time", "bytes", "batches", "takes"):
        table.add_column(heading, justify="right")
    notes: list[str] = []
    for one in readings:
        named = _READS.get(one.reads, one.reads)
        table.add_row(
            named,
            moments.told(one.low) if one.low else "the beginning",
            moments.told(one.high) if one.high else "the end",
            *(_count(number) for number in (one.rows, one.null_rows, one.scanned_bytes, one.batches)),
            "-" if one.takes_s is None else str(timedelta(seconds=ceil(one.takes_s))),
        )
        notes += [f"{named}: {note}" for note in (*([one.estimated] if one.estimated else []), *one.unknown)]
    screen.print(table)
    for note in notes:
        screen.print(escape(note), soft_wrap=True)


def _show_lines(screen: Console, heading: str, lines: Iterable[str]) -> None:
    told = list(lines)
    if told:
        _head(screen, heading)
    for line in told:
        screen.print(f"[yellow]-[/] {escape(line)}", soft_wrap=True)


def _head(screen: Console, heading: str) -> None:
    screen.print(f"\n[bold]{escape(heading)}[/]", soft_wrap=True)


def _table(*headings: str) -> Table:
    table = Table(box=box.SIMPLE_HEAD)
    for heading in headings:
        table.add_column(heading, overflow="fold")
    return table


def _count(number: int | None) -> str:
    return "-" if number is None else f"{number:,}"
