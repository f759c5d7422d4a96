"""An app in this process is read while it writes, and ends when nobody reads on."""

import asyncio
from collections.abc import AsyncIterator, Iterator

import httpx
import pytest
from fastapi import FastAPI
from fastapi.responses import StreamingResponse

from console.in_process import InProcess

PARTS = 1000


class Writer:
    """An app that writes many parts, and knows how many it has written."""

    def __init__(self) -> None:
        self.written = 0
        self.app = FastAPI()
        self.app.get("/parts")(self.parts)
        self.app.get("/broken")(self.broken)
        self.app.post("/echo")(self.echo)

    async def _parts(self, breaks_at: int) -> AsyncIterator[bytes]:
        for number in range(PARTS):
            if number == breaks_at:
                raise ValueError("broke")
            self.written += 1
            yield b"%d\n" % number

    def parts(self) -> StreamingResponse:
        return StreamingResponse(self._parts(PARTS))

    def broken(self) -> StreamingResponse:
        return StreamingResponse(self._parts(3))

    def echo(self, given: dict[str, int]) -> dict[str, int]:
        return given


@pytest.fixture
def writer() -> Writer:
    return Writer()


@pytest.fixture
def runner() -> Iterator[asyncio.Runner]:
    with asyncio.Runner() as running:
        yield running


def client(writer: Writer) -> httpx.AsyncClient:
    return httpx.AsyncClient(transport=InProcess(writer.app), base_url="http://here")


def test_the_app_is_never_far_ahead_of_who_reads(writer: Writer, runner: asyncio.Runner) -> None:
    async def read() -> tuple[list[bytes], int]:
        ahead, found = 0, []
        async with client(writer) as http, http.stream("GET", "/parts") as answer:
            async for part in answer.aiter_raw():
                found.append(part)
                await asyncio.sleep(0)
                ahead = max(ahead, writer.written - len(found))
        return found, ahead

    found, ahead = runner.run(read())
    assert b"".join(found) == b"".join(b"%d\n" % number for number in range(PARTS))
    assert ahead < 10


def test_an_answer_that_is_left_ends_its_app(writer: Writer, runner: asyncio.Runner) -> None:
    async def leave() -> None:
        async with client(writer) as http, http.stream("GET", "/parts") as answer:
            await anext(answer.aiter_raw())

    runner.run(asyncio.wait_for(leave(), timeout=30))
    assert writer.written < PARTS


def test_what_an_app_raises_is_raised_to_who_reads(writer: Writer, runner: asyncio.Runner) -> None:
    async def read() -> None:
        async with client(writer) as http:
            await http.get("/broken")

    with pytest.raises(ValueError, match="broke"):
        runner.run(read())


def test_bodies_and_statuses_pass(writer: Writer, runner: asyncio.Runner) -> None:
    async def ask() -> tuple[object, int]:
        async with client(writer) as http:
            return (await http.post("/echo", json={"a": 1})).json(), (await http.get("/nowhere")).status_code

    assert runner.run(ask()) == ({"a": 1}, 404)
