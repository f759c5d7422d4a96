"""``warehouse-sync review``: all that a pipeline would do, before it does anything."""

from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer
from pydantic import BaseModel

from console.commands.asking import asked, path_of
from console.commands.review_screen import show_review
from console.declarations import Declarations, read_declarations
from console.shapes.reviews import ReviewShape
from console.terminal import AsJson, api, screen
from shared.catalog import DataModel, Pipeline
from shared.errors import NotFound
from shared.transformation import FieldTransformation

app = typer.Typer()

Declared = TypeVar("Declared", Pipeline, DataModel, FieldTransformation)


@app.command()
def review(
    pipeline: Annotated[str | None, typer.Argument(help="Its id; with --file the one in there without.")] = None,
    file: Annotated[
        Path | None,
        typer.Option("--file", help="YAML: a pipeline that nobody saved, over the connection and the feed it names."),
    ] = None,
    rows: Annotated[int, typer.Option(min=1, max=100, help="How many rows to read as a sample.")] = 5,
    *,
    as_json: AsJson = False,
) -> None:
    """Show what a pipeline reads, sends, costs and when, before it is activated; nothing is sent, nothing moves."""
    if file is not None:
        path, body = "/reviews", {**_draft(read_declarations(file), file, pipeline), "rows": rows}
    elif pipeline is not None:
        path, body = path_of("pipeline", pipeline, "review"), {"rows": rows}
    else:
        raise typer.BadParameter("name a pipeline, or a file by --file")
    with api() as client:
        found, told = asked(client, path, ReviewShape, body)
    if as_json:
        typer.echo(told)
    else:
        show_review(screen, found)
    if found.refused:
        raise typer.Exit(1)


def _draft(declared: Declarations, file: Path, wanted: str | None) -> dict[str, Any]:
    """Give a file's pipeline, and the file's data model and field transformation where it has those."""
    ids = [one.id for one in declared.pipelines]
    if wanted is None and len(ids) != 1:
        raise NotFound(
            f"{file} declares {len(ids)} pipelines; name the one to review: {', '.join(ids) or 'there is none'}"
        )
    chosen = _named(declared.pipelines, wanted or ids[0])
    if chosen is None:
        raise NotFound(f"{file} declares no pipeline {wanted!r}; it declares {', '.join(ids) or 'none'}")
    return {
        "pipeline": _as_json(chosen),
        "data_model": _as_json(_named(declared.data_models, chosen.data_model_id)),
        "field_transformation": _as_json(_named(declared.field_transformations, chosen.field_transformation_id)),
    }


def _named(declared: tuple[Declared, ...], wanted: str | None) -> Declared | None:
    return next((one for one in declared if one.id == wanted), None)


def _as_json(one: BaseModel | None) -> Any:
    return None if one is None else one.model_dump(mode="json")
