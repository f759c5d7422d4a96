"""Commands about history: read a window once more in the background, follow, pause, resume or cancel it."""

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Annotated, Final

import typer
from rich import box
from rich.table import Table

from console.answers import show_window
from console.commands.asking import asked, path_of
from console.shapes.answers import AnswerShape
from console.shapes.history import BackfillDetail, BackfillShape, WindowShape
from console.terminal import AsJson, api, echo_json, screen
from shared import moments
from shared.catalog import MOST_PARTS
from shared.errors import DeclarationInvalid

app = typer.Typer()

BackfillText = Annotated[str, typer.Argument(metavar="BACKFILL", help="A backfill's id, or its beginning.")]

_SHOWN: Final = 8
"""Characters of an id; enough to tell backfills apart."""
_DATE: Final = 10
"""Characters of a date: on a narrow screen the time of day goes below it, and neither is cut."""


@app.command()
def backfill(  # noqa: PLR0913 - as many as there are options
    pipeline: str,
    begin: Annotated[str | None, typer.Option("--from", metavar="INSTANT", help="Inclusive; all without.")] = None,
    until: Annotated[str | None, typer.Option("--until", metavar="INSTANT", help="Exclusive; the watermark.")] = None,
    parts: Annotated[int, typer.Option(min=1, max=MOST_PARTS, help="Each part runs the query once.")] = 1,
    *,
    newest_first: Annotated[bool, typer.Option("--newest-first", help="Read the newest part first.")] = False,
    uncounted: Annotated[bool, typer.Option("--uncounted", help="Do not count the rows first.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    as_json: AsJson = False,
) -> None:
    """Read a window of a pipeline once more, in the background, after saying how many rows it holds."""
    low, high = _checked(begin, "--from"), _checked(until, "--until")
    with api() as client:
        path = path_of("pipeline", pipeline)
        window = client.get(f"{path}/backfills/window", WindowShape, **{"from": low, "until": high})
        bounds = window.model_dump(mode="json")
        rows = None
        if not uncounted:
            answer, _ = asked(client, f"{path}/count", AnswerShape, bounds)
            cost, _ = asked(client, f"{path}/cost", AnswerShape, bounds)
            rows = answer.row_count
            if not as_json:
                show_window(screen, answer)
                if cost.scanned_bytes is not None:
                    screen.print(f"each part's query reads and bills up to {cost.scanned_bytes:,} bytes")
        if not yes:
            typer.confirm(f"Send them once more, in {parts} part{'s' if parts > 1 else ''}?", abort=True, err=as_json)
        wanted = {**bounds, "parts": parts, "newest_first": newest_first, "expected_rows": rows}
        told = client.text("POST", f"{path}/backfills", body=wanted)
    if as_json:
        typer.echo(told)
        return
    begun = BackfillShape.model_validate_json(told)
    screen.print(f"backfill {begun.id} is on its way; `warehouse-sync backfills {pipeline}` shows it", soft_wrap=True)


@app.command()
def backfills(
    pipeline: Annotated[str | None, typer.Argument()] = None,
    limit: Annotated[int, typer.Option(min=1, help="How many at most, the newest.")] = 20,
    *,
    as_json: AsJson = False,
) -> None:
    """List initial syncs and backfills: parts, rows, and how long the rest takes at the present speed."""
    with api() as client:
        found = client.newest("/backfills", BackfillShape, limit, pipelineId=pipeline)
    if as_json:
        echo_json(found)
    else:
        screen.print(_table(found))


@app.command()
def pause_backfill(backfill: BackfillText, *, as_json: AsJson = False) -> None:
    """Claim nothing more of a backfill and begin no further part; the live lane goes on."""
    _move(backfill, "pause", f"is paused; `warehouse-sync resume-backfill {backfill}` lets it go on", as_json=as_json)


@app.command()
def resume_backfill(backfill: BackfillText, *, as_json: AsJson = False) -> None:
    """Go on with a backfill that was paused or cancelled, where it stood."""
    _move(backfill, "resume", "goes on", as_json=as_json)


@app.command()
def cancel_backfill(backfill: BackfillText, *, as_json: AsJson = False) -> None:
    """Stop a backfill: its open part keeps its window, and the parts that wait are not begun."""
    _move(
        backfill, "cancel", f"is cancelled; `warehouse-sync resume-backfill {backfill}` lets it go on", as_json=as_json
    )


def _move(backfill: str, move: str, told: str, *, as_json: bool) -> None:
    with api() as client:
        moved = client.post(path_of("backfill", backfill, move), BackfillDetail)
    if as_json:
        echo_json(moved)
    else:
        screen.print(f"backfill {backfill} {told}", soft_wrap=True)


def _checked(text: str | None, option: str) -> str | None:
    if text is not None:
        try:
            datetime.fromisoformat(text)
        except ValueError:
            raise DeclarationInvalid(
                f"{option}: expected an instant such as 2026-01-31T06:00:00Z, got {text!r}"
            ) from None
    return text


def _table(found: Iterable[BackfillShape]) -> Table:
    """Give a list of backfills and initial syncs and how far each is."""
    table = Table(box=box.SIMPLE_HEAD)
    table.add_column("backfill", no_wrap=True)
    for heading in ("pipeline", "kind", "state"):
        table.add_column(heading, overflow="fold")
    for heading in ("from", "until"):
        table.add_column(heading, min_width=_DATE)
    for heading in ("parts", "rows", "rejected", "expected", "left"):
        table.add_column(heading, justify="right")
    for one in found:
        table.add_row(
            str(one.id)[:_SHOWN],
            one.pipeline_id,
            one.kind,
            one.state,
            moments.told(one.low) if one.low else "the beginning",
            moments.told(one.high) if one.high else "-",
            f"{one.settled_parts} of {one.parts}",
            f"{one.ended_rows:,}",
            f"{one.rejected_rows:,}",
            "-" if one.expected_rows is None else f"{one.expected_rows:,}",
            "-" if one.seconds_left is None else str(timedelta(seconds=one.seconds_left)),
        )
    return table
