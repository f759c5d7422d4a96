"""Commands about rejected rows: look at them, save them, send them anew, purge somebody's."""

import sys
from pathlib import Path
from typing import Annotated

import typer
from rich import box
from rich.markup import escape
from rich.table import Table

from console.json_values import as_text
from console.rejecting import Rejected, Shown, to_json
from console.terminal import AsJson, RunText, follow_all, opened, screen
from shared.run import RejectCode

app = typer.Typer()

Code = Annotated[RejectCode | None, typer.Option("--code", help="Only rows that were refused for this.")]


@app.command()
def rejects(
    run: RunText,
    code: Code = None,
    limit: Annotated[int, typer.Option(min=0, help="How many rows to show.")] = 20,
    to: Annotated[
        Path | None,
        typer.Option("--to", metavar="FILE", help="Save all of them, with their real values: .csv, .parquet, .jsonl."),
    ] = None,
    *,
    is_masked: Annotated[bool, typer.Option("--masked", help="Hide secret columns in the saved file, too.")] = False,
    as_json: AsJson = False,
) -> None:
    """Count a run's rejected rows by code and show some, or save them to a file; what is shown hides secret columns."""
    with opened() as operations:
        run_id = operations.find_run(run)
        if to is not None:
            rows = operations.rejects.save(run_id, to, code, is_masked=is_masked)
            kept = "secret columns are masked" if is_masked else "it holds real values, and its owner alone may read it"
            screen.print(f"{rows:,} rejected rows are in {escape(str(to))}; {kept}", soft_wrap=True)
            return
        rejected = operations.rejects.of(run_id)
        if not as_json:  # They need no spool.
            _show_counts(rejected)
        shown = operations.rejects.rows(run_id, code, limit=limit) if rejected.counts and limit else []
    if as_json:
        typer.echo(to_json(rejected, shown))
    else:
        for row in shown:
            _show_row(row)


@app.command()
def replay(
    run: RunText,
    code: Code = None,
    *,
    wait: Annotated[bool, typer.Option("--wait", help="Follow the replay until it ends.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """Send a run's rejected rows anew, once their cause is mended: today's mapping, checks and feed, new ids."""
    with opened() as operations:
        run_id = operations.find_run(run)
        rows = operations.rejects.left(run_id, code)
        if rows and not yes:
            typer.confirm(
                f"{rows:,} rejected rows of run {run} will be sent under new ids as they were read then, but for those "
                "whose users are known to have been sent newer ones. Send them?",
                abort=True,
            )
        follow_all(operations, operations.rejects.replay(run_id, code), wait=wait)


@app.command()
def purge_rejects(
    pipeline: Annotated[str | None, typer.Argument()] = None,
    *,
    column: Annotated[
        str, typer.Option("--column", help="The column that says whose a row is, as the query names it.")
    ],
    value: Annotated[str, typer.Option("--value", help="Its value, as text; - reads it from standard input.")],
    all_pipelines: Annotated[bool, typer.Option("--all-pipelines", help="The rejects of every pipeline.")] = False,
) -> None:
    """Remove somebody's rows from all rejected rows of a pipeline, for good; they cannot be replayed any more."""
    if (pipeline is None) != all_pipelines:
        raise typer.BadParameter("name one pipeline, or say --all-pipelines")
    wanted = sys.stdin.read().removesuffix("\n") if value == "-" else value
    with opened() as operations:
        purged = operations.rejects.purge(None if pipeline is None else [pipeline], column, wanted)
    screen.print(f"{purged.rows:,} rejected rows of {purged.runs} runs were removed")
    if purged.in_spool:
        screen.print(
            "Chunks in the spool may still hold such rows, until shortly after their runs are closed; repeat this when "
            f"it no longer names a run here: {', '.join(str(run_id) for run_id in purged.in_spool)}",
            soft_wrap=True,
        )


def _show_counts(rejected: Rejected) -> None:
    if not rejected.run.ledger.rejected:
        screen.print(f"run {rejected.run.id} has rejected no rows", soft_wrap=True)
        return
    # No title of the table: that would be wrapped to its width, the id with it.
    screen.print(f"Rejected rows of run {rejected.run.id}", soft_wrap=True)
    table = Table(box=box.SIMPLE_HEAD)
    table.add_column("code")
    table.add_column("rows", justify="right")
    for code, rows in rejected.counts.items():
        table.add_row(code, f"{rows:,}")
    screen.print(table)
    gone = rejected.run.ledger.rejected - sum(rejected.counts.values()) - rejected.purged
    if rejected.purged:
        screen.print(f"{rejected.purged:,} were purged")
    if gone > 0:
        screen.print(f"{gone:,} were removed: their retention has ended")
    for run in rejected.replays:
        screen.print(
            f"replay {run.id} is {run.state}: {run.ledger.accepted:,} accepted, {run.ledger.rejected:,} rejected",
            soft_wrap=True,
        )
    if rejected.left:
        screen.print(f"{rejected.left:,} can be sent anew: `warehouse-sync replay {rejected.run.id}`", soft_wrap=True)


def _show_row(row: Shown) -> None:
    screen.print(f"[bold]{row.code}[/]: {escape(row.reason)}", soft_wrap=True)
    values = ", ".join(f"{name}={as_text(value)}" for name, value in row.values.items() if value is not None)
    screen.print(f"  {escape(values)}", soft_wrap=True, highlight=False)
