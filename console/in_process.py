"""Requests to an ASGI app in this very process, whose answers are read while they are written.

httpx's own transport holds the whole answer in memory; a download of rejected rows may be larger than that.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, MutableMapping
from typing import Any, Final

import httpx

App = Callable[
    [
        MutableMapping[str, Any],
        Callable[[], Awaitable[MutableMapping[str, Any]]],
        Callable[[MutableMapping[str, Any]], Awaitable[None]],
    ],
    Awaitable[None],
]
_AHEAD: Final = 4
"""Parts of an answer that the app may be ahead of who reads it."""


class InProcess(httpx.AsyncBaseTransport):
    """Gives requests to an app, each in a task of its own; what the app raises, the request or its reader raises."""

    def __init__(self, app: App) -> None:
        self._app = app

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Give an answer that has begun."""
        exchange = _Exchange(self._app, request, await request.aread())
        await exchange.is_begun.wait()
        if exchange.status is None:
            await exchange.task
            raise httpx.RemoteProtocolError("the app ended without an answer", request=request)
        return httpx.Response(exchange.status, headers=exchange.headers, stream=exchange)


class _Exchange(httpx.AsyncByteStream):
    """One request, and its answer as it comes."""

    def __init__(self, app: App, request: httpx.Request, content: bytes) -> None:
        self.status: int | None = None
        self.headers: list[tuple[bytes, bytes]] = []
        self.is_begun = asyncio.Event()
        self._content: bytes | None = content
        self._parts: asyncio.Queue[bytes | None] = asyncio.Queue()
        self._room = asyncio.Semaphore(_AHEAD)
        self._is_written = asyncio.Event()
        self.task: asyncio.Future[None] = asyncio.ensure_future(app(_scope(request), self._receive, self._send))
        self.task.add_done_callback(self._ended)

    async def _receive(self) -> MutableMapping[str, Any]:
        if self._content is not None:
            content, self._content = self._content, None
            return {"type": "http.request", "body": content, "more_body": False}
        await self._is_written.wait()
        return {"type": "http.disconnect"}

    async def _send(self, message: MutableMapping[str, Any]) -> None:
        if message["type"] == "http.response.start":
            self.status, self.headers = message["status"], list(message.get("headers", ()))
            self.is_begun.set()
            return
        await self._room.acquire()
        self._parts.put_nowait(message.get("body", b""))
        if not message.get("more_body", False):
            self._is_written.set()

    def _ended(self, _: asyncio.Future[None]) -> None:
        self.is_begun.set()
        self._parts.put_nowait(None)

    async def __aiter__(self) -> AsyncIterator[bytes]:
        while (part := await self._parts.get()) is not None:
            self._room.release()
            yield part
        await self.task

    async def aclose(self) -> None:
        """Wait until the app has ended; one whose answer nobody reads to its end is ended."""
        if not self._is_written.is_set():
            self.task.cancel()
        await asyncio.wait({self.task})


def _scope(request: httpx.Request) -> MutableMapping[str, Any]:
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "method": request.method,
        "headers": [(name.lower(), value) for name, value in request.headers.raw],
        "scheme": request.url.scheme,
        "path": request.url.path,
        "raw_path": request.url.raw_path.split(b"?")[0],
        "query_string": request.url.query,
        "server": (request.url.host, request.url.port),
        "client": ("127.0.0.1", 0),
        "root_path": "",
    }
