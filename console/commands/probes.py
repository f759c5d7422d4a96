"""Commands that ask a warehouse, through a worker; nothing is sent to mParticle."""

from typing import Annotated

import typer
from rich.markup import escape

from console.answers import show_columns, show_preview, show_window
from console.terminal import AsJson, asked, screen
from shared.probe import ProbeKind, Question

app = typer.Typer()


@app.command("test")
def sign_in(connection: str, *, as_json: AsJson = False) -> None:
    """Sign in to a connection, from a worker, and say as whom."""
    answer = asked(Question(kind=ProbeKind.TEST, connection_id=connection), as_json=as_json)
    if answer is not None:
        for name, value in answer.session.items():
            screen.print(f"{name}: {escape(value)}")
        screen.print(f"its clock: {answer.warehouse_now:%Y-%m-%d %H:%M:%S} UTC")


@app.command()
def columns(pipeline: str, *, as_json: AsJson = False) -> None:
    """List a pipeline's columns, their types and what becomes of each; runs no query."""
    answer = asked(Question(kind=ProbeKind.COLUMNS, pipeline_id=pipeline), as_json=as_json)
    if answer is not None:
        show_columns(screen, answer)
        if answer.refused:
            raise typer.Exit(1)


@app.command()
def preview(
    pipeline: str,
    *,
    rows: Annotated[int, typer.Option(min=1, max=100, help="How many rows to read.")] = 5,
    as_json: AsJson = False,
) -> None:
    """Show the batches that some rows of a pipeline become; nothing is sent."""
    answer = asked(Question(kind=ProbeKind.PREVIEW, pipeline_id=pipeline, rows=rows), as_json=as_json)
    if answer is not None:
        show_preview(screen, answer)


@app.command()
def count(pipeline: str, *, as_json: AsJson = False) -> None:
    """Count the rows that a pipeline's next run would read; the warehouse runs a query for it."""
    answer = asked(Question(kind=ProbeKind.COUNT, pipeline_id=pipeline), as_json=as_json)
    if answer is not None:
        show_window(screen, answer)


@app.command()
def cost(pipeline: str, *, as_json: AsJson = False) -> None:
    """Say how many bytes the next run's query would read, where the warehouse tells; runs no query."""
    answer = asked(Question(kind=ProbeKind.COST, pipeline_id=pipeline), as_json=as_json)
    if answer is not None:
        show_window(screen, answer)
