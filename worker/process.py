"""What one worker process holds open: settings, store, spool, and an event loop with one HTTP session.

Everything is made at first use, because a prefork worker forks before its tasks run and neither a database
connection nor an event loop survives a fork.
"""

import asyncio
import mmap
import threading
from collections.abc import Coroutine
from concurrent.futures import Future
from functools import cached_property
from typing import Any, Final, TypeVar

import aiohttp
import uvloop

from shared.broker import App
from shared.endpoints import broker_url, database_url, spool_url
from shared.settings import Settings, settings
from shared.spool import Spool
from shared.store.database import Database
from worker.mparticle.client import open_session
from worker.mparticle.governor import Governor

Result = TypeVar("Result")

_stopping: Final = mmap.mmap(-1, 1)
"""One byte that the parent shares with the children it forks: set when a shutdown begins. Without a lock, because a
child that is killed while it holds one would stop all others."""


class Process:
    """One worker process's own connections."""

    def __init__(self, app: App) -> None:
        """Prepare, without opening anything."""
        self.app = app

    @cached_property
    def settings(self) -> Settings:
        """This process's configuration."""
        return settings()

    @cached_property
    def database(self) -> Database:
        """The state database."""
        return Database(database_url(self.settings))

    @cached_property
    def spool(self) -> Spool:
        """Chunks and rejects at rest."""
        return Spool.open(spool_url(self.settings))

    @cached_property
    def session(self) -> aiohttp.ClientSession:
        """The HTTP session that all of this process's requests share."""

        async def make() -> aiohttp.ClientSession:
            return open_session(
                requests_in_flight=self.settings.requests_in_flight, timeout_s=self.settings.request_timeout_s
            )

        return self.run(make())

    @cached_property
    def governor(self) -> Governor:
        """The shared governor of every feed's rate."""

        async def make() -> Governor:
            return Governor.connect(broker_url(self.settings))

        return self.run(make())

    def start(self, work: Coroutine[Any, Any, Result]) -> Future[Result]:
        """Start a coroutine on this process's event loop; any thread may call."""
        return asyncio.run_coroutine_threadsafe(work, self._loop)

    def run(self, work: Coroutine[Any, Any, Result]) -> Result:
        """Run a coroutine on this process's event loop and wait for it; any thread may call."""
        return self.start(work).result()

    @cached_property
    def _loop(self) -> asyncio.AbstractEventLoop:
        loop = uvloop.new_event_loop()
        threading.Thread(target=loop.run_forever, name="event-loop", daemon=True).start()
        return loop


def shut_down() -> None:
    """Ask every upload attempt of this worker to yield; called once, in the parent."""
    _stopping[0] = 1


def is_shutting_down() -> bool:
    """Whether this worker is shutting down, so that attempts should yield."""
    return _stopping[0] == 1
