"""Flower, as a command that becomes it."""

import os
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from console.sockets import Listening, require_free
from sandbox import stack
from sandbox.flower import DEFAULT_PORT, MAX_TASKS, USERS_FILE, Flower, environment
from shared.endpoints import broker_url
from shared.errors import DeclarationInvalid
from shared.settings import settings

app = typer.Typer()


@app.command("flower")
def run_flower(  # noqa: PLR0913 - the options of a server
    address: Annotated[
        str, typer.Option(help="The address to listen on; 0.0.0.0 and :: are all of this machine's.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=1, max=65_535)] = DEFAULT_PORT,
    users_file: Annotated[
        Path | None,
        typer.Option(envvar=USERS_FILE, help="Who may sign in: a file with user:password, one a line."),
    ] = None,
    state: Annotated[
        Path | None, typer.Option(help="Folder in which it keeps what it saw; flower/ under home without.")
    ] = None,
    url_prefix: Annotated[str, typer.Option(help="The path under which a proxy shows it.")] = "",
    *,
    allow_control: Annotated[
        bool, typer.Option("--allow-control", help="Let whoever signs in send tasks and control workers.")
    ] = False,
    behind_proxy: Annotated[
        bool, typer.Option("--behind-proxy", help="Believe a proxy's X-Real-Ip and X-Scheme.")
    ] = False,
    max_tasks: Annotated[int, typer.Option(min=1, help="How many tasks it remembers.")] = MAX_TASKS,
    tls_certificate: Annotated[Path | None, typer.Option(help="A PEM file with the certificate and its chain.")] = None,
    tls_key: Annotated[Path | None, typer.Option(help="A PEM file with the certificate's key.")] = None,
) -> None:
    """Run Flower behind a sign-in, read-only unless control is allowed, until Ctrl-C."""
    folder = (state or settings().home / "flower").expanduser().resolve()
    if (tls_certificate is None) != (tls_key is None):
        raise DeclarationInvalid("TLS needs both --tls-certificate and --tls-key; give the other one, too")
    chosen = Flower(
        port=port,
        address=address,
        state=folder,
        url_prefix=url_prefix,
        is_proxied=behind_proxy,
        allows_control=allow_control,
        max_tasks=max_tasks,
        certificate=tls_certificate,
        key=tls_key,
    )
    inherited = dict(os.environ) | ({USERS_FILE: str(users_file)} if users_file else {})
    environ = environment(stack.without_secrets(inherited))
    broker_url(settings())
    make_state(folder)
    require_free(address, port)
    if not (Listening(address).is_local or behind_proxy or tls_certificate):
        told = "Passwords travel in the clear: give --tls-certificate and --tls-key, or a proxy that has them"
        Console(stderr=True).print(f"[yellow]{told} (--behind-proxy)[/]", soft_wrap=True)
    argv = chosen.argv()
    os.execve(argv[0], argv, environ)  # noqa: S606 - this very process becomes it; no shell


def make_state(folder: Path) -> None:
    """Make the folder of Flower's state, for its owner only: whoever writes there decides what Flower loads.

    Raises:
        DeclarationInvalid: it cannot be made or written.
    """
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise DeclarationInvalid(f"--state {folder}: cannot be made ({error.strerror}); name another folder") from None
    if not os.access(folder, os.W_OK | os.X_OK):
        raise DeclarationInvalid(f"--state {folder}: cannot be written by this user; name another folder")
