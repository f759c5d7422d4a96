"""A stand-in for mParticle's inbound API, on 127.0.0.1 unless told otherwise.

::

    POST /v2/events  /v2/bulkevents  /v2/bulkevents/historical     as mParticle; Basic sign-in
    the rest                                                       see ``sandbox.control``; no sign-in

Source: mParticle HTTP API. An encoding that is not accepted is answered 415; mParticle
documents no compression and hence no answer to it.
"""

import asyncio
import gc
import signal
import time
import zlib
from base64 import b64encode
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from http import HTTPStatus
from typing import Final

import uvloop
from aiohttp import hdrs, web

from sandbox.control import Control, as_error
from sandbox.faults import Strike
from sandbox.intake import BODY_BYTES, Answer, Door, Intake
from sandbox.ratelimit import EXCEEDED_HEADER
from sandbox.settings import SandboxFeed, SandboxSettings

_SHUTDOWN_S: Final = 0.5
_TOO_LARGE: Final = Answer(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"A body has at most {BODY_BYTES} bytes.")
_GZIP: Final = 16 + zlib.MAX_WBITS


class StandIn:
    """A stand-in mParticle's HTTP surface; the ``intake`` behind it may be looked at directly by a test in process."""

    def __init__(self, settings: SandboxSettings) -> None:
        self.intake = Intake(settings, time.time, time.monotonic)
        self._settings = settings
        self._feeds = {_credentials(feed): feed for feed in settings.feeds}

    def application(self) -> web.Application:
        """Give the aiohttp application that answers for this stand-in."""
        application = web.Application(client_max_size=BODY_BYTES)
        for door in Door:
            application.router.add_post(door.value, self._door(door))
        Control(self.intake, self._settings.storing).add_to(application)
        application.on_shutdown.append(self._release)
        return application

    def _door(self, door: Door) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
        async def receive(request: web.Request) -> web.StreamResponse:
            self.intake.counters.requests += 1
            strike = self.intake.faults.strike()
            if strike.hang:
                await self.intake.faults.wait_for_change()
            if strike.hang or strike.drop_before:
                return self._cut(request)
            answer = await self._answer(door, request, strike)
            if strike.delay_s:
                await asyncio.sleep(strike.delay_s)
            if strike.drop_after:
                return self._cut(request)
            self.intake.counters.answers_by_status[answer.status] += 1
            return _respond(answer)

        return receive

    async def _release(self, _: web.Application) -> None:
        self.intake.faults.release()

    async def _answer(self, door: Door, request: web.Request, strike: Strike) -> Answer:
        credentials = request.headers.get(hdrs.AUTHORIZATION)
        if credentials is None:
            return Answer(HTTPStatus.UNAUTHORIZED, "The request has no Authorization header.")
        scheme, _, token = credentials.partition(" ")
        feed = self._feeds.get(token) if scheme.lower() == "basic" else None
        if feed is None:
            return Answer(HTTPStatus.FORBIDDEN, "The key and the secret are not those of an input.")
        body = await self._body(request)
        if isinstance(body, Answer):
            return body
        if strike.status is not None:
            return self._struck(strike.status)
        return self.intake.take(door, feed, body)

    async def _body(self, request: web.Request) -> bytes | Answer:
        encoding = request.headers.get(hdrs.CONTENT_ENCODING)
        if encoding is not None and not (self._settings.accepts_gzip and encoding.lower() == "gzip"):
            return Answer(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "The body's Content-Encoding is not accepted.")
        try:
            body = await request.read()
        except web.HTTPRequestEntityTooLarge:
            return _TOO_LARGE
        self.intake.counters.wire_bytes += len(body)
        if encoding is not None:
            try:
                body = _decompressed(body)
            except zlib.error:
                return Answer(HTTPStatus.BAD_REQUEST, "The body is not what its Content-Encoding says.")
            if len(body) > BODY_BYTES:
                return _TOO_LARGE
        return body

    def _struck(self, status: HTTPStatus) -> Answer:
        faults = self.intake.faults.faults
        headers: dict[str, str] = {}
        if status is HTTPStatus.TOO_MANY_REQUESTS:
            headers[EXCEEDED_HEADER] = faults.limit_exceeded
        if faults.retry_after_s is not None:
            headers[hdrs.RETRY_AFTER] = str(faults.retry_after_s)
        return Answer(status, "This answer was asked for.", headers)

    def _cut(self, request: web.Request) -> web.StreamResponse:
        """Cut the connection; the answer goes nowhere, and aiohttp takes that for a sender who has left."""
        self.intake.counters.connections_cut += 1
        if request.transport is not None:
            request.transport.abort()
        return web.Response()


@asynccontextmanager
async def sandbox_running(settings: SandboxSettings) -> AsyncIterator[tuple[str, StandIn]]:
    """Run a stand-in in this event loop; give its base URL, without ``/v2``, and itself.

    Raises:
        OSError: the port is taken.
    """
    stand_in = StandIn(settings)
    # aiohttp would close the connection where a body cannot be decompressed; we answer.
    runner = web.AppRunner(stand_in.application(), access_log=None, auto_decompress=False, shutdown_timeout=_SHUTDOWN_S)
    await runner.setup()
    try:
        await web.TCPSite(runner, settings.host, settings.port).start()
        yield f"http://{settings.host}:{runner.addresses[0][1]}", stand_in
    finally:
        await runner.cleanup()


def run_sandbox(settings: SandboxSettings, *, ready: Callable[[str], None]) -> None:
    """Run a stand-in as this process until SIGTERM or SIGINT.

    Args:
        settings: how it is started.
        ready: called once it listens, with its base URL; a feed's own base URL is that and ``/v2``.

    Raises:
        OSError: the port is taken.
    """
    # Parsed batches are many and short-lived, and profiles many and long-lived; neither makes cycles worth a search.
    gc.set_threshold(100_000, 50, 100)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as loop:
        loop.run(_serve(settings, ready))


async def _serve(settings: SandboxSettings, ready: Callable[[str], None]) -> None:
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for name in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(name, stopped.set)
    async with sandbox_running(settings) as (base_url, _):
        ready(base_url)
        await stopped.wait()


def _credentials(feed: SandboxFeed) -> str:
    return b64encode(f"{feed.key}:{feed.secret}".encode()).decode()


def _decompressed(body: bytes) -> bytes:
    """Decompress a gzip body, but no further than to see that it is too large."""
    gzip = zlib.decompressobj(_GZIP)
    whole = gzip.decompress(body, BODY_BYTES + 1)
    if not gzip.eof and len(whole) <= BODY_BYTES:
        raise zlib.error("the body ends before the data does")
    return whole


def _respond(answer: Answer) -> web.Response:
    if answer.status < HTTPStatus.BAD_REQUEST:
        return web.Response(status=answer.status, headers=answer.headers)
    return as_error(answer.status, answer.message, answer.headers)
