"""``warehouse-sync up``: a whole deployment on this machine."""

import os
from typing import Annotated

import typer

from console.machine import run_machine, run_services
from console.terminal import screen
from shared.settings import settings

app = typer.Typer()


@app.command()
def up(
    *,
    services_only: Annotated[
        bool, typer.Option("--services-only", help="Only PostgreSQL and Valkey, e.g. to restore a backup.")
    ] = False,
) -> None:
    """Run everything on this machine: embedded servers, all workers, beat, the API and Flower, until Ctrl-C."""
    start = run_services if services_only else run_machine
    start(settings(), dict(os.environ), screen)
