"""The ``warehouse-sync`` command.

====  ================================================================================================
0     done
1     it was refused, it failed, or not all is well: the message says why
2     the command line is wrong
3     something that it takes does not answer now: the store, the broker, a worker, the server, a warehouse
4     nobody is signed in, or their role is too low
130   interrupted
====  ================================================================================================
"""

import platform
import signal
import sys
from importlib.metadata import version
from typing import Annotated, Final

import typer
from rich.console import Console
from rich.markup import escape

from console.commands.named import Named
from console.place import Place, talk_to
from shared.errors import RoleTooLow, SignInRefused, SyncError, Transient

app = typer.Typer(
    cls=Named, no_args_is_help=True, pretty_exceptions_enable=False, help="Self-hosted reverse ETL for mParticle."
)

_NAME: Final = "warehouse-sync"
_NOT_NOW: Final = 3
_NOT_YOU: Final = 4


def _tell_version(is_asked: bool) -> None:  # noqa: FBT001 - an option's value, as Typer gives it
    if is_asked:
        typer.echo(f"{_NAME} {version(_NAME)} (Python {platform.python_version()})")
        raise typer.Exit


@app.callback()
def choose_api(
    url: Annotated[
        str | None,
        typer.Option("--url", envvar="WAREHOUSE_SYNC_API_URL", help="An API server's address; this machine without."),
    ] = None,
    token: Annotated[
        str | None, typer.Option("--token", envvar="WAREHOUSE_SYNC_API_TOKEN", help="What it knows you by.")
    ] = None,
    workspace: Annotated[
        str | None, typer.Option("--workspace", envvar="WAREHOUSE_SYNC_WORKSPACE_ID", help="mParticle's workspace id.")
    ] = None,
    *,
    _version: Annotated[
        bool, typer.Option("--version", callback=_tell_version, is_eager=True, help="Show the versions and exit.")
    ] = False,
) -> None:
    """Take the options that say which API the commands talk to."""
    talk_to(Place(url, token, workspace))


def main() -> None:
    """Run the command; a named failure becomes its sentence, and SIGTERM ends it as in order as Ctrl-C."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    try:
        app()
    except SyncError as error:
        Console(stderr=True).print(f"[red]{type(error).__name__}:[/] {escape(str(error))}", soft_wrap=True)
        sys.exit(exit_code(error))


def exit_code(error: SyncError) -> int:
    """Give the code that a failure ends the command with; repeating it may help where that is 3."""
    match error:
        case SignInRefused() | RoleTooLow():
            return _NOT_YOU
        case Transient():
            return _NOT_NOW
        case _:
            return 1
