"""What every request passes before any route is looked for: who asks, how much is sent, and one line in the log.

It stands before the routes, so that nobody without a token learns which there are: an unknown path, a wrong method and
a route that forgot to ask who calls are all refused alike. Only ``OPEN`` answers without.
"""

import asyncio
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Any, Final
from uuid import uuid4

from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from console.api.answering import answer_of
from shared.access import Identity
from shared.errors import BodyTooLarge, BodyTooSlow, ServerBusy, SyncError, Unexpected
from shared.telemetry import bound, log

_log = log(__name__)

_HEALTH: Final = ("GET", "/healthz")
OPEN: Final = frozenset({_HEALTH, ("POST", "/oauth/token")})
"""What answers without a token."""
MOST_BYTES: Final = 4 * 1024 * 1024
"""Of a request's body: room for a deployment's declarations with some data plans."""
MOST_BYTES_UNKNOWN: Final = 16 * 1024
"""Of the body of somebody who did not sign in yet."""
WITHIN_S: Final = 60
"""In which a body arrives: 4 MiB over a line of a megabit a second take half of it. And in which a part of an answer,
64 KiB at most, is taken by whoever asked: a reader that has stopped would hold its place for as long as it likes."""
WITHIN_S_UNKNOWN: Final = 10
"""The same of somebody who did not sign in yet."""
MOST_AT_ONCE: Final = 200
"""Requests that are answered at once. Forty have a thread, and the others wait for one: some seconds, at this many."""
REQUEST_ID: Final = "X-Request-Id"

_OURS: Final = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}
_GIVEN_ID: Final = re.compile(r"[A-Za-z0-9._-]{1,64}")
_UNROUTED: Final = "none"

Identify = Callable[[str | None], Identity]
"""Gives whom an ``Authorization`` header identifies, or raises ``SignInRefused``."""


@dataclass(slots=True)
class _Answered:
    """What is known of an answer once it begins."""

    status: int | None = None
    actor: str | None = None
    is_unread: bool = False


class Gate:
    """ASGI middleware; ``identify`` may wait for the store, and is called in a thread."""

    def __init__(self, app: ASGIApp, identify: Identify) -> None:
        self._app = app
        self._identify = identify
        self._places = MOST_AT_ONCE

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let a request through to the routes, or answer why not."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started, answered = time.perf_counter(), _Answered()
        request_id = _request_id(Headers(scope=scope).get(REQUEST_ID))
        with bound(request_id=request_id):
            try:
                await self._pass(scope, receive, _with_our_headers(send, request_id, answered), answered)
            finally:
                _note(scope, answered, time.perf_counter() - started)

    async def _pass(self, scope: Scope, receive: Receive, send: Send, answered: _Answered) -> None:
        headers, most, within_s = Headers(scope=scope), MOST_BYTES_UNKNOWN, WITHIN_S_UNKNOWN
        try:
            if (scope["method"], scope["path"]) not in OPEN:
                who = await run_in_threadpool(self._identify, headers.get("Authorization"))
                scope.setdefault("state", {})["identity"] = who
                answered.actor, most, within_s = who.name, MOST_BYTES, WITHIN_S
            body = await _whole(receive, headers, most, within_s)
            # Whoever watches over a busy server must not take it for a dead one.
            with nullcontext() if (scope["method"], scope["path"]) == _HEALTH else self._place():
                await self._app(scope, body, send)
        except SyncError as error:
            await answer_of(error)(scope, receive, send)
        except Exception as error:  # noqa: BLE001 - the boundary of a request; it is logged, without its text
            if answered.status is None:
                await answer_of(Unexpected.of(error))(scope, receive, send)
            elif answered.is_unread:
                _log.warning("answer_not_read", within_s=WITHIN_S)
            else:
                _log.error("answer_broken_off", error=str(Unexpected.of(error)))

    @contextmanager
    def _place(self) -> Iterator[None]:
        """Hold a place while a request is answered; one whose body is still on its way holds none.

        Raises:
            ServerBusy: all are taken.
        """
        if not self._places:
            raise ServerBusy(
                f"{MOST_AT_ONCE} requests are under way on this server, which is all that it answers at once; ask "
                "again in a few seconds"
            )
        self._places -= 1
        try:
            yield
        finally:
            self._places += 1


class Own:
    """ASGI middleware in the gate's place where a process serves itself alone: whoever runs it asks.

    Failures nobody foresaw are left to be raised: a traceback on somebody's own screen is no answer to others.
    """

    def __init__(self, app: ASGIApp, who: Identity) -> None:
        self._app = app
        self._who = who

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let a request through to the routes."""
        scope.setdefault("state", {})["identity"] = self._who
        await self._app(scope, receive, send)


def _request_id(given: str | None) -> str:
    """Give the caller's id of a request where it can stand in a log line, or a new one."""
    return given if given is not None and _GIVEN_ID.fullmatch(given) else uuid4().hex


def _with_our_headers(send: Send, request_id: str, answered: _Answered) -> Send:
    async def sending(message: Message) -> None:
        if message["type"] == "http.response.start":
            answered.status = message["status"]
            headers = MutableHeaders(scope=message)
            headers.update({**_OURS, REQUEST_ID: request_id})
        try:
            async with asyncio.timeout(WITHIN_S):
                await send(message)
        except TimeoutError:
            answered.is_unread = True
            raise

    return sending


async def _whole(receive: Receive, headers: Headers, most: int, within_s: float) -> Receive:
    """Read a request's body, and give what hands it on.

    Raises:
        BodyTooLarge: it has more than ``most`` bytes, or says so; the rest of it is not read.
        BodyTooSlow: it did not arrive in time.
    """
    told = headers.get("Content-Length", "0")
    refusal = BodyTooLarge(f"the body of a request has {most:,} bytes at most; send less at once")
    if not told.isdecimal() or int(told) > most:
        raise refusal
    parts: list[Message] = []
    read, is_more = 0, True
    try:
        async with asyncio.timeout(within_s):
            while is_more:
                message = await receive()
                parts.append(message)
                read += len(message.get("body", b""))
                if read > most:
                    raise refusal
                is_more = message.get("more_body", False)
    except TimeoutError:
        raise BodyTooSlow(
            f"the body of a request arrives within {within_s:g} s, and {read:,} bytes of this one did; send it again"
        ) from None
    return partial(_next, iter(parts), receive)


async def _next(parts: Any, receive: Receive) -> Message:
    kept: Message | None = next(parts, None)
    return kept if kept is not None else await receive()


def _note(scope: Scope, answered: _Answered, took_s: float) -> None:
    """Log one line: never the path itself, a value of the query, a body or a token."""
    route = getattr(scope.get("route"), "path", _UNROUTED)
    if (scope["method"], route) == _HEALTH:
        return  # Every few seconds, of whoever balances load.
    _log.info(
        "request_answered",
        method=scope["method"] if scope["method"] in _METHODS else _UNROUTED,
        route=route,
        status=answered.status,
        took_ms=round(took_s * 1000),
        actor=answered.actor,
    )


_METHODS: Final = frozenset({"GET", "POST", "PUT", "DELETE", "PATCH", "HEAD", "OPTIONS"})
