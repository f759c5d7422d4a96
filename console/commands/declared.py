"""Commands that list, show and delete what pipelines are made of, the same for every kind."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Final
from urllib.parse import quote

import typer
from rich.markup import escape

from console.exporting import to_yaml
from console.shapes.confirmed import ConnectionShape
from console.shapes.extensions import FeedShape
from console.shapes.ground import Audited
from console.shapes.reconstructed import DataModelShape, FieldTransformationShape
from console.terminal import AsJson, api, echo_json, plain_table, screen

app = typer.Typer()

ResourceId = Annotated[str, typer.Argument(metavar="ID")]


@dataclass(frozen=True, slots=True)
class _Kind:
    """One kind of declaration: its command, its path, its shape, and its columns beside the id and the name."""

    command: str
    path: str
    noun: str
    shape: type[Audited]
    columns: Sequence[tuple[str, Callable[[Any], str]]]


_KINDS: Final = (
    _Kind(
        "connections",
        "/connections",
        "connection",
        ConnectionShape,
        (("provider", lambda one: one.service_provider), ("state", lambda one: f"{one.state}, {one.status}")),
    ),
    _Kind("models", "/data-models", "data model", DataModelShape, (("query", lambda one: _brief(one.sql_query)),)),
    _Kind(
        "transformations",
        "/field-transformations",
        "field transformation",
        FieldTransformationShape,
        (("mappings", lambda one: str(len(one.mappings))),),
    ),
    _Kind(
        "feeds",
        "/feeds",
        "feed",
        FeedShape,
        (("address", lambda one: one.base_url), ("protection", lambda one: str(one.input_protection_level))),
    ),
)
_MOST_CHARS: Final = 60


def _commands(kind: _Kind) -> typer.Typer:
    """Give the commands of one kind."""
    commands = typer.Typer(no_args_is_help=True, help=f"List, show and delete {kind.noun}s; `apply` declares them.")

    def list_all(*, as_json: AsJson = False) -> None:
        with api() as client:
            found: list[Any] = client.get(kind.path, list[kind.shape])  # type: ignore[name-defined] # one of _KINDS
        if as_json:
            echo_json(found)
            return
        table = plain_table("id", "name", *(title for title, _ in kind.columns), "version", "by")
        for one in found:
            shown = (escape(write(one)) for _, write in kind.columns)
            by = escape(one.last_modified_by or one.created_by or "-")
            table.add_row(one.id, escape(one.name), *shown, str(one.version), by)
        screen.print(table)

    def show(resource_id: ResourceId, *, as_json: AsJson = False) -> None:
        with api() as client:
            found: Any = client.get(f"{kind.path}/{quote(resource_id, safe='')}", kind.shape)
        if as_json:
            echo_json(found)
        else:
            typer.echo(to_yaml(found.model_dump(mode="json", exclude={"warnings"})), nl=False)

    def delete(
        resource_id: ResourceId, *, yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False
    ) -> None:
        if not yes:
            typer.confirm(f"Delete {kind.noun} {resource_id}?", abort=True)
        with api() as client:
            client.delete(f"{kind.path}/{quote(resource_id, safe='')}")
        screen.print(f"{kind.noun} {escape(resource_id)} is deleted")

    commands.command("list", help=f"List the {kind.noun}s.")(list_all)
    commands.command("show", help=f"Show one {kind.noun}; its secrets are never shown.")(show)
    commands.command("delete", help=f"Delete a {kind.noun} that no pipeline uses or has used.")(delete)
    return commands


def _brief(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= _MOST_CHARS else f"{line[:_MOST_CHARS]}..."


for _kind in _KINDS:
    app.add_typer(_commands(_kind), name=_kind.command)
