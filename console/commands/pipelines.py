"""Commands about pipelines: declare, activate, pause, resume, delete, list."""

import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from console.declarations import read_declarations
from console.plan_lines import plan_lines
from console.planning import Action
from console.progress import notice_table, pipeline_table
from console.terminal import opened, screen
from shared.errors import DeclarationInvalid, NoWorker
from shared.probe import ProbeKind, Question
from shared.run import RunKind
from shared.store.edits import Watermark

app = typer.Typer()


@app.command()
def apply(
    files: Annotated[list[Path], typer.Argument(help="YAML files, or folders of them; see docs/as-code.md.")],
    *,
    prune: Annotated[bool, typer.Option("--prune", help="Delete what is declared and not in the files.")] = False,
    keep: Annotated[
        bool, typer.Option("--keep-watermark", help="Where an edit asks: read on from where the pipeline stands.")
    ] = False,
    reset: Annotated[
        bool, typer.Option("--reset-watermark", help="Where an edit asks: read everything anew, history first.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """Show what the files change and do it, all or nothing; repeating it changes nothing. A new pipeline is a draft."""
    if keep and reset:
        raise typer.BadParameter("say --keep-watermark or --reset-watermark, not both")
    watermark = Watermark.KEEP if keep else Watermark.RESET if reset else None
    document = read_declarations(*files)
    with opened() as operations:
        plan = operations.declarations.plan(document, prune=prune, watermark=watermark)
        for line in plan_lines(plan):
            screen.print(line, markup=False, highlight=False, soft_wrap=True)
        if plan.is_empty:
            return
        if not yes and not plan.refused and (sys.stdin.isatty() or plan.count(Action.DELETE)):
            typer.confirm("Do it?", abort=True)
        operations.declarations.apply(document, prune=prune, watermark=watermark, expected=plan.digest)


@app.command()
def activate(
    pipeline: str,
    *,
    unchecked: Annotated[
        bool, typer.Option("--unchecked", help="Do not have a worker look at its columns and its iterator first.")
    ] = False,
) -> None:
    """Let a draft run on its schedule, once a worker has found nothing that would keep it from running."""
    with opened() as operations:
        if not unchecked:
            try:
                answer = operations.ask(Question(kind=ProbeKind.COLUMNS, pipeline_id=pipeline))
            except NoWorker as error:
                raise NoWorker(f"{error}; or activate it with --unchecked") from error
            if answer.refused:
                raise DeclarationInvalid(f"pipeline {pipeline!r} cannot run as it is declared: {answer.refused}")
        row = operations.activate(pipeline)
    due = f"its first run is due at {row.next_due_at:%Y-%m-%d %H:%M:%S} UTC" if row.next_due_at else "trigger it"
    screen.print(f"pipeline {pipeline} is active; {due}", soft_wrap=True)


@app.command()
def pause(pipeline: str) -> None:
    """Start no new run of a pipeline, and claim nothing more of those that are open; what is claimed finishes."""
    with opened() as operations:
        operations.pause(pipeline)
    screen.print(f"pipeline {pipeline} is paused; `warehouse-sync resume {pipeline}` lets it go on", soft_wrap=True)


@app.command()
def resume(pipeline: str) -> None:
    """Let a paused pipeline go on: open runs at once, new ones from its next occurrence on."""
    with opened() as operations:
        row = operations.resume(pipeline)
    due = f"; its next run is due at {row.next_due_at:%Y-%m-%d %H:%M:%S} UTC" if row.next_due_at else ""
    screen.print(f"pipeline {pipeline} is active{due}", soft_wrap=True)


@app.command()
def delete(pipeline: str, *, yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False) -> None:
    """Cancel what a pipeline does and delete it; its runs and rejects stay until their retention ends."""
    if not yes:
        typer.confirm(f"Delete pipeline {pipeline}? Its id can never be used again.", abort=True)
    with opened() as operations:
        operations.delete(pipeline)
    screen.print(f"pipeline {pipeline} is deleted")


@app.command()
def pipelines() -> None:
    """List the pipelines: state, when each is next due, watermark, and what holds one up."""
    with opened() as operations:
        rows = operations.pipelines()
        holders = operations.holders()
    screen.print(pipeline_table(rows))
    for row in rows:
        if row.faulted_reason:
            screen.print(f"{row.pipeline.id} is [red]faulted[/]: {escape(row.faulted_reason)}", soft_wrap=True)
    for run in holders:
        is_replay = run.kind is RunKind.REPLAY
        holds, frees = ("has a", "rows") if is_replay else ("is held by", "window")
        screen.print(
            f"{run.pipeline_id} {holds} {run.state} {'replay' if is_replay else 'run'} {run.id}: `warehouse-sync retry "
            f"{run.id}` continues it, `abandon` frees its {frees}",
            soft_wrap=True,
        )


@app.command()
def notices(pipeline: str) -> None:
    """List what happened to a pipeline: refused requests, watermarks that were reset."""
    with opened() as operations:
        screen.print(notice_table(operations.notices(pipeline)))
