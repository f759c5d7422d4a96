"""A connection that says nothing, or says it byte by byte, is not waited for without an end."""

import json
import socket
import threading
import time
from collections.abc import Iterator

import pytest
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from console.protocol import MOST_BYTES_OF_HEAD, Bounded
from console.sockets import opened

WITHIN_S = 0.3
LIMIT_S = 30


class Hasty(Bounded):
    within_s = WITHIN_S
    rest_within_s = 20 * WITHIN_S


async def echoed(request: Request) -> Response:
    return PlainTextResponse(await request.body())


async def answered(_: Request) -> Response:
    return PlainTextResponse("before the body")


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    listener = opened("127.0.0.1", 0, option="--port")
    app = Starlette(routes=[Route("/", echoed, methods=["POST"]), Route("/early", answered, methods=["POST"])])
    server = uvicorn.Server(uvicorn.Config(app, http=Hasty, ws="none", lifespan="off", log_config=None))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
    thread.start()
    yield int(listener.getsockname()[1])
    server.should_exit = True
    thread.join(LIMIT_S)
    listener.close()


@pytest.fixture
def line(port: int) -> Iterator[socket.socket]:
    with socket.create_connection(("127.0.0.1", port), timeout=LIMIT_S) as connected:
        yield connected


def until_closed(line: socket.socket) -> bytes:
    """Give all that comes until the other side closes; waits no longer than a socket's own limit."""
    read = b""
    try:
        while part := line.recv(65_536):
            read += part
    except ConnectionResetError:
        pass
    return read


def test_a_connection_that_says_nothing_is_closed(line: socket.socket) -> None:
    assert until_closed(line) == b""


def test_a_head_that_comes_byte_by_byte_is_not_waited_for(line: socket.socket) -> None:
    until = time.monotonic() + LIMIT_S
    line.settimeout(WITHIN_S / 10)
    for byte in b"POST / HTTP/1.1\r\nX-Long: " + b"a" * 100_000:
        assert time.monotonic() < until, "it was read for as long as it came"
        try:
            line.sendall(bytes([byte]))
            if line.recv(1) == b"":
                return
        except TimeoutError:
            continue
        except (BrokenPipeError, ConnectionResetError):
            return
    pytest.fail("all of it was read")


def test_a_request_that_is_under_way_is_not_cut_off(line: socket.socket) -> None:
    line.sendall(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nConnection: close\r\n\r\na")
    line.settimeout(3 * WITHIN_S)
    with pytest.raises(TimeoutError):
        line.recv(1)
    line.settimeout(LIMIT_S)
    line.sendall(b"b")
    assert until_closed(line).endswith(b"ab")


def test_what_is_left_of_an_answered_request_is_not_read_without_an_end(line: socket.socket) -> None:
    line.sendall(b"POST /early HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n")
    assert line.recv(65_536)
    line.sendall(b"a")
    assert b"HTTP" not in until_closed(line)


def test_who_still_sends_what_was_answered_before_keeps_the_connection(line: socket.socket) -> None:
    line.sendall(b"POST /early HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\n")
    assert line.recv(65_536)
    line.settimeout(2 * WITHIN_S)
    for _ in range(2):
        line.sendall(b"a")
        with pytest.raises(TimeoutError):
            line.recv(1)
    line.settimeout(LIMIT_S)
    line.sendall(b"aaPOST / HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nConnection: close\r\n\r\nbc")
    assert until_closed(line).endswith(b"bc")


def test_a_connection_may_be_used_again(line: socket.socket) -> None:
    for _ in range(3):
        line.sendall(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\na")
        answer = line.recv(65_536)
        while not answer.endswith(b"a"):
            answer += line.recv(65_536)


@pytest.mark.parametrize(
    "sent", [b"hello\r\n\r\n", b"POST / HTTP/1.1\r\nX-Long: " + b"a" * (MOST_BYTES_OF_HEAD + 1)], ids=["odd", "long"]
)
def test_what_is_no_request_is_refused_in_our_shape(line: socket.socket, sent: bytes) -> None:
    line.sendall(sent)
    head, _, body = until_closed(line).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 400 ")
    told = json.loads(body)
    assert (told["statusCode"], told["errors"][0]["code"]) == (400, "DeclarationInvalid")
    assert "no HTTP/1.1 request" in told["errors"][0]["message"]
