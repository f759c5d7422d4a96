"""Commands about pipelines: activate, pause, resume, delete, list."""

from typing import Annotated

import typer

from console.commands.asking import path_of, waiting
from console.shapes.extensions import NoticeShape
from console.shapes.reconstructed import PipelineShape
from console.showing import notice_table, show_pipeline, show_pipelines
from console.terminal import AsJson, api, echo_json, screen
from shared import moments

app = typer.Typer()
group = typer.Typer()
app.add_typer(group, name="pipelines")


@app.command()
def activate(
    pipeline: str,
    *,
    unchecked: Annotated[
        bool, typer.Option("--unchecked", help="Do not have a worker look at its columns and its iterator first.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Let a draft run on its schedule, once a worker has found nothing that would keep it from running."""
    with api() as client, waiting("a worker looks at its columns"):
        found = client.post(path_of("pipeline", pipeline, "activate"), PipelineShape, unchecked=unchecked)
    due = f"its first run is due at {moments.told(found.next_due_on)}" if found.next_due_on else "trigger it"
    _say(found, f"pipeline {pipeline} is active; {due}", as_json=as_json)


@app.command()
def pause(pipeline: str, *, as_json: AsJson = False) -> None:
    """Start no new run of a pipeline, and claim nothing more of those that are open; what is claimed finishes."""
    with api() as client:
        found = client.post(path_of("pipeline", pipeline, "pause"), PipelineShape)
    _say(found, f"pipeline {pipeline} is paused; `warehouse-sync resume {pipeline}` lets it go on", as_json=as_json)


@app.command()
def resume(pipeline: str, *, as_json: AsJson = False) -> None:
    """Let a paused pipeline go on: open runs at once, new ones from its next occurrence on."""
    with api() as client:
        found = client.post(path_of("pipeline", pipeline, "resume"), PipelineShape)
    due = f"; its next run is due at {moments.told(found.next_due_on)}" if found.next_due_on else ""
    _say(found, f"pipeline {pipeline} is active{due}", as_json=as_json)


@app.command()
@group.command("delete")
def delete(pipeline: str, *, yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False) -> None:
    """Cancel what a pipeline does and delete it; its runs and rejects stay until their retention ends."""
    if not yes:
        typer.confirm(f"Delete pipeline {pipeline}? Its id can never be used again.", abort=True)
    with api() as client:
        client.delete(path_of("pipeline", pipeline))
    screen.print(f"pipeline {pipeline} is deleted")


@group.callback(invoke_without_command=True)
def pipelines(
    context: typer.Context,
    provider: Annotated[
        str | None, typer.Option("--provider", help="Only those of this provider's warehouses.")
    ] = None,
    *,
    as_json: AsJson = False,
) -> None:
    """List the pipelines by provider: state, when each is next due, watermark, and what holds one up."""
    if context.invoked_subcommand is not None:
        return
    with api() as client:
        found = client.get("/pipelines", list[PipelineShape], serviceProvider=provider)
    if as_json:
        echo_json(found)
    else:
        show_pipelines(screen, found)


@app.command()
@group.command("show")
def status(pipeline: str, *, as_json: AsJson = False) -> None:
    """Show one pipeline: its state and frequency, how far it is, what holds it, its newest runs."""
    with api() as client:
        found = client.get(path_of("pipeline", pipeline), PipelineShape)
    if as_json:
        echo_json(found)
    else:
        show_pipeline(screen, found)


@app.command()
def notices(
    pipeline: str,
    limit: Annotated[int, typer.Option(min=1, help="How many to show.")] = 20,
    *,
    as_json: AsJson = False,
) -> None:
    """List what happened to a pipeline: refused requests, watermarks that were reset."""
    with api() as client:
        found = client.newest(path_of("pipeline", pipeline, "notices"), NoticeShape, limit)
    if as_json:
        echo_json(found)
    else:
        screen.print(notice_table(found))


def _say(found: PipelineShape, sentence: str, *, as_json: bool) -> None:
    if as_json:
        echo_json(found)
    else:
        screen.print(sentence, soft_wrap=True)
