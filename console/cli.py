"""The ``warehouse-sync`` command.

====  ================================================================================================
0     done
1     it was refused, it failed, or not all is well: the message says why
2     the command line is wrong
3     something that it takes does not answer now: the store, the broker, a worker, the server, a warehouse
4     nobody is signed in, or their role is too low
130   interrupted
====  ================================================================================================
"""

import os
import signal
import sys
from typing import Annotated, Final

import typer
from rich.console import Console
from rich.markup import escape

from console.commands import (
    access,
    alerts,
    backfills,
    declarations,
    declared,
    doctor,
    flower,
    pipelines,
    probes,
    recover,
    rejects,
    reviews,
    runs,
    sealed_secrets,
    serving,
)
from console.demo import Options, run_demo
from console.destinations import destinations_table
from console.limits import limits_table
from console.machine import run_machine, run_services
from console.terminal import AsJson, Place, opened, screen, talk_to
from sandbox.feed import run_feed
from shared.endpoints import database_url
from shared.errors import RoleTooLow, SignInRefused, SyncError, Transient
from shared.settings import settings
from shared.store.database import Database

app = typer.Typer(no_args_is_help=True, pretty_exceptions_enable=False, help="Self-hosted reverse ETL for mParticle.")
spool = typer.Typer(no_args_is_help=True, help="Where chunks wait between warehouse and mParticle.")
app.add_typer(spool, name="spool")
for commands in (
    declarations.app,
    pipelines.app,
    runs.app,
    probes.app,
    backfills.app,
    rejects.app,
    reviews.app,
    alerts.app,
    doctor.app,
    recover.app,
    declared.app,
    access.app,
    sealed_secrets.app,
    serving.app,
    flower.app,
):
    app.add_typer(commands)

_NOT_NOW: Final = 3
_NOT_YOU: Final = 4


@app.callback()
def choose_api(
    url: Annotated[
        str | None,
        typer.Option("--url", envvar="WAREHOUSE_SYNC_API_URL", help="An API server's address; this machine without."),
    ] = None,
    token: Annotated[
        str | None, typer.Option("--token", envvar="WAREHOUSE_SYNC_API_TOKEN", help="What it knows you by.")
    ] = None,
    workspace: Annotated[
        str | None, typer.Option("--workspace", envvar="WAREHOUSE_SYNC_WORKSPACE_ID", help="mParticle's workspace id.")
    ] = None,
) -> None:
    """Take the options that say which API the commands talk to."""
    talk_to(Place(url, token, workspace))


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
def up(
    *,
    services_only: Annotated[
        bool, typer.Option("--services-only", help="Only PostgreSQL and Valkey, e.g. to restore a backup.")
    ] = False,
) -> None:
    """Run everything on this machine: embedded servers, all workers, beat, the API and Flower, until Ctrl-C."""
    start = run_services if services_only else run_machine
    start(settings(), dict(os.environ), screen)


@app.command()
def migrate() -> None:
    """Bring the state database up to this version, as the owner of its tables; nothing else is needed."""
    database = Database(database_url(settings()), pool_size=1)
    try:
        database.migrate()
    finally:
        database.close()
    screen.print("the state database is up to date")


@app.command()
def sandbox(
    port: Annotated[int, typer.Option(help="Port on 127.0.0.1; 0 takes a free one.")] = 0,
) -> None:
    """Run the stand-in mParticle alone."""
    run_feed(["--port", str(port)])


@app.command()
def destinations() -> None:
    """Print every field that a field transformation may map to, as a Markdown table."""
    typer.echo(destinations_table(), nl=False)


@app.command()
def limits() -> None:
    """Print every limit with its unit, default and reason, as Markdown."""
    typer.echo(limits_table(), nl=False)


@spool.command()
def adopt() -> None:
    """Record the configured spool as the one all workers must see, after it was moved on purpose."""
    with opened() as operations:
        operations.adopt_spool()
    screen.print("the spool is adopted; restart the workers")


def main() -> None:
    """Run the command; a named failure becomes its sentence, and SIGTERM ends it as in order as Ctrl-C."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    try:
        app()
    except SyncError as error:
        Console(stderr=True).print(f"[red]{type(error).__name__}:[/] {escape(str(error))}", soft_wrap=True)
        sys.exit(exit_code(error))


def exit_code(error: SyncError) -> int:
    """Give the code that a failure ends the command with; repeating it may help where that is 3."""
    match error:
        case SignInRefused() | RoleTooLow():
            return _NOT_YOU
        case Transient():
            return _NOT_NOW
        case _:
            return 1
