"""One HTTP POST to somebody's server: no redirect is followed, no cookie kept, and no address repeated.

Source of what may be repeated: RFC 9110; a client that sees a 4xx other than 408 and 429 has asked wrongly.
"""

import asyncio
from collections.abc import Mapping
from typing import Final

import aiohttp
from yarl import URL

from shared.errors import AlertRefused, AlertUnsent
from shared.settings import Settings
from worker.channels.base import require_tls

_GOOD: Final = range(200, 300)
_REDIRECTS: Final = range(300, 400)
_ANSWER_BYTES: Final = 200


def address(text: str, settings: Settings, *, variable: str) -> URL:
    """Read an address that may be told things, or raise ``AlertRefused``; it may be a secret, and is not repeated."""
    try:
        url = URL(text)
    except ValueError:
        url = URL()
    host = url.host
    if host is None or url.scheme not in {"https", "http"} or url.user is not None or url.password is not None:
        raise AlertRefused(f"{variable}: expected an address such as https://example.com/path, without a user")
    if url.scheme == "http":
        require_tls(host, settings, variable=variable, wanted="https")
    return url


def post(url: URL, body: bytes, headers: Mapping[str, str], *, timeout_s: float) -> tuple[int, bytes]:
    """Send a body and give the answer's status and the beginning of its text.

    Raises:
        AlertUnsent: no good answer came; what the server wrote is not repeated, because it may hold what it was sent.
    """
    try:
        status, text = asyncio.run(_posted(url, body, headers, timeout_s))
    except TimeoutError:
        raise AlertUnsent(f"{url.host} did not answer within {timeout_s:g} s") from None
    except (aiohttp.ClientError, OSError) as error:
        raise AlertUnsent(_cause(url, error)) from None
    if status in _REDIRECTS:
        raise AlertUnsent(f"{url.host} answered {status}, a redirect, which is not followed; name the last address")
    if status not in _GOOD:
        raise AlertUnsent(f"{url.host} answered {status}")
    return status, text


async def _posted(url: URL, body: bytes, headers: Mapping[str, str], timeout_s: float) -> tuple[int, bytes]:
    timeout = aiohttp.ClientTimeout(total=timeout_s)
    async with (
        aiohttp.ClientSession(timeout=timeout, cookie_jar=aiohttp.DummyCookieJar()) as session,
        session.post(url, data=body, headers=headers, allow_redirects=False) as response,
    ):
        return response.status, await response.content.read(_ANSWER_BYTES)


def _cause(url: URL, error: Exception) -> str:
    match error:
        case aiohttp.ClientConnectorCertificateError():
            return f"the certificate of {url.host} is not valid"
        case aiohttp.ClientConnectorError():
            return f"{url.host}:{url.port} cannot be reached: {error.strerror or type(error.os_error).__name__}"
        case OSError() if error.strerror:
            return f"the connection to {url.host} broke: {error.strerror}"
        case _:
            return f"{url.host} closed the connection, or its answer is not HTTP ({type(error).__name__})"
