"""Commands of the stand-in mParticle: a whole sync of sample data into it, and it alone."""

import os
from typing import Annotated

import typer

from console.demo import Options, run_demo
from console.terminal import AsJson
from sandbox.feed import run_feed
from shared.settings import settings

app = typer.Typer()


@app.command()
def demo(
    users: Annotated[int, typer.Option(min=100, help="How many users the sample warehouse holds.")] = 100_000,
    quota: Annotated[
        float | None, typer.Option(min=1, help="Batches per second, kept and enforced; mParticle's default is 270.")
    ] = None,
    *,
    keep: Annotated[bool, typer.Option("--keep", help="Leave everything running until Ctrl-C.")] = False,
    as_json: AsJson = False,
) -> None:
    """Sync sample data into a stand-in mParticle, on this machine, and check every count."""
    options = Options(users=users, quota=quota, keep=keep, as_json=as_json)
    if not run_demo(settings().home, dict(os.environ), options):
        raise typer.Exit(1)


@app.command()
def sandbox(
    port: Annotated[int, typer.Option(help="Port on 127.0.0.1; 0 takes a free one.")] = 0,
) -> None:
    """Run the stand-in mParticle alone."""
    run_feed(["--port", str(port)])
