"""Where a server of ours listens, or why nothing can listen there."""

import socket

from shared.errors import DeclarationInvalid


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
