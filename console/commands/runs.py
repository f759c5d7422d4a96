"""Commands about runs: start, watch, continue, cancel and abandon them."""

from typing import Annotated

import typer
from rich.markup import escape

from console.progress import run_table, show_found
from console.terminal import RunText, follow_all, opened, screen
from shared.run import STOPPED, WORKING, RunKind

app = typer.Typer()


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
