"""One request to one feed, and what came back.

The client neither repeats nor waits: what an answer means for the batches is decided in ``worker.upload``, when to send
in ``worker.mparticle.governor``. It never follows a redirect and no message of it holds the secret.
"""

from base64 import b64encode
from collections.abc import Callable
from typing import Final

import aiohttp
from isal import igzip
from multidict import CIMultiDict, CIMultiDictProxy
from yarl import URL

from worker.mparticle.answers import Answer, Unavailable, read_answer

BULK_PATH: Final = "/bulkevents"
HISTORICAL_PATH: Final = "/bulkevents/historical"

_CONNECT_TIMEOUT_S: Final = 10
_IDLE_CONNECTION_S: Final = 30
_ANSWER_BYTES: Final = 8_192
_GZIP_LEVEL: Final = 1
_CAUSE_CHARS: Final = 200


def open_session(*, requests_in_flight: int, timeout_s: float) -> aiohttp.ClientSession:
    """Open the connections that all feeds of a process share.

    Call it once per process, after the fork and on the running loop: neither survives a fork, and an attempt that
    connects anew pays for it in latency and CPU.

    Args:
        requests_in_flight: How many connections are kept at most; each carries one request at a time.
        timeout_s: One request from its start to the end of the answer.
    """
    connector = aiohttp.TCPConnector(
        limit=requests_in_flight,
        keepalive_timeout=_IDLE_CONNECTION_S,
        ttl_dns_cache=60,
    )
    timeout = aiohttp.ClientTimeout(total=timeout_s, sock_connect=min(_CONNECT_TIMEOUT_S, timeout_s))
    return aiohttp.ClientSession(connector=connector, timeout=timeout, cookie_jar=aiohttp.DummyCookieJar())


def _nothing(_: Answer, __: int) -> None:
    """Count nothing."""


class FeedClient:
    """Sends bodies as one feed.

    Args:
        session: Shared by all feeds of the process, from :func:`open_session`.
        base_url: Up to and including ``/v2``.
        api_key: The input's key.
        api_secret: Its secret, resolved; kept nowhere but in the header it becomes.
        is_gzip: Whether bodies are compressed. mParticle's limits are on what they hold.
        name: What operators call it.
        note: Told of each answer, and of how many bytes were sent for it, as they go over the wire; none where no
            connection came about.
    """

    def __init__(
        self,
        session: aiohttp.ClientSession,
        *,
        base_url: str,
        api_key: str,
        api_secret: str,
        is_gzip: bool = False,
        name: str = "unnamed",
        note: Callable[[Answer, int], object] = _nothing,
    ) -> None:
        self._note = note
        self.name: Final = name
        self.host: Final = URL(base_url).host or base_url
        self.is_gzip: Final = is_gzip
        self._session = session
        self._base_url = base_url.rstrip("/")
        self._urls: dict[str, URL] = {}
        signed = b64encode(f"{api_key}:{api_secret}".encode()).decode()
        headers = CIMultiDict({"Authorization": f"Basic {signed}", "Content-Type": "application/json"})
        if is_gzip:
            headers["Content-Encoding"] = "gzip"
        self._headers: Final = CIMultiDictProxy(headers)

    async def send(self, body: bytes, path: str = BULK_PATH) -> Answer:
        """Send one body once and give the answer; only cancellation is raised.

        Args:
            body: A JSON array of batches, UTF-8.
            path: Below the base URL.

        Source: mParticle HTTP API, "Authentication" and "Bulk events".
        """
        answer: Answer
        url = self._urls.get(path) or self._urls.setdefault(path, URL(self._base_url + path))
        # A body of 256 kB takes a fifth of a millisecond at this level, and the same body always gives the same bytes.
        sent = igzip.compress(body, _GZIP_LEVEL, mtime=0) if self.is_gzip else body
        sent_bytes = len(sent)
        try:
            async with self._session.post(url, data=sent, headers=self._headers, allow_redirects=False) as response:
                answer = read_answer(response.status, response.headers, await _beginning(response.content))
        except TimeoutError as error:
            sent_bytes = 0 if isinstance(error, aiohttp.ConnectionTimeoutError) else sent_bytes
            answer = Unavailable("mParticle did not answer in time")
        except (aiohttp.ClientError, OSError) as error:
            sent_bytes = 0 if isinstance(error, aiohttp.ClientConnectorError) else sent_bytes
            answer = Unavailable(_cause(error))
        self._note(answer, sent_bytes)
        return answer


async def _beginning(content: aiohttp.StreamReader) -> bytes:
    """Read an answer to its end if it is short: the connection is then used again, otherwise closed."""
    text = b""
    while len(text) < _ANSWER_BYTES and not content.at_eof():
        text += await content.read(_ANSWER_BYTES - len(text))
    return text


def _cause(error: Exception) -> str:
    """Say what broke, from the kind of the error and, where the system said it, its words: they name the host."""
    match error:
        case aiohttp.ClientConnectorCertificateError():
            return f"the certificate of {error.host} is not valid"
        case aiohttp.ClientConnectorError():
            return f"{error.host}:{error.port} cannot be reached: {error.strerror or error.os_error}"[:_CAUSE_CHARS]
        case aiohttp.ServerDisconnectedError() | ConnectionResetError() | BrokenPipeError():
            return "the connection was closed before an answer came"
        case OSError() if error.strerror:
            return f"the connection broke: {error.strerror}"[:_CAUSE_CHARS]
        case _:
            return f"the answer is not HTTP ({type(error).__name__})"
