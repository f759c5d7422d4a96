"""Ports on 127.0.0.1 for the embedded servers.

A port found free can be taken before the server binds it; whoever uses this module tries again with another one
(``sandbox.server``). What can be avoided beforehand is avoided: ports are drawn below the ranges from which Linux
(32768-60999) and macOS (49152-65535) number outgoing connections. There, a client that keeps reconnecting to a
server which is down can be given that server's own port, connect to itself, and keep the server from coming back.
"""

import random
import socket

from shared.errors import ServiceUnavailable

LOOPBACK = "127.0.0.1"
FIRST_PORT = 15_000
LAST_PORT = 32_000
ATTEMPTS = 200


def is_free(port: int) -> bool:
    """Whether nobody listens on this port of 127.0.0.1 right now."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        # As the servers do: connections of a server just stopped, still in TIME_WAIT, do not count as taken.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except OSError:
            return False
        return True


def free_port() -> int:
    """A port of 127.0.0.1 that is free right now, drawn at random so that two starters rarely draw the same.

    Raises:
        ServiceUnavailable: every one of 200 ports drawn is taken.
    """
    for port in random.SystemRandom().sample(range(FIRST_PORT, LAST_PORT), ATTEMPTS):
        if is_free(port):
            return port
    raise ServiceUnavailable(
        f"{ATTEMPTS} ports of {LOOPBACK} between {FIRST_PORT} and {LAST_PORT} are all taken; end what listens there"
    )
