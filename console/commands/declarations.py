"""Commands of pipelines as code: say what files change, do it, and write what is declared into files."""

import json
import sys
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from console.client import Client
from console.declarations import KINDS, Declarations, read_declarations
from console.editor_schema import schema_text
from console.exporting import YAML
from console.plan_lines import plan_lines
from console.planning import Action, Plan
from console.shapes.plans import PlanShape
from console.terminal import AsJson, api, echo_json, screen
from shared.errors import DeclarationInvalid

app = typer.Typer()

DIFFERS: Final = 5
"""The exit code of ``diff --exit-code`` where something would change."""

Files = Annotated[list[Path], typer.Argument(help="YAML files, or folders of them; see docs/as-code.md.")]
Prune = Annotated[bool, typer.Option("--prune", help="Delete what is declared and not in the files.")]
Keep = Annotated[
    bool, typer.Option("--keep-watermark", help="Where an edit asks: read on from where the pipeline stands.")
]
Reset = Annotated[
    bool, typer.Option("--reset-watermark", help="Where an edit asks: read everything anew, history first.")
]


@app.command()
def apply(
    files: Files,
    *,
    prune: Prune = False,
    keep: Keep = False,
    reset: Reset = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would change.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    as_json: AsJson = False,
) -> None:
    """Show what the files change and do it, all or nothing; repeating it changes nothing. A new pipeline is a draft."""
    document, asked = read_declarations(*files), _asked(prune=prune, keep=keep, reset=reset)
    with api() as client:
        plan, digest = _planned(client, document, asked, as_json=as_json)
        if plan.refused and (dry_run or as_json):
            raise typer.Exit(1)
        if plan.is_empty or dry_run:
            return
        is_asked = not (yes or plan.refused or as_json) and (sys.stdin.isatty() or plan.count(Action.DELETE))
        if is_asked:
            typer.confirm("Do it?", abort=True)
        client.post("/declarations", PlanShape, document.as_document(), **asked, expected=digest)


@app.command()
def diff(
    files: Files,
    *,
    prune: Prune = False,
    keep: Keep = False,
    reset: Reset = False,
    exit_code: Annotated[
        bool, typer.Option("--exit-code", help=f"End with {DIFFERS} where something would change.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Say in what the files differ from what is declared, and change nothing."""
    document, asked = read_declarations(*files), _asked(prune=prune, keep=keep, reset=reset)
    with api() as client:
        plan, _ = _planned(client, document, asked, as_json=as_json)
    if plan.refused:
        raise typer.Exit(1)
    if exit_code and not plan.is_empty:
        raise typer.Exit(DIFFERS)


@app.command()
def validate(files: Files) -> None:
    """Check files without a server: every mistake is told by its file and field."""
    document = read_declarations(*files)
    for _, mistake in document.unknown_references():
        where = f"{mistake.file}: " if mistake.file else ""
        screen.print(f"note: {where}{mistake} in these files", markup=False, highlight=False, soft_wrap=True)
    count = len(document.in_order())
    screen.print(f"{count} declaration{'s' * (count > 1)}: nothing wrong that files alone can tell", soft_wrap=True)


@app.command("export")
def export_all(
    to: Annotated[Path | None, typer.Option("--to", help="A file to write; standard output without.")] = None,
    kind: Annotated[str | None, typer.Option(help=f"Only one of {', '.join(KINDS)}.")] = None,
    pipeline: Annotated[str | None, typer.Option(help="Only this pipeline, and all that it needs.")] = None,
    *,
    as_json: AsJson = False,
) -> None:
    """Write what is declared as a file that `apply` takes; of sealed secrets it says the word stored."""
    with api() as client:
        if as_json:
            found = client.get("/declarations", dict[str, Any], kind=kind, pipeline=pipeline)
            written = f"{json.dumps(found, indent=2)}\n"
        else:
            written = client.written("/declarations", YAML, kind=kind, pipeline=pipeline)
    if to is None:
        typer.echo(written, nl=False)
        return
    try:
        to.write_text(written, encoding="utf-8")
    except OSError as error:
        raise DeclarationInvalid(f"{to} cannot be written: {error.strerror}") from error


@app.command()
def schema() -> None:
    """Print the JSON Schema of declaration files, for editors."""
    typer.echo(schema_text(), nl=False)


def _asked(*, prune: bool, keep: bool, reset: bool) -> dict[str, Any]:
    if keep and reset:
        raise typer.BadParameter("say --keep-watermark or --reset-watermark, not both")
    watermark = "keep" if keep else "reset" if reset else None
    return {"prune": prune, "watermark": watermark}


def _planned(client: Client, document: Declarations, asked: dict[str, Any], *, as_json: bool) -> tuple[Plan, str]:
    """Have a plan made and shown; give it and its digest."""
    shape = client.post("/declarations/plan", PlanShape, document.as_document(), **asked)
    plan = shape.plan()
    if as_json:
        echo_json(shape)
        return plan, shape.digest
    for line in plan_lines(plan):
        screen.print(line, markup=False, highlight=False, soft_wrap=True)
    return plan, shape.digest
