"""What an upload meets outside: a Valkey, and a server that answers as a test wants."""

import asyncio
import os
import warnings
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, TypeVar

import pytest
import uvloop
from aiohttp import web

from sandbox.services import DATABASE_URL, services_for
from sandbox.valkey import Valkey

Result = TypeVar("Result")

LIMIT_S = 120
"""What takes a second or two may take ten times as long on a machine that has other things to do."""


class Run(Protocol):
    """Runs a coroutine on the kind of loop that workers use."""

    def __call__(self, work: Coroutine[Any, Any, Result]) -> Result: ...


@pytest.fixture
def run() -> Run:
    """Run a coroutine to its end, within a limit, and insist that it left no task and no connection behind."""

    async def bounded(work: Coroutine[Any, Any, Result]) -> Result:
        result = await asyncio.wait_for(work, LIMIT_S)
        await asyncio.sleep(0)
        left = asyncio.all_tasks() - {asyncio.current_task()}
        assert not left, f"tasks left behind: {left}"
        return result

    def start(work: Coroutine[Any, Any, Result]) -> Result:
        runner = asyncio.Runner(loop_factory=uvloop.new_event_loop)
        try:
            result = runner.run(bounded(work))
        finally:
            # Before uvloop closes what was left open it warns. If that raises, as all warnings do in these tests, the
            # thing stays open, and closing the loop waits for it for ever: in C, where no signal and so no time limit
            # reaches it. A scenario that fails before it closes everything would never say so.
            with warnings.catch_warnings(record=True) as left_open:
                warnings.simplefilter("always")
                runner.close()
        assert not left_open, f"left open: {[str(one.message) for one in left_open]}"
        return result

    return start


@pytest.fixture(scope="session")
def valkey(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Valkey]:
    """A Valkey of this test session's own, that a test may stop and start again."""
    home: Path = tmp_path_factory.mktemp("home")
    with services_for(home, {**os.environ, DATABASE_URL: "postgresql://not-needed"}):
        yield Valkey(home)


@dataclass
class Request:
    """What the server was sent."""

    path: str
    headers: Mapping[str, str]
    body: bytes
    peer: object


Behaviour = Callable[[Request], Awaitable[web.StreamResponse]]


@dataclass
class FeedServer:
    """Answers each request as ``behaviour`` says, and keeps what it was sent."""

    behaviour: Behaviour
    base_url: str = ""
    requests: list[Request] = field(default_factory=list)
    most_at_once: int = 0
    _at_once: int = 0

    @asynccontextmanager
    async def running(self) -> AsyncIterator["FeedServer"]:
        """Serve on a port of its own."""
        server = web.Server(self._answer)
        runner = web.ServerRunner(server, shutdown_timeout=0)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        host, port = runner.addresses[0][:2]
        self.base_url = f"http://{host}:{port}/v2"
        try:
            yield self
        finally:
            await runner.cleanup()

    async def _answer(self, request: web.BaseRequest) -> web.StreamResponse:
        self._at_once += 1
        self.most_at_once = max(self.most_at_once, self._at_once)
        try:
            peer = request.transport.get_extra_info("peername") if request.transport else None
            seen = Request(request.path, request.headers, await request.read(), peer)
            self.requests.append(seen)
            return await self.behaviour(seen)
        finally:
            self._at_once -= 1


@pytest.fixture
def feed_server() -> type[FeedServer]:
    """The kind of server that stands in for mParticle where a test needs an exact answer."""
    return FeedServer
