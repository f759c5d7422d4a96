"""Commands about history: read a window once more in the background, follow, pause, resume or cancel it."""

from datetime import UTC, datetime
from typing import Annotated

import typer

from console.answers import show_window
from console.progress import backfill_table
from console.terminal import opened, screen
from shared.catalog import MOST_PARTS
from shared.errors import DeclarationInvalid
from shared.probe import ProbeKind, Question

app = typer.Typer()

BackfillText = Annotated[str, typer.Argument(metavar="BACKFILL", help="A backfill's id, or its beginning.")]


@app.command()
def backfill(
    pipeline: str,
    begin: Annotated[str | None, typer.Option("--from", metavar="INSTANT", help="Inclusive; all without.")] = None,
    until: Annotated[str | None, typer.Option("--until", metavar="INSTANT", help="Exclusive; the watermark.")] = None,
    parts: Annotated[int, typer.Option(min=1, max=MOST_PARTS, help="Each part runs the query once.")] = 1,
    *,
    newest_first: Annotated[bool, typer.Option("--newest-first", help="Read the newest part first.")] = False,
    uncounted: Annotated[bool, typer.Option("--uncounted", help="Do not count the rows first.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """Read a window of a pipeline once more, in the background, after saying how many rows it holds."""
    low, high = _instant(begin, "--from"), _instant(until, "--until")
    with opened() as operations:
        low, high = operations.history.bounds(pipeline, low, high)
        rows = None
        if not uncounted:
            answer = operations.ask(Question(kind=ProbeKind.COUNT, pipeline_id=pipeline, low=low, high=high))
            show_window(screen, answer)
            rows = answer.row_count
            cost = operations.ask(Question(kind=ProbeKind.COST, pipeline_id=pipeline, low=low, high=high))
            if cost.scanned_bytes is not None:
                screen.print(f"each part's query reads and bills up to {cost.scanned_bytes:,} bytes")
        if not yes:
            typer.confirm(f"Send them once more, in {parts} part{'s' if parts > 1 else ''}?", abort=True)
        begun = operations.history.begin(
            pipeline, low=low, high=high, parts=parts, newest_first=newest_first, expected_rows=rows
        )
    screen.print(f"backfill {begun.id} is on its way; `warehouse-sync backfills {pipeline}` shows it", soft_wrap=True)


@app.command()
def backfills(pipeline: Annotated[str | None, typer.Argument()] = None) -> None:
    """List initial syncs and backfills: parts, rows, and how long the rest takes at the present speed."""
    with opened() as operations:
        screen.print(backfill_table(operations.history.newest(pipeline)))


@app.command()
def pause_backfill(backfill: BackfillText) -> None:
    """Claim nothing more of a backfill and begin no further part; the live lane goes on."""
    with opened() as operations:
        operations.history.pause(operations.history.find(backfill))
    screen.print(
        f"backfill {backfill} is paused; `warehouse-sync resume-backfill {backfill}` lets it go on", soft_wrap=True
    )


@app.command()
def resume_backfill(backfill: BackfillText) -> None:
    """Go on with a backfill that was paused or cancelled, where it stood."""
    with opened() as operations:
        operations.history.resume(operations.history.find(backfill))
    screen.print(f"backfill {backfill} goes on")


@app.command()
def cancel_backfill(backfill: BackfillText) -> None:
    """Stop a backfill: its open part keeps its window, and the parts that wait are not begun."""
    with opened() as operations:
        operations.history.cancel(operations.history.find(backfill))
    screen.print(
        f"backfill {backfill} is cancelled; `warehouse-sync resume-backfill {backfill}` lets it go on", soft_wrap=True
    )


def _instant(text: str | None, option: str) -> datetime | None:
    if text is None:
        return None
    try:
        instant = datetime.fromisoformat(text)
    except ValueError:
        raise DeclarationInvalid(f"{option}: expected an instant such as 2026-01-31T06:00:00Z, got {text!r}") from None
    return instant.replace(tzinfo=UTC) if instant.tzinfo is None else instant.astimezone(UTC)
