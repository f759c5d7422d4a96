"""Commands of the API server: serve, and print what the API is."""

import json
from pathlib import Path
from typing import Annotated

import typer

from console.api.app import describe
from console.serving import serve
from console.sockets import DEFAULT_HOST, DEFAULT_PORT, Listening
from console.terminal import screen
from shared.settings import settings

app = typer.Typer()


@app.command("serve")
def serve_api(
    host: Annotated[
        str, typer.Option(help="The address to listen on; 0.0.0.0 and :: are all of this machine's.")
    ] = DEFAULT_HOST,
    port: Annotated[int, typer.Option(min=1, max=65_535)] = DEFAULT_PORT,
    tls_certificate: Annotated[Path | None, typer.Option(help="A PEM file with the certificate and its chain.")] = None,
    tls_key: Annotated[Path | None, typer.Option(help="A PEM file with the certificate's key.")] = None,
    forwarded_allow_ips: Annotated[
        str | None,
        typer.Option(help="Addresses of the proxies whose X-Forwarded-For and -Proto are believed; none without."),
    ] = None,
    metrics_port: Annotated[
        int | None,
        typer.Option(
            min=1,
            max=65_535,
            help="Answer /metrics, and nothing else, on this port, too, without a sign-in; else the setting says.",
        ),
    ] = None,
) -> None:
    """Serve the HTTP API until Ctrl-C."""
    own = settings()
    listening = Listening(host, port, tls_certificate, tls_key, forwarded_allow_ips, metrics_port or own.metrics_port)
    serve(own, listening, screen)


@app.command()
def openapi() -> None:
    """Print the API's OpenAPI document."""
    typer.echo(json.dumps(describe(), indent=2))
