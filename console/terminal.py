"""What all commands share: the screen, the verbs, how runs are followed, and options that mean the same everywhere."""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Final

import typer
from pydantic import BaseModel
from pydantic_core import to_json
from rich.console import Console
from rich.table import Table

from console.client import Client
from console.place import place
from console.progress import follow, ledger_table, show_found, show_unread, show_why
from console.shapes.confirmed import RunReference
from shared.errors import SignInRefused
from shared.run import RunState
from shared.settings import settings

if TYPE_CHECKING:
    from console.operations import Operations

_ANY_WORKSPACE: Final = "default"
"""What stands in paths where neither the command nor the server names a workspace."""
_UNSEEN_COLUMNS: Final = 160
"""Where no terminal says how wide it is: in a pipe, a file, a job's log."""


def _screen() -> Console:
    """Give the terminal, or in its place lines that are long enough for every table."""
    console = Console()
    if not console.is_terminal and "COLUMNS" not in os.environ:
        console.width = _UNSEEN_COLUMNS
    return console


screen = _screen()


def plain_table(*headings: str) -> Table:
    """Give a table without lines, whose values are folded where the screen is narrow and never cut: ids are copied."""
    table = Table(*headings, box=None)
    for column in table.columns:
        column.overflow = "fold"
    return table


AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]
RunText = Annotated[str, typer.Argument(metavar="RUN", help="A run's number, its id, or the id's beginning.")]


@contextmanager
def api() -> Iterator[Client]:
    """Give the API for the length of a command: of the server that is named, or in this process."""
    own, told = settings(), place()
    if told.url is None:
        from console.here import api_here  # noqa: PLC0415 - the whole API: a client of a server needs none of it

        with api_here(own) as client:
            yield client
        return
    if not told.token:
        raise SignInRefused("--url needs a token: --token, or better WAREHOUSE_SYNC_API_TOKEN")
    with Client.elsewhere(told.url, told.token, told.workspace or own.workspace_id or _ANY_WORKSPACE) as client:
        yield client


@contextmanager
def opened() -> Iterator["Operations"]:
    """Give the verbs for the length of a command."""
    from console.here import operations_here  # noqa: PLC0415 - the store and the broker, which few commands open

    with operations_here(settings()) as operations:
        yield operations


def follow_all(client: Client, started: BaseModel, runs: Sequence[RunReference], *, wait: bool, as_json: bool) -> None:
    """Say that runs are on their way, or follow them to their end and exit with 1 unless all settled.

    As JSON, that is what the API said that it ``started``, or the runs as they ended.
    """
    if not wait:
        if as_json:
            echo_json(started)
            return
        for run in runs:
            screen.print(f"run {run.number} is on its way; `warehouse-sync run {run.number}` shows it")
        return
    shown = Console(stderr=True) if as_json else screen
    ended = [follow(client, run.id, f"run {run.number}", shown) for run in runs]
    if as_json:
        echo_json(ended)
    else:
        screen.print(ledger_table(ended))
        for one in ended:
            show_found(screen, one)
            show_why(screen, one)
        show_unread(screen, client, ended)
    if any(one.state is not RunState.SETTLED for one in ended):
        raise typer.Exit(1)


def echo_json(value: BaseModel | Sequence[BaseModel]) -> None:
    """Print what the API gave as one JSON document."""
    typer.echo(to_json(value).decode())
