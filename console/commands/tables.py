"""Commands that print what this version knows, for its documentation."""

import typer

from console.destinations import destinations_table
from console.limits import limits_table

app = typer.Typer()


@app.command()
def destinations() -> None:
    """Print every field that a field transformation may map to, as a Markdown table."""
    typer.echo(destinations_table(), nl=False)


@app.command()
def limits() -> None:
    """Print every limit with its unit, default and reason, as Markdown."""
    typer.echo(limits_table(), nl=False)
