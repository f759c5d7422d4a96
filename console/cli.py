"""The ``warehouse-sync`` command.

Exit codes: 0 done; 1 it was refused or a run did not settle, and the message says why; 2 the command line is wrong.
"""

import os
import signal
import sys
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape

from console import cli_backfills, cli_pipelines, cli_probes, cli_rejects
from console.answers import show_findings
from console.demo import Options, run_demo
from console.destinations import destinations_table
from console.doctor import examine
from console.limits import limits_table
from console.machine import run_machine
from console.progress import run_table, show_found
from console.terminal import AsJson, Place, RunText, follow_all, opened, screen
from sandbox.feed import run_feed
from shared.errors import SyncError
from shared.run import STOPPED, WORKING, RunKind
from shared.settings import settings

app = typer.Typer(no_args_is_help=True, pretty_exceptions_enable=False, help="Self-hosted reverse ETL for mParticle.")
spool = typer.Typer(no_args_is_help=True, help="Where chunks wait between warehouse and mParticle.")
app.add_typer(spool, name="spool")
for commands in (cli_pipelines.app, cli_probes.app, cli_backfills.app, cli_rejects.app):
    app.add_typer(commands)


@app.callback()
def choose_api(
    context: typer.Context,
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
    context.obj = Place(url, token, workspace)


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
def up() -> None:
    """Run everything on this machine: embedded servers, all workers, beat and Flower, until Ctrl-C."""
    run_machine(settings(), dict(os.environ), screen)


@app.command()
def migrate() -> None:
    """Bring the state database up to this version."""
    with opened() as operations:
        operations.migrate()
    screen.print("the state database is up to date")


@app.command()
def trigger(
    pipeline: str,
    *,
    wait: Annotated[bool, typer.Option("--wait", help="Follow the run until it ends.")] = False,
) -> None:
    """Start a run of a pipeline now, or reopen the one that failed."""
    with opened() as operations:
        run_ids = operations.trigger(pipeline)
        follow_all(operations, run_ids, wait=wait)


@app.command()
def runs(pipeline: Annotated[str | None, typer.Argument()] = None, limit: int = 20) -> None:
    """List the newest runs and their ledgers."""
    with opened() as operations:
        found = operations.runs(pipeline, limit=limit)
        waiting = {run.id: operations.why_it_waits(run.id) for run in found if run.state in WORKING}
    screen.print(run_table(found))
    for run in found:
        show_found(screen, run)
        if why := waiting.get(run.id):
            screen.print(f"{run.id} waits: {escape(why)}", soft_wrap=True)
        elif run.error_kind:
            screen.print(f"{run.id} [red]{run.error_kind}[/]: {escape(run.error or '')}", soft_wrap=True)


@app.command()
def doctor(
    connection: Annotated[str | None, typer.Argument(help="One connection only; all without.")] = None,
) -> None:
    """Check the services, the workers, every connection's sign-in and every pipeline's columns."""
    with opened() as operations:
        if not show_findings(screen, examine(operations, connection)):
            raise typer.Exit(1)


@app.command()
def retry(
    run: RunText,
    *,
    accepts_rejects: Annotated[
        bool, typer.Option("--accept-rejects", help="Take its rejected rows as they are, however many there are.")
    ] = False,
    wait: Annotated[bool, typer.Option("--wait", help="Follow the run until it ends.")] = False,
) -> None:
    """Continue a failed or cancelled run with the same window, chunks and ids."""
    with opened() as operations:
        run_ids = operations.retry(operations.find_run(run), accepts_rejects=accepts_rejects)
        follow_all(operations, run_ids, wait=wait)


@app.command()
def cancel(run: RunText) -> None:
    """Stop a run; it keeps its window until it is retried or abandoned."""
    with opened() as operations:
        operations.cancel(operations.find_run(run))
    screen.print(f"run {run} is cancelled; `warehouse-sync retry {run}` continues it")


@app.command()
def abandon(run: RunText, *, yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False) -> None:
    """Give up a failed or cancelled run and free its window."""
    with opened() as operations:
        run_id = operations.find_run(run)
        found = operations.run(run_id)
        by_whom = "replay of the rows that it took" if found.kind is RunKind.REPLAY else "run that reads its window"
        accepted = f"{found.ledger.accepted:,} accepted rows"
        if not yes and found.state in STOPPED:  # Any other is refused, and nothing needs to be asked.
            typer.confirm(
                f"{accepted} of run {run} will be sent again, under new ids, by the next {by_whom}. Abandon it?",
                abort=True,
            )
        operations.abandon(run_id)
    screen.print(f"run {run} is abandoned; {accepted} will be sent again by the next {by_whom}", soft_wrap=True)


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
        sys.exit(1)
