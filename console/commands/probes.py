"""Commands that ask a warehouse or a feed, through a worker; ``preview --send`` alone sends anything."""

from typing import Annotated

import typer
from rich.markup import escape

from console.answers import show_columns, show_preview, show_sent, show_window
from console.commands.asking import asked, path_of
from console.shapes.answers import AnswerShape
from console.terminal import AsJson, api, screen
from shared import moments
from shared.probe import MOST_SENT_ROWS

app = typer.Typer()


@app.command("test")
def sign_in(
    connection: Annotated[str | None, typer.Argument(help="A connection's id.")] = None,
    feed: Annotated[str | None, typer.Option("--feed", help="A feed's id, in place of a connection's.")] = None,
    *,
    as_json: AsJson = False,
) -> None:
    """Sign in to a connection, from a worker, and say as whom; or find out whether a feed signs in."""
    if (connection is None) == (feed is None):
        raise typer.BadParameter("name a connection, or a feed by --feed")
    noun, named = ("connection", connection) if connection is not None else ("feed", feed)
    with api() as client:
        answer, told = asked(client, path_of(noun, named or "", "test"), AnswerShape)
    if as_json:
        typer.echo(told)
        return
    for name, value in answer.session.items():
        screen.print(f"{name}: {escape(value)}")
    if answer.warehouse_now is not None:
        screen.print(f"its clock: {moments.told(answer.warehouse_now)}")
    if answer.feed is not None:
        screen.print(f"{escape(answer.feed.host)}: {escape(answer.feed.found)}", soft_wrap=True)
        screen.print(f"not known: {escape(answer.feed.unknown)}", soft_wrap=True)


@app.command()
def columns(pipeline: str, *, as_json: AsJson = False) -> None:
    """List a pipeline's columns, their types and what becomes of each; runs no query."""
    with api() as client:
        answer, told = asked(client, path_of("pipeline", pipeline, "columns"), AnswerShape)
    if as_json:
        typer.echo(told)
    else:
        show_columns(screen, answer)
    if answer.refused:
        raise typer.Exit(1)


@app.command()
def preview(
    pipeline: str,
    *,
    rows: Annotated[int, typer.Option(min=1, max=100, help="How many rows to read.")] = 5,
    send: Annotated[
        int | None,
        typer.Option(min=1, max=MOST_SENT_ROWS, help="Send so many, in the environment development, and show them."),
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask before something is sent.")] = False,
    as_json: AsJson = False,
) -> None:
    """Show the batches that some rows of a pipeline become; nothing is sent unless --send says so."""
    if send is not None and not yes:
        typer.confirm(
            f"Send {send} rows of pipeline {pipeline} to its feed, in the environment development? What is sent stays "
            "there.",
            abort=True,
            err=as_json,
        )
    ask, wanted = ("preview", rows) if send is None else ("send", send)
    with api() as client:
        answer, told = asked(client, path_of("pipeline", pipeline, ask), AnswerShape, {"rows": wanted})
    if as_json:
        typer.echo(told)
    elif send is None:
        show_preview(screen, answer)
    else:
        show_sent(screen, answer)
    if answer.sent is not None and answer.sent.unsent_rows:
        raise typer.Exit(1)


@app.command()
def count(pipeline: str, *, as_json: AsJson = False) -> None:
    """Count the rows that a pipeline's next run would read; the warehouse runs a query for it."""
    _show_window(pipeline, "count", as_json=as_json)


@app.command()
def cost(pipeline: str, *, as_json: AsJson = False) -> None:
    """Say how many bytes the next run's query would read, where the warehouse tells; runs no query."""
    _show_window(pipeline, "cost", as_json=as_json)


def _show_window(pipeline: str, ask: str, *, as_json: bool) -> None:
    with api() as client:
        answer, told = asked(client, path_of("pipeline", pipeline, ask), AnswerShape)
    if as_json:
        typer.echo(told)
    else:
        show_window(screen, answer)
