"""Tasks in this very process, on a real store, broker, spool and stand-in: which message is taken when, a test decides.

No time passes by itself: leases are long, and ``time_passes`` moves them all to an hour ago.
"""

import asyncio
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from enum import Enum, auto
from pathlib import Path
from typing import Any, Final
from uuid import UUID

import duckdb
import sqlalchemy as sa

from sandbox.mparticle import StandIn, sandbox_running
from sandbox.settings import SandboxFeed, SandboxSettings
from shared import broker, catalog
from shared.feed import Feed
from shared.ledger import Ledger
from shared.messages import Message, Queue, TaskName
from shared.providers.duckdb import DuckDbConfig
from shared.run import WORKING, Run, RunId, RunState
from shared.schedule import OnDemand
from shared.store import declared, lives, moves, requests, runs
from shared.store.database import Database
from shared.store.tables import chunks, slices
from shared.store.tables import runs as runs_table
from worker.process import Process
from worker.tasks.alert import alert, try_alerts
from worker.tasks.extract_slice import extract_slice
from worker.tasks.operate import pause, resume, trigger
from worker.tasks.plan_run import plan_run
from worker.tasks.probe import probe
from worker.tasks.settle_run import settle_run
from worker.tasks.upkeep import upkeep
from worker.tasks.upload_chunk import upload_chunk

ROWS: Final = 7
"""Of everybody's query; three chunks."""
QUERY: Final = "SELECT customer_id, firstname, changed_at FROM people"

_TASKS: Final[Mapping[TaskName, Callable[..., None]]] = {
    TaskName.PLAN_RUN: plan_run,
    TaskName.EXTRACT_SLICE: extract_slice,
    TaskName.UPLOAD_CHUNK: upload_chunk,
    TaskName.SETTLE_RUN: settle_run,
    TaskName.UPKEEP: upkeep,
    TaskName.PROBE: probe,
    TaskName.ALERT: alert,
    TaskName.TRY_ALERTS: try_alerts,
    TaskName.TRIGGER: trigger,
    TaskName.PAUSE: pause,
    TaskName.RESUME: resume,
}
_MOST_STEPS: Final = 200


class Killed(BaseException):
    """The process dies here: nothing that handles errors sees it."""


class When(Enum):
    """On which side of a commit a process is struck."""

    BEFORE = auto()
    AFTER = auto()


@dataclass
class Strike:
    """Do ``act`` at the ``nth`` transaction from now on; ``fell`` once that came."""

    nth: int
    when: When
    act: Callable[[], object]
    fell: bool = False


def fails_with(failure: BaseException) -> Callable[[], object]:
    def fail() -> object:
        raise failure

    return fail


class FragileDatabase(Database):
    """A real database; at a chosen commit its connection breaks, the process dies, or the world goes on without it."""

    strike: Strike | None = None
    _begun: int = 0

    @contextmanager
    def transaction(self) -> Iterator[sa.Connection]:
        self._begun += 1
        strike = self.strike if self.strike is not None and self._begun == self.strike.nth else None
        with super().transaction() as connection:
            yield connection
            if strike is not None and strike.when is When.BEFORE:
                self._fall(strike)  # What it raises rolls the transaction back.
        if strike is not None and strike.when is When.AFTER:
            self._fall(strike)  # Committed, and whoever asked for it does not hear of it.

    @contextmanager
    def struck(self, strike: Strike) -> Iterator[None]:
        self.strike, self._begun = strike, 0
        try:
            yield
        except Killed:
            assert strike.fell
        finally:
            self.strike = None

    def _fall(self, strike: Strike) -> None:
        self.strike = None
        strike.fell = True
        strike.act()


@dataclass(frozen=True)
class Desk:
    """One worker process, and a pipeline whenever one is asked for."""

    process: Process
    database: FragileDatabase
    stand_in: StandIn
    feed_url: str
    warehouse: Path
    _names: Iterator[str] = field(default_factory=lambda: (f"people-{number}" for number in range(1000)))

    def pipeline(self, mode: catalog.Incremental | catalog.Full = catalog.Full(), *, query: str = QUERY) -> str:  # noqa: B008 - frozen
        """Declare a pipeline over a warehouse of its own with ``ROWS`` people who are in no other."""
        name = next(self._names)
        file = self.warehouse / f"{name}.duckdb"
        with duckdb.connect(str(file)) as warehouse:
            warehouse.execute(
                f"CREATE TABLE people AS SELECT '{name}-' || i AS customer_id, 'Zoë' AS firstname,"
                f" now()::TIMESTAMP AS changed_at FROM range({ROWS}) t(i)"
            )
        feed = Feed(
            id="sandbox",
            name="sandbox",
            base_url=f"{self.feed_url}/v2",
            api_key="us1-sandbox",
            api_secret="env:WAREHOUSE_SYNC_SECRET_FEED",
            batches_per_s=100_000,
        )
        connection = catalog.Connection(
            id=name, name=name, service_provider=catalog.ServiceProvider.DUCKDB, config=DuckDbConfig(database=file)
        )
        pipeline = catalog.Pipeline(
            id=name,
            name=name,
            connection_id=name,
            data_model_id=name,
            feed_id="sandbox",
            environment=catalog.Environment.DEVELOPMENT,
            sync_mode=mode,
            schedule=OnDemand(delay=timedelta(0)),
        )
        with self.database.transaction() as store:
            for resource in (feed, connection, catalog.DataModel(id=name, name=name, sql_query=query)):
                declared.put(store, resource)
            declared.put_pipeline(store, pipeline)
            lives.activate(store, name)
        return name

    def trigger(self, pipeline_id: str) -> RunId:
        with self.database.transaction() as store:
            asked = requests.trigger(store, pipeline_id, window_chunks=self.window_chunks, max_reopenings=3)
        self.send(*asked.messages)
        (run_id,) = asked.runs
        return run_id

    def retry(self, run_id: RunId) -> None:
        with self.database.transaction() as store:
            asked = moves.retry(store, run_id, window_chunks=self.window_chunks)
        self.send(*asked.messages)

    @property
    def window_chunks(self) -> int:
        return self.process.settings.run_window_chunks

    def send(self, *messages: Message) -> None:
        broker.send(self.process.app, messages)

    def take(self) -> tuple[TaskName, tuple[Any, ...]] | None:
        """Take one message out of the queues, whichever is first; with its acknowledgement."""
        with self.process.app.connection_for_read() as connection:
            channel = connection.default_channel
            for queue in Queue:
                message = channel.basic_get(queue.value)
                if message is not None:
                    message.ack()
                    arguments, _, _ = message.decode()
                    return TaskName(message.headers["task"]), tuple(arguments)
        return None

    def lose_messages(self) -> None:
        while self.take():
            pass

    def take_until(self, task: TaskName) -> tuple[Any, ...]:
        """Do what messages ask for until one is for ``task``; give its arguments, undone."""
        for _ in range(_MOST_STEPS):
            taken = self.take()
            if taken is None:
                raise AssertionError(f"the queues ran empty before a message for {task}")
            if taken[0] is task:
                return taken[1]
            self.do(*taken)
        raise AssertionError(f"no message for {task} came")

    @staticmethod
    def do(task: TaskName, arguments: tuple[Any, ...]) -> None:
        _TASKS[task](*arguments)

    @staticmethod
    def do_at_once(task: TaskName, arguments: tuple[Any, ...], *, times: int) -> None:
        """Do it several times at the same time."""
        with ThreadPoolExecutor(times) as pool:
            for done in [pool.submit(_TASKS[task], *arguments) for _ in range(times)]:
                done.result()

    def finish(self, run_id: RunId, do: Callable[[TaskName, tuple[Any, ...]], None] | None = None) -> Run:
        """Do what messages ask for, and when there are none let time pass and upkeep look, until the run has ended."""
        for _ in range(_MOST_STEPS):
            run = self.run(run_id)
            if run.state not in WORKING:
                return run
            taken = self.take()
            if taken is None:
                self.time_passes()
                upkeep()
            else:
                (do or self.do)(*taken)
        raise AssertionError(f"the run does not end: {self.run(run_id)}")

    def run(self, run_id: RunId) -> Run:
        with self.database.transaction() as store:
            return runs.get(store, run_id)

    def rows(self, query: sa.Select[Any]) -> list[sa.RowMapping]:
        with self.database.transaction() as store:
            return list(store.execute(query).mappings())

    def chunks(self, run_id: RunId) -> list[sa.RowMapping]:
        return self.rows(sa.select(chunks).where(chunks.c.run_id == run_id).order_by(chunks.c.no))

    def slices(self, run_id: RunId) -> list[sa.RowMapping]:
        return self.rows(sa.select(slices).where(slices.c.run_id == run_id).order_by(slices.c.no))

    def time_passes(self, hours: int = 1) -> None:
        """Have every lease lapsed, every wait over and every message overdue."""
        with self.database.transaction() as store:
            for table in (runs_table, slices, chunks):
                earlier = {name: table.c[name] - timedelta(hours=hours) for name in _CLOCKS}
                store.execute(sa.update(table).values(earlier))

    def taken_ids(self) -> dict[str, int]:
        """Give every id that the stand-in took, and how often it was sent."""
        received = self.stand_in.intake.received["us1-sandbox"]
        return {one.source_request_id: one.times for one in received.starting_with("")}


_CLOCKS: Final = ("lease_until", "not_before", "sent_at")


def assert_settled_whole(desk: Desk, run_id: RunId) -> None:
    """See that the run's people were all accepted, each under one id, and that nothing lies about."""
    run = desk.run(run_id)
    assert run.state is RunState.SETTLED, run
    assert run.ledger == Ledger(extracted=ROWS, accepted=ROWS)
    ids = {f"{chunk['id']}:{row}" for chunk in desk.chunks(run_id) for row in range(chunk["rows"])}
    assert len(ids) == ROWS
    of_others = {id_ for id_ in desk.taken_ids() if UUID(id_.partition(":")[0]) not in _chunk_ids(desk)}
    assert not of_others, "ids of chunks that nobody published"
    assert ids <= desk.taken_ids().keys()
    profile = desk.stand_in.intake.profiles.find("customer_id", f"{run.pipeline_id}-{ROWS - 1}")
    assert profile is not None
    assert profile.updates == 1
    assert desk.stand_in.intake.counters.conflicts == 0
    folders = {(one.slice_no, str(one.token)) for one in desk.process.spool.slice_folders() if one.run_id == run_id}
    published = {chunk["path"].split("/")[-2].partition("-") for chunk in desk.chunks(run_id)}
    assert folders == {(int(no), token) for no, _, token in published}, "what dead extractions left is removed"


def _chunk_ids(desk: Desk) -> set[UUID]:
    return {row["id"] for row in desk.rows(sa.select(chunks.c.id))}


@contextmanager
def stand_in_running(secret: str) -> Iterator[tuple[str, StandIn]]:
    """Run a stand-in mParticle in a thread; give its base URL and itself."""
    settings = SandboxSettings(feeds=(SandboxFeed("us1-sandbox", secret),))
    started: list[tuple[str, StandIn]] = []
    is_ready, loop = threading.Event(), asyncio.new_event_loop()
    over = asyncio.Event()

    async def serve() -> None:
        async with sandbox_running(settings) as running:
            started.append(running)
            is_ready.set()
            await over.wait()

    thread = threading.Thread(target=loop.run_until_complete, args=(serve(),))
    thread.start()
    assert is_ready.wait(60)
    try:
        yield started[0]
    finally:
        loop.call_soon_threadsafe(over.set)
        thread.join()
        loop.close()
