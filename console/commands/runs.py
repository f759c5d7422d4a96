"""Commands about runs: start, watch, continue, approve, cancel and abandon them."""

from typing import Annotated, Final

import typer

from console.commands.asking import path_of
from console.progress import run_table, show_found, show_unread, show_why
from console.shapes.confirmed import TriggeredShape
from console.shapes.extensions import AbandonedShape, ChunkShape, RunEventShape, RunsShape
from console.shapes.reconstructed import RunShape
from console.showing import show_run
from console.terminal import AsJson, RunText, api, echo_json, follow_all, screen
from console.unread import newest_of_each
from shared.run import STOPPED, RunKind, RunState

app = typer.Typer()

Wait = Annotated[bool, typer.Option("--wait", help="Follow the run until it ends.")]

_MOST_EVENTS: Final = 1000


@app.command()
def trigger(pipeline: str, *, wait: Wait = False, as_json: AsJson = False) -> None:
    """Start a run of a pipeline now, or reopen the one that failed."""
    with api() as client:
        begun = client.post(path_of("pipeline", pipeline, "trigger"), TriggeredShape)
        follow_all(client, begun, begun.runs, wait=wait, as_json=as_json)


@app.command()
def runs(
    pipeline: Annotated[str | None, typer.Argument(help="Of one pipeline; of all without.")] = None,
    limit: Annotated[int, typer.Option(min=1, help="How many to show.")] = 20,
    states: Annotated[
        list[RunState] | None, typer.Option("--state", help="Only in this state; may be repeated.")
    ] = None,
    *,
    wide: Annotated[bool, typer.Option("--wide", help="Show unchanged and superseded rows, too.")] = False,
    as_json: AsJson = False,
) -> None:
    """List the newest runs and their ledgers."""
    path = "/runs" if pipeline is None else path_of("pipeline", pipeline, "runs")
    with api() as client:
        found = client.newest(path, RunShape, limit, state=states or None)
        if as_json:
            echo_json(found)
            return
        screen.print(run_table(found, wide=wide))
        for one in found:
            show_found(screen, one)
            show_why(screen, one)
        show_unread(screen, client, newest_of_each(found))


@app.command("run")
def show(
    run: RunText,
    chunks: Annotated[int, typer.Option(min=0, help="How many of its chunks to show.")] = 20,
    *,
    as_json: AsJson = False,
) -> None:
    """Show one run: what became of its rows, what happened to it and who did it, and its chunks."""
    with api() as client:
        found = client.get(path_of("run", run), RunShape)
        if as_json:
            echo_json(found)
            return
        events = client.newest(path_of("run", run, "events"), RunEventShape, _MOST_EVENTS)
        listed = client.newest(path_of("run", run, "chunks"), ChunkShape, chunks) if chunks else []
        show_run(screen, found, events, listed)
        show_unread(screen, client, [found])


@app.command()
def retry(
    run: RunText,
    *,
    accepts_rejects: Annotated[
        bool, typer.Option("--accept-rejects", help="Take its rejected rows as they are, however many there are.")
    ] = False,
    wait: Wait = False,
    as_json: AsJson = False,
) -> None:
    """Continue a failed or cancelled run with the same window, chunks and ids."""
    with api() as client:
        begun = client.post(path_of("run", run, "retry"), RunsShape, {"accepts_rejects": accepts_rejects})
        follow_all(client, begun, begun.runs, wait=wait, as_json=as_json)


@app.command()
def approve(run: RunText, *, wait: Wait = False, as_json: AsJson = False) -> None:
    """Let a held run go on with the same window, chunks and ids; it is not asked about its rows again."""
    with api() as client:
        begun = client.post(path_of("run", run, "approve"), RunsShape)
        follow_all(client, begun, begun.runs, wait=wait, as_json=as_json)


@app.command()
def cancel(run: RunText, *, as_json: AsJson = False) -> None:
    """Stop a run; it keeps its window until it is retried or abandoned."""
    with api() as client:
        found = client.post(path_of("run", run, "cancel"), RunShape)
    if as_json:
        echo_json(found)
    else:
        screen.print(f"run {found.number} is cancelled; `warehouse-sync retry {found.number}` continues it")


@app.command()
def abandon(
    run: RunText,
    *,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    as_json: AsJson = False,
) -> None:
    """Give up a failed or cancelled run and free its window."""
    with api() as client:
        found = client.get(path_of("run", run), RunShape)
        by_whom = "replay of the rows that it took" if found.kind is RunKind.REPLAY else "run that reads its window"
        if not yes and found.state in STOPPED:  # Any other is refused, and nothing needs to be asked.
            typer.confirm(
                f"{found.ledger.accepted:,} accepted rows of run {found.number} will be sent again, under new ids, by "
                f"the next {by_whom}. Abandon it?",
                abort=True,
            )
        gone = client.post(path_of("run", str(found.id), "abandon"), AbandonedShape)
    if as_json:
        echo_json(gone)
    else:
        screen.print(
            f"run {gone.number} is abandoned; {gone.rows_to_be_sent_again:,} accepted rows will be sent again by the "
            f"next {by_whom}",
            soft_wrap=True,
        )
