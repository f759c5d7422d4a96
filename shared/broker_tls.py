"""The broker's URL with TLS: given once, and understood by every client alike.

::

    rediss://user:password@host:6379/0?ssl_ca_certs=/etc/ca.pem&ssl_certfile=/etc/us.pem&ssl_keyfile=/etc/us.key

redis-py reads that by itself, and proves the server's certificate and name unless it is told not to. kombu does what
the parameters say and no more: of a URL without any it makes a connection in the clear, ``rediss`` or not, and none
proves a name. Flower's own connection reads no parameters of a URL at all. So Celery is given the parameters as its
setting ``broker_use_ssl``, which both read, and they are complete.
"""

import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import parse_qsl, urlencode, urlsplit

from shared.errors import ServiceUnavailable

_VARIABLE: Final = "WAREHOUSE_SYNC_BROKER_URL"
_FILES: Final = ("ssl_ca_certs", "ssl_certfile", "ssl_keyfile")
_ALWAYS: Final = {"ssl_cert_reqs": "required", "ssl_check_hostname": "true"}
"""May be given, but only so: TLS that does not prove who answers keeps nobody out who stands in between."""


@dataclass(frozen=True, slots=True)
class Broker:
    """A broker as Celery takes it: a URL, and how TLS is spoken (``None``: not at all)."""

    url: str
    tls: dict[str, object] | None


def for_celery(url: str) -> Broker:
    """Give what Celery, kombu and Flower are told of a URL.

    Raises:
        ServiceUnavailable: the parameters contradict the scheme or each other, weaken TLS, or name a file that cannot
            be read; the URL is not repeated, because it may hold a password.
    """
    where = urlsplit(url)
    told = dict(parse_qsl(where.query, keep_blank_values=True))
    parameters = {name: value for name, value in told.items() if name.startswith("ssl_")}
    if where.scheme != "rediss":
        if parameters:
            raise ServiceUnavailable(f"{_VARIABLE}: {', '.join(parameters)} need a URL that begins with rediss://")
        return Broker(url, None)
    _require_sound(parameters)
    rest = urlencode({name: value for name, value in told.items() if name not in parameters})
    tls: dict[str, object] = {"ssl_cert_reqs": ssl.CERT_REQUIRED, "ssl_check_hostname": True}
    files = {name: parameters[name] for name in _FILES if name in parameters}
    return Broker(where._replace(query=rest).geturl(), tls | files)


def _require_sound(parameters: dict[str, str]) -> None:
    unknown = sorted(parameters.keys() - {*_FILES, *_ALWAYS})
    if unknown:
        raise ServiceUnavailable(f"{_VARIABLE}: {', '.join(unknown)}: of TLS only {', '.join(_FILES)} may be given")
    for name, only in _ALWAYS.items():
        if parameters.get(name, only).lower() != only:
            raise ServiceUnavailable(
                f"{_VARIABLE}: {name}={parameters[name]} would take anybody for the broker; leave it out, and name the "
                "authority that signed its certificate in ssl_ca_certs"
            )
    if ("ssl_certfile" in parameters) != ("ssl_keyfile" in parameters):
        raise ServiceUnavailable(f"{_VARIABLE}: ssl_certfile and ssl_keyfile belong together; give the other one, too")
    for name in _FILES:
        if name in parameters:
            _require_readable(name, Path(parameters[name]))


def _require_readable(name: str, path: Path) -> None:
    try:
        with path.open("rb"):
            return
    except OSError as error:
        raise ServiceUnavailable(f"{_VARIABLE}: {name}: {path} cannot be read: {error.strerror}") from error
