"""Commands of sealed secrets: make keys, seal, and move to another key."""

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Final

import typer
from rich.markup import escape

from console.declarations import read_declarations
from console.keys import keygen, sealing_key
from console.shapes.sealed_secrets import RotationShape, SecretsShape
from console.terminal import AsJson, api, echo_json, opened, screen
from shared import sealing
from shared.catalog import Connection
from shared.errors import DeclarationInvalid
from shared.feed import Feed
from shared.secret_fields import purpose, secret_paths
from shared.settings import settings

app = typer.Typer()
secrets = typer.Typer(no_args_is_help=True, help="Sealed secrets: keys, sealing, and moving to another key.")
app.add_typer(secrets, name="secrets")

_KINDS: Final[Mapping[str, type[Feed] | type[Connection]]] = {"feed": Feed, "connection": Connection}


@secrets.command("keygen")
def make_key(
    file: Annotated[Path, typer.Argument(help="Where the private keys are; only workers may have it.")],
) -> None:
    """Put a new private key first into a file, and print its public half."""
    made = keygen(file)
    typer.echo(f"the private key is the first in {file}; give the API and commands this public key:", err=True)
    typer.echo(f"WAREHOUSE_SYNC_PUBLIC_KEY={made.text}")


@secrets.command()
def seal(
    kind: Annotated[str, typer.Argument(help="feed or connection.")],
    resource_id: Annotated[str, typer.Argument(metavar="ID", help="Whose secret it is.")],
    field: Annotated[str | None, typer.Argument(help="Which of its secrets, such as config.password.")] = None,
    files: Annotated[
        list[Path] | None, typer.Option("--file", help="Where it is declared; the deployment's own without.")
    ] = None,
) -> None:
    """Seal a secret, read from standard input, for one feed or connection as it is; print what goes into a file.

    It opens for that resource only, while its secrets are shown to the same address.
    """
    if kind not in _KINDS:
        raise typer.BadParameter("expected feed or connection", param_hint="KIND")
    resource = _declared_in(files, kind, resource_id) if files else _stored(kind, resource_id)
    _require_field(resource, field)
    typer.echo(sealing.seal(_read_secret(), purpose(resource), sealing_key(settings())))


@secrets.command()
def status(*, as_json: AsJson = False) -> None:
    """Say which keys are needed, and for which secrets."""
    with api() as client:
        found = client.get("/secrets", SecretsShape)
    if as_json:
        echo_json(found)
        return
    screen.print(f"sealed to: {found.current_key or 'no key is configured'}")
    for key, places in sorted(found.by_key.items()):
        note = "" if key == found.current_key else " (old: workers still need it; `warehouse-sync secrets rotate`)"
        screen.print(f"{key}{note}")
        for place in places:
            screen.print(f"    {escape(place)}")
    screen.print(f"{found.references} by reference")


@secrets.command()
def rotate(*, as_json: AsJson = False) -> None:
    """Have a worker seal every sealed secret anew, to the current key; safe to repeat."""
    with api() as client:
        done = client.post("/secrets/rotation", RotationShape)
    if as_json:
        echo_json(done)
    else:
        screen.print(f"{done.resealed} sealed anew, {done.already} already were")
        for reason in done.failed:
            screen.print(f"[red]not moved[/]: {escape(reason)}", soft_wrap=True)
    if done.failed:
        raise typer.Exit(1)


def _declared_in(files: Sequence[Path], kind: str, resource_id: str) -> Feed | Connection:
    for one in read_declarations(*files).in_order():
        if isinstance(one, _KINDS[kind]) and one.id == resource_id:
            return one
    raise DeclarationInvalid(f"these files declare no {kind} {resource_id!r}")


def _stored(kind: str, resource_id: str) -> Feed | Connection:
    with opened() as operations:
        if kind == "feed":
            return operations.resources.get(Feed, resource_id).resource
        return operations.resources.get(Connection, resource_id).resource


def _require_field(resource: Feed | Connection, field: str | None) -> None:
    known = secret_paths(type(resource), resource.service_provider if isinstance(resource, Connection) else None)
    if field is not None and field not in known:
        raise DeclarationInvalid(f"{field}: no secret of it; there are {', '.join(known) or 'none'}")


def _read_secret() -> str:
    if sys.stdin.isatty():
        return str(typer.prompt("secret", hide_input=True))
    return sys.stdin.read().removesuffix("\n")
