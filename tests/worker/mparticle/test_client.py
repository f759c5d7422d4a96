"""One request to one feed, against servers that behave and servers that do not."""

import asyncio
import base64
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiohttp import web

from worker.mparticle.answers import (
    Accepted,
    Answer,
    BatchesRefused,
    NotTheApi,
    SignInRefused,
    Throttled,
    TooLarge,
    Unavailable,
)
from worker.mparticle.client import FeedClient, open_session

SECRET = "sëcret:with a colon"
BODY = b'[{"user_identities":{"email":"someone@example.com"}}]'


@asynccontextmanager
async def client_of(
    base_url: str, *, timeout_s: float = 5, in_flight: int = 4, is_gzip: bool = False
) -> AsyncIterator[FeedClient]:
    async with open_session(requests_in_flight=in_flight, timeout_s=timeout_s) as session:
        yield FeedClient(session, base_url=base_url, api_key="us1-key", api_secret=SECRET, is_gzip=is_gzip)


def always(status: int, text: str = "", **headers: str) -> Callable[[Any], Any]:
    async def behaviour(_: object) -> web.StreamResponse:
        return web.Response(status=status, text=text, headers=headers)

    return behaviour


async def answer_of(base_url: str, **options: Any) -> Answer:
    async with client_of(base_url, **options) as client:
        return await client.send(BODY)


def test_a_request_is_the_documented_one(run: Any, feed_server: Any) -> None:
    async def scenario() -> None:
        async with feed_server(always(202)).running() as server, client_of(server.base_url + "/") as client:
            assert await client.send(BODY) == Accepted(None)
            assert await client.send(BODY, "/bulkevents/historical") == Accepted(None)
        first, second = server.requests
        assert (first.path, second.path) == ("/v2/bulkevents", "/v2/bulkevents/historical")
        assert first.body == second.body == BODY
        assert first.headers["Content-Type"] == "application/json"
        scheme, signed = first.headers["Authorization"].split()
        assert scheme == "Basic"
        assert base64.b64decode(signed).decode("utf-8") == f"us1-key:{SECRET}"

    run(scenario())


def test_a_compressed_body_holds_the_same_and_says_so(run: Any, feed_server: Any) -> None:
    async def scenario() -> None:
        async with feed_server(always(202)).running() as server, client_of(server.base_url, is_gzip=True) as client:
            body = b"[" + b",".join([BODY[1:-1]] * 2_000) + b"]"
            assert await client.send(body) == Accepted(None)
        (request,) = server.requests
        assert request.headers["Content-Encoding"] == "gzip"
        assert int(request.headers["Content-Length"]) < len(body) / 10
        assert request.body == body

    run(scenario())


def test_nothing_is_compressed_by_default(run: Any, feed_server: Any) -> None:
    async def scenario() -> None:
        async with feed_server(always(202)).running() as server:
            await answer_of(server.base_url)
        assert "Content-Encoding" not in server.requests[0].headers

    run(scenario())


@pytest.mark.parametrize(
    ("status", "text", "headers", "expected"),
    [
        (202, "", {"X-mp-rate-limit-percentage-used": "92"}, Accepted(92)),
        (202, "some text that nobody promised to leave out", {}, Accepted(None)),
        (400, '{"errors":[{"code":"BAD_REQUEST","message":"no event_type"}]}', {}, BatchesRefused("no event_type")),
        (401, "", {}, SignInRefused(401)),
        (403, "", {}, SignInRefused(403)),
        (413, "", {}, TooLarge()),
        (429, "", {"Retry-After": "3", "X-mp-rate-limit-exceeded": "account"}, Throttled(3, "account")),
        (503, "", {}, Unavailable("mParticle answered HTTP 503")),
        (404, "", {}, NotTheApi(404, "")),
        (200, "Welcome to the wifi", {}, NotTheApi(200, "Welcome to the wifi")),
    ],
)
def test_each_answer_is_told_apart_and_the_connection_is_used_again(
    run: Any, feed_server: Any, status: int, text: str, headers: dict[str, str], expected: Answer
) -> None:
    async def scenario() -> None:
        async with feed_server(always(status, text, **headers)).running() as server:
            async with client_of(server.base_url) as client:
                assert [await client.send(BODY) for _ in range(3)] == [expected] * 3
            assert len({request.peer for request in server.requests}) == 1

    run(scenario())


def test_a_redirect_is_not_followed(run: Any, feed_server: Any) -> None:
    async def scenario() -> None:
        async with feed_server(always(202)).running() as elsewhere:
            behaviour = always(307, "", Location=elsewhere.base_url)
            async with feed_server(behaviour).running() as server:
                assert await answer_of(server.base_url) == NotTheApi(307, "")
            assert elsewhere.requests == []

    run(scenario())


def test_no_more_connections_than_requests_in_flight(run: Any, feed_server: Any) -> None:
    async def scenario() -> None:
        async with feed_server(always(202)).running() as server:
            async with client_of(server.base_url, in_flight=3) as client:
                await asyncio.gather(*(client.send(BODY) for _ in range(30)))
            assert len(server.requests) == 30
            assert server.most_at_once <= 3

    run(scenario())


def test_an_endless_refusal_is_read_in_part_only(run: Any, feed_server: Any) -> None:
    async def behaviour(_: object) -> web.StreamResponse:
        return web.Response(status=400, body=b"a" * 3_000_000)

    async def scenario() -> None:
        async with feed_server(behaviour).running() as server, client_of(server.base_url) as client:
            refused = await client.send(BODY)
            assert isinstance(refused, BatchesRefused)
            assert len(refused.message) == 300
            assert isinstance(await client.send(BODY), BatchesRefused)

    run(scenario())


Raw = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Any]


async def answer_from_raw(raw: Raw, **options: Any) -> Answer:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await raw(reader, writer)
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        return await answer_of(f"http://127.0.0.1:{port}/v2", **options)


async def closes(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
    await reader.readuntil(b"\r\n\r\n")


async def resets(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.readuntil(b"\r\n\r\n")
    # A linger time of zero closes with RST.
    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")


async def speaks_something_else(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.readuntil(b"\r\n\r\n")
    writer.write(b"SSH-2.0-OpenSSH_9.2\r\n")
    await writer.drain()


async def breaks_off(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.readuntil(b"\r\n\r\n")
    writer.write(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 100\r\n\r\nhalf of it")
    await writer.drain()


@pytest.mark.parametrize("raw", [closes, resets, speaks_something_else, breaks_off])
def test_a_broken_connection_is_unavailable_and_says_nothing_secret(run: Any, raw: Raw) -> None:
    unavailable = run(answer_from_raw(raw))
    assert isinstance(unavailable, Unavailable)
    assert unavailable.reason
    assert SECRET not in unavailable.reason
    assert "Basic" not in unavailable.reason


def test_silence_ends_with_the_time_limit(run: Any) -> None:
    async def says_nothing(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
        await reader.read()

    assert run(answer_from_raw(says_nothing, timeout_s=0.1)) == Unavailable("mParticle did not answer in time")


def test_an_answer_before_the_body_is_read_still_counts(run: Any) -> None:
    async def too_large_at_once(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 413 Payload Too Large\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
        await writer.drain()
        await reader.read()

    assert run(answer_from_raw(too_large_at_once)) == TooLarge()


def test_a_refused_connection_and_an_unknown_host_are_unavailable_and_named(run: Any) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
        refused = run(answer_of(f"http://127.0.0.1:{port}/v2"))
    assert isinstance(refused, Unavailable)
    assert f"127.0.0.1:{port}" in refused.reason
    unknown = run(answer_of("https://no-such-host.invalid/v2"))
    assert isinstance(unknown, Unavailable)
    assert "no-such-host.invalid" in unknown.reason


def test_the_client_shows_no_secret(run: Any) -> None:
    async def scenario() -> None:
        async with client_of("https://s2s.us1.mparticle.com/v2") as client:
            assert SECRET not in repr(client)
            assert client.host == "s2s.us1.mparticle.com"

    run(scenario())


def test_cancelling_a_request_leaves_the_client_usable(run: Any, feed_server: Any) -> None:
    arrived, released = asyncio.Event(), asyncio.Event()

    async def slow_at_first(_: object) -> web.StreamResponse:
        if not arrived.is_set():
            arrived.set()
            await released.wait()
        return web.Response(status=202)

    async def scenario() -> None:
        async with feed_server(slow_at_first).running() as server, client_of(server.base_url, in_flight=1) as client:
            cancelled = asyncio.create_task(client.send(BODY))
            await arrived.wait()
            cancelled.cancel()
            with pytest.raises(asyncio.CancelledError):
                await cancelled
            assert await client.send(BODY) == Accepted(None)
            released.set()

    run(scenario())
