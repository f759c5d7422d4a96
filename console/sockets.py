"""Where a server of ours listens, or why nothing can listen there."""

import socket
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from typing import Final

from shared.errors import DeclarationInvalid

DEFAULT_HOST: Final = "127.0.0.1"
DEFAULT_PORT: Final = 8000


@dataclass(frozen=True, slots=True)
class Listening:
    """Where a server listens, and whom it believes.

    ``certificate`` and ``key`` are PEM files, both or neither. Of ``proxies`` (addresses, separated by commas, or
    ``*``) it believes the headers that say from where a request came, and how. On ``metrics_port`` it answers
    ``/metrics`` alone, without a sign-in.
    """

    host: str = DEFAULT_HOST
    port: int = DEFAULT_PORT
    certificate: Path | None = None
    key: Path | None = None
    proxies: str | None = None
    metrics_port: int | None = None

    @property
    def is_local(self) -> bool:
        """Whether only programs on this machine get through."""
        if self.host == "localhost":
            return True
        try:
            return ip_address(self.host).is_loopback
        except ValueError:
            return False

    @property
    def url(self) -> str:
        """Where the API is, as this machine sees it."""
        scheme = "https" if self.certificate else "http"
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{scheme}://{host}:{self.port}"


def opened(host: str, port: int, *, option: str) -> socket.socket:
    """Give a socket that listens; ``option`` is what chooses another port.

    Raises:
        DeclarationInvalid: nothing can listen there.
    """
    try:
        return socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
    except OSError as error:
        raise DeclarationInvalid(
            f"nothing can listen on {host}, port {port} ({error.strerror}); end what listens there, or choose another "
            f"{option}"
        ) from error


def require_free(host: str, port: int) -> None:
    """Raise ``DeclarationInvalid`` where nothing can listen, before a server says so in its own words."""
    opened(host, port, option="--port").close()
