"""What probes and the doctor found, for people: tables, and batches as indented JSON."""

import json
from collections.abc import Iterable

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from console.examining.finding import Finding
from console.shapes.answers import AnswerShape
from shared import moments


def show_columns(screen: Console, answer: AnswerShape) -> None:
    """Show the columns, what becomes of each, and what keeps the pipeline from running."""
    table = Table(box=box.SIMPLE_HEAD)
    for heading in ("column", "type", "becomes"):
        table.add_column(heading)
    for column in answer.columns:
        becomes = escape(column.becomes) if column.refused is None else f"[red]refused:[/] {escape(column.refused)}"
        table.add_row(escape(column.name), escape(column.type), becomes)
    screen.print(table)
    if answer.refused:
        screen.print(f"[red]The pipeline cannot run:[/] {escape(answer.refused)}", soft_wrap=True)
    _show_cautions(screen, answer)


def show_preview(screen: Console, answer: AnswerShape) -> None:
    """Show the batches that some rows become, and the rows that would be refused."""
    for batch in answer.batches:
        screen.print_json(json.dumps(batch))
    for reject in answer.rejects:
        screen.print(f"row {reject.row + 1} would be rejected ({reject.code}): {escape(reject.reason)}", soft_wrap=True)
    _show_cautions(screen, answer)
    screen.print(f"{len(answer.rows)} rows, {len(answer.batches)} batches; nothing was sent to mParticle")


def show_sent(screen: Console, answer: AnswerShape) -> None:
    """Show what became of rows that were sent, with their batches."""
    for batch in answer.batches:
        screen.print_json(json.dumps(batch))
    for reject in answer.rejects:
        screen.print(f"row {reject.row + 1} was rejected ({reject.code}): {escape(reject.reason)}", soft_wrap=True)
    _show_cautions(screen, answer)
    sent = answer.sent
    if sent is None:
        return
    screen.print(
        f"{sent.rows} rows: {sent.accepted_rows} accepted in {sent.accepted_batches} batches, {len(answer.rejects)} "
        f"rejected, {sent.unsent_rows} not sent; ids begin with {sent.ids}",
        soft_wrap=True,
    )
    if sent.why_unsent:
        screen.print(f"[red]Not all was sent:[/] {escape(sent.why_unsent)}", soft_wrap=True)
    screen.print(escape(sent.note), soft_wrap=True)


def show_window(screen: Console, answer: AnswerShape) -> None:
    """Show the window that the next run would read, and its rows or bytes."""
    low, high = (moments.told(bound) if bound else None for bound in (answer.low, answer.high))
    window = f"from {low or 'the beginning'} to {high or 'the end'}"
    if answer.row_count is not None:
        screen.print(f"{answer.row_count:,} rows {window}")
        if answer.null_count:
            screen.print(f"{answer.null_count:,} rows have no time: history reads them, and no run after it")
    elif answer.scanned_bytes is not None:
        screen.print(f"{answer.scanned_bytes:,} bytes would be read and billed, {window}")
    else:
        screen.print(f"this warehouse does not tell beforehand what a query costs ({window})")


def show_findings(screen: Console, findings: Iterable[Finding]) -> bool:
    """Show findings as they come, and say whether all is well."""
    all_is_well = True
    for finding in findings:
        mark = "[green]ok[/]  " if finding.is_well else "[red]BAD[/] "
        screen.print(f"{mark} {escape(finding.subject)}: {escape(finding.found)}", soft_wrap=True)
        if finding.cure is not None:
            screen.print(f"     {escape(finding.cure)}", soft_wrap=True)
            all_is_well = False
    return all_is_well


def _show_cautions(screen: Console, answer: AnswerShape) -> None:
    for caution in answer.cautions:
        screen.print(f"[yellow]Note:[/] {escape(caution)}", soft_wrap=True)
