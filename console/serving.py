"""``warehouse-sync serve``: the HTTP API on a port, until it is told to stop."""

from typing import Final

import uvicorn
from rich.console import Console

from console import metrics_listener
from console.api.app import build_api
from console.operations import Operations
from console.protocol import MOST_BYTES_OF_HEAD, Bounded
from console.sockets import Listening, require_free
from shared import trace_export
from shared.errors import DeclarationInvalid, MoveNotAllowed
from shared.outage import naming_both
from shared.settings import Settings
from shared.telemetry import configure_logs

GRACE_S: Final = 30
"""How long requests that are under way may take once the server is told to stop; a question takes no longer."""
_KEEP_ALIVE_S: Final = 75
"""Longer than the idle time of the usual proxies, which would otherwise send into a connection that is just closed."""


def serve(settings: Settings, listening: Listening, screen: Console) -> None:
    """Serve until SIGINT or SIGTERM; requests that are under way are answered first, within ``GRACE_S``.

    Raises:
        DeclarationInvalid: a certificate without its key, or the other way round, or a file that is not there; or
            nothing may listen on a port.
        MoveNotAllowed: others would get through, and nobody could sign in.
        StoreUnavailable, ServiceUnavailable: the state database does not answer, or is of another version.
    """
    _require_pair(listening)
    require_free(listening.host, listening.port)
    operations = Operations(settings)
    try:
        with naming_both(settings):
            operations.check_store()
        require_sign_in(operations, listening)
        for warning in cautions(listening):
            screen.print(f"[yellow]{warning}[/]", soft_wrap=True)
        configure_logs(settings.log_format)
        trace_export.prepare()
        server = uvicorn.Server(configured(operations, listening))
        if listening.metrics_port is None:
            server.run()
        else:
            with metrics_listener.listening(operations, listening.host, listening.metrics_port):
                server.run()
    finally:
        operations.close()


def require_sign_in(operations: Operations, listening: Listening) -> None:
    """Raise ``MoveNotAllowed`` where others would get through before anybody could sign in as an admin."""
    if not listening.is_local and not operations.access.any_admin():
        raise MoveNotAllowed(
            f"on {listening.host} others can reach this API, and nobody can sign in as an admin yet; run "
            "`warehouse-sync tokens create NAME --role admin` first, or serve 127.0.0.1"
        )


def cautions(listening: Listening) -> list[str]:
    """Say what somebody should know of how a server listens."""
    if listening.is_local:
        return []
    open_to_all = [
        f"Whoever reaches {listening.host}, port {listening.metrics_port}, reads all metrics without a token"
    ]
    found = [] if listening.metrics_port is None else open_to_all
    if listening.certificate is not None or listening.proxies is not None:
        return found
    told = "Tokens and secrets travel in the clear: give --tls-certificate and --tls-key, or name a proxy that has them"
    return [f"{told} (--forwarded-allow-ips)", *found]


def configured(operations: Operations, listening: Listening) -> uvicorn.Config:
    """Give what uvicorn runs: our log lines only, no banner, and no word of a caller's address but a known proxy's."""
    return uvicorn.Config(
        build_api(operations),
        host=listening.host,
        port=listening.port,
        ssl_certfile=listening.certificate,
        ssl_keyfile=listening.key,
        proxy_headers=listening.proxies is not None,
        forwarded_allow_ips=listening.proxies,
        http=Bounded,
        h11_max_incomplete_event_size=MOST_BYTES_OF_HEAD,
        ws="none",
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_keep_alive=_KEEP_ALIVE_S,
        timeout_graceful_shutdown=GRACE_S,
    )


def _require_pair(listening: Listening) -> None:
    if (listening.certificate is None) != (listening.key is None):
        raise DeclarationInvalid("TLS needs both --tls-certificate and --tls-key; give the other one, too")
    for path in (listening.certificate, listening.key):
        if path is not None and not path.is_file():
            raise DeclarationInvalid(f"{path} is no file; expected a PEM file")
