"""Commands of who may sign in, and of who did what."""

from typing import Annotated
from urllib.parse import quote

import typer
from rich.markup import escape
from rich.table import Table

from console.shapes.access import AuditShape, ClientShape, NewClientShape, NewTokenShape, TokenShape
from console.terminal import AsJson, api, echo_json, plain_table, screen
from shared import moments
from shared.access import Role

app = typer.Typer()
tokens = typer.Typer(no_args_is_help=True, help="Static tokens: who may use the API.")
clients = typer.Typer(no_args_is_help=True, help="Clients: who may get tokens from the API by signing in.")
app.add_typer(tokens, name="tokens")
app.add_typer(clients, name="clients")

Name = Annotated[str, typer.Argument(help="What the audit log calls them; never given again.")]
Named = Annotated[str, typer.Argument(help="Its name or its id.")]
RoleOption = Annotated[Role, typer.Option("--role", help="viewer sees states, operator runs things, admin does all.")]
Limit = Annotated[int, typer.Option(min=1, help="How many at most.")]


@tokens.command("list")
def list_tokens(*, as_json: AsJson = False) -> None:
    """List the static tokens."""
    with api() as client:
        found = client.get("/tokens", list[TokenShape])
    if as_json:
        echo_json(found)
    else:
        screen.print(_table(found))


@tokens.command("create")
def create_token(
    name: Name,
    role: RoleOption = Role.VIEWER,
    days: Annotated[int | None, typer.Option(help="How long it lasts; until it is revoked without.")] = None,
    *,
    as_json: AsJson = False,
) -> None:
    """Make a static token, and print it: this once."""
    with api() as client:
        made = client.post("/tokens", NewTokenShape, {"name": name, "role": role, "days": days})
    if as_json:
        echo_json(made)
        return
    until = "until it is revoked" if made.expires_on is None else f"until {moments.told(made.expires_on)}"
    typer.echo(f"{made.name} is {made.role} {until}; this is shown once:", err=True)
    typer.echo(made.token)


@tokens.command("revoke")
def revoke_token(name: Named) -> None:
    """Make a static token worthless at once."""
    with api() as client:
        client.delete(f"/tokens/{quote(name, safe='')}")
    screen.print(f"token {escape(name)} is revoked")


@clients.command("list")
def list_clients(*, as_json: AsJson = False) -> None:
    """List the clients."""
    with api() as client:
        found = client.get("/clients", list[ClientShape])
    if as_json:
        echo_json(found)
    else:
        screen.print(_table(found))


@clients.command("create")
def create_client(name: Name, role: RoleOption = Role.VIEWER, *, as_json: AsJson = False) -> None:
    """Make a client, and print what it signs in with: this once."""
    with api() as client:
        made = client.post("/clients", NewClientShape, {"name": name, "role": role})
    if as_json:
        echo_json(made)
        return
    typer.echo(f"{made.name} is {made.role}; the secret is shown once:", err=True)
    typer.echo(f"client_id={made.client_id}\nclient_secret={made.client_secret}")


@clients.command("revoke")
def revoke_client(name: Named) -> None:
    """End a client and every token that it was given, at once."""
    with api() as client:
        client.delete(f"/clients/{quote(name, safe='')}")
    screen.print(f"client {escape(name)} is revoked")


@app.command()
def audit(
    kind: Annotated[str | None, typer.Option(help="Of this kind of thing: feed, pipeline, token ...")] = None,
    subject: Annotated[str | None, typer.Option("--id", help="Of the thing with this id.")] = None,
    actor: Annotated[str | None, typer.Option("--by", help="By whoever has this name.")] = None,
    limit: Limit = 50,
    *,
    as_json: AsJson = False,
) -> None:
    """Show who did what, newest first."""
    with api() as client:
        found = client.newest("/audit", AuditShape, limit, kind=kind, subject=subject, actor=actor)
    if as_json:
        echo_json(found)
        return
    table = plain_table("when", "who", "did", "to", "fields")
    for one in found:
        what = f"{one.kind} {one.subject}"
        table.add_row(
            moments.told(one.noted_on), *map(escape, (one.actor or "-", one.action, what, ", ".join(one.fields)))
        )
    screen.print(table)


def _table(found: list[TokenShape] | list[ClientShape]) -> Table:
    table = plain_table("name", "role", "since", "by", "until", "id")
    for one in found:
        until = one.expires_on if isinstance(one, TokenShape) else None
        if one.revoked_on is not None:
            ends = f"revoked {moments.told(one.revoked_on)}"
        elif until is not None:
            ends = f"{'' if one.is_valid else 'over since '}{moments.told(until)}"
        else:
            ends = "open"
        table.add_row(
            one.name, one.role, moments.told(one.created_on), escape(one.created_by or "-"), ends, str(one.id)
        )
    return table
