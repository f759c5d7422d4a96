"""The ways to the state database and the broker: does what travels there leave a private network without TLS?"""

from collections.abc import Iterator
from ipaddress import ip_address
from typing import Final
from urllib.parse import parse_qs, urlsplit

from console.examining.finding import Finding
from console.examining.services import BROKER, STORE
from console.operations import Operations
from shared.endpoints import broker_url, database_url

_PRIVATE: Final = (".local", ".internal", ".svc", ".lan", ".home.arpa")
_PROVEN: Final = "verify-full"


def of_ways(operations: Operations) -> Iterator[Finding]:
    """Look at both addresses; nothing is said of one that is in a private network, or proven by TLS."""
    for subject, url, cure in (
        (
            STORE,
            database_url(operations.settings),
            f"add sslmode={_PROVEN} and sslrootcert=FILE to WAREHOUSE_SYNC_DATABASE_URL",
        ),
        (
            BROKER,
            broker_url(operations.settings),
            "let WAREHOUSE_SYNC_BROKER_URL begin with rediss://, with ssl_ca_certs=FILE",
        ),
    ):
        if is_exposed(url):
            found = "is not in a private network, as far as its name tells, and no TLS proves who answers"
            yield Finding(f"way to the {subject}", found, f"{cure}; passwords and what is declared travel there")


def is_exposed(url: str) -> bool:
    """Whether a URL leads beyond a private network, as far as its host tells, without TLS that proves the server."""
    where = urlsplit(url)
    if where.scheme == "rediss" or parse_qs(where.query).get("sslmode") == [_PROVEN]:
        return False
    host = (where.hostname or "localhost").rstrip(".")
    try:
        return ip_address(host).is_global
    except ValueError:
        # A name without a dot is one of this machine or of its own network, as in Compose.
        return "." in host and not host.endswith(_PRIVATE)
