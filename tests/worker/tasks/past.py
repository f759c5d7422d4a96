"""A pipeline whose history is being loaded while its users change, and attempts that meet at any point."""

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final

import duckdb
import pytest
import sqlalchemy as sa

from shared.catalog import Incremental, IteratorType
from shared.messages import TaskName
from shared.run import CLOSED, ChunkState, Lane, Run, RunId, RunKind
from shared.store import requests
from shared.store.database import Database
from shared.store.tables import runs
from tests.worker.tasks.desk import Desk, Killed
from worker.mparticle.answers import Answer
from worker.mparticle.client import FeedClient
from worker.tasks.upkeep import upkeep
from worker.tasks.upload_chunk import upload_chunk

USERS: Final = 7
INCREMENTAL: Final = Incremental(iterator_field="changed_at", iterator_data_type=IteratorType.TIMESTAMP_NTZ)
_PATIENCE_S: Final = 60


@dataclass
class Points:
    """The points at which an attempt can be struck: before and after each commit, and each request."""

    strike_at: int = 0
    act: Callable[[], object] | None = None
    passed: int = 0

    @contextmanager
    def struck(self, nth: int, act: Callable[[], object]) -> Iterator[None]:
        """Do ``act`` at the ``nth`` point from now on."""
        self.strike_at, self.act, self.passed = nth, act, 0
        try:
            with suppress(Killed):
                yield
        finally:
            self.act = None

    def reach(self) -> None:
        self.passed += 1
        if self.act is not None and self.passed == self.strike_at:
            act, self.act = self.act, None
            act()


class PointedDatabase(Database):
    """A real database whose commits are points."""

    def __init__(self, url: str, points: Points) -> None:
        super().__init__(url, pool_size=10)
        self._points = points

    @contextmanager
    def transaction(self) -> Iterator[sa.Connection]:
        with super().transaction() as connection:
            yield connection
            self._points.reach()
        self._points.reach()


@dataclass
class Past:
    """One pipeline: its warehouse, the messages about its chunks, and what mParticle was told of each user."""

    desk: Desk
    points: Points
    pipeline_id: str
    initial: RunId
    uploads: list[tuple[Any, ...]] = field(default_factory=list)
    told: dict[str, list[str]] = field(default_factory=dict)
    version: int = 0

    @classmethod
    def of(cls, desk: Desk, points: Points, **more: Any) -> "Past":
        """Read the history of ``USERS`` users, and send nothing of it yet."""
        pipeline_id = desk.pipeline(INCREMENTAL, **more)
        past = cls(desk, points, pipeline_id, desk.trigger(pipeline_id))
        past.read()
        return past

    def user(self, number: int) -> str:
        return f"{self.pipeline_id}-{number}"

    def change(self, *numbers: int, value: str | None = None) -> None:
        """Give some users a newer value in the warehouse."""
        self.version += 1
        with duckdb.connect(str(self.desk.warehouse / f"{self.pipeline_id}.duckdb")) as warehouse:
            warehouse.execute(
                "UPDATE people SET firstname = ?, changed_at = ? WHERE list_contains(?, customer_id)",
                [
                    value or f"v{self.version}",
                    datetime.now(UTC).replace(tzinfo=None),
                    [self.user(one) for one in numbers],
                ],
            )

    def newest(self) -> dict[str, str]:
        """Give each user's value in the warehouse."""
        with duckdb.connect(str(self.desk.warehouse / f"{self.pipeline_id}.duckdb")) as warehouse:
            return dict(warehouse.execute("SELECT customer_id, firstname FROM people").fetchall())

    def read(self) -> None:
        """Do what messages ask for, but keep those about chunks."""
        while taken := self.desk.take():
            if taken[0] is TaskName.UPLOAD_CHUNK:
                self.uploads.append(taken[1])
            else:
                self.desk.do(*taken)

    def read_changes(self) -> None:
        """Have the live lane read what has changed, unless it is busy."""
        if all(run.state in CLOSED for run in self.runs() if run.lane is Lane.LIVE):
            self.desk.trigger(self.pipeline_id)
            self.read()

    def uploads_of(self, *lanes: Lane, even_done: bool = True) -> list[tuple[Any, ...]]:
        """Give the messages about chunks of some lanes."""
        chosen = {
            str(chunk["id"])
            for run in self.runs()
            if run.lane in lanes
            for chunk in self.desk.chunks(run.id)
            if even_done or chunk["state"] != ChunkState.DONE
        }
        return [upload for upload in self.uploads if upload[0]["id"] in chosen]

    def attempt(self, upload: tuple[Any, ...], *, strike_at: int = 0, act: Callable[[], object] = Points) -> None:
        with self.points.struck(strike_at, act):
            upload_chunk(*upload)

    def attempt_beside(
        self,
        upload: tuple[Any, ...],
        *,
        strike_at: int,
        other: tuple[Any, ...],
        until: Callable[[], object] = Points,
    ) -> None:
        """Make an attempt; at a point of it another begins, and gets as far as the first one lets it, or ``until``."""
        with ThreadPoolExecutor(1) as pool:
            begun: list[Future[None]] = []

            def begin() -> None:
                begun.append(pool.submit(upload_chunk, *other))
                self._wait_until_done_or_waiting(begun[0])
                until()

            self.attempt(upload, strike_at=strike_at, act=begin)
            for one in begun:
                one.result(_PATIENCE_S)

    def rescue(self) -> None:
        """Let time pass, and upkeep find what died or was lost."""
        self.desk.time_passes()
        upkeep()
        self.read()

    def finish(self) -> None:
        """Have everything settle, history and present."""
        for _ in range(2):
            self._finish_runs()
            with self.desk.database.transaction() as store:
                asked = requests.trigger(
                    store, self.pipeline_id, window_chunks=self.desk.window_chunks, max_reopenings=3
                )
            self.desk.send(*asked.messages)
        self._finish_runs()
        upkeep()

    def _finish_runs(self) -> None:
        for run in self.runs():
            self.desk.finish(run.id)

    def runs(self) -> list[Run]:
        found = sa.select(runs.c.id).where(runs.c.pipeline_id == self.pipeline_id).order_by(runs.c.created_at)
        return [self.desk.run(row["id"]) for row in self.desk.rows(found)]

    def _wait_until_done_or_waiting(self, other: Future[None]) -> None:
        waits = sa.text(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
        )
        until = time.monotonic() + _PATIENCE_S
        while not other.done():
            with Database.transaction(self.desk.process.database) as connection:
                if connection.scalar(waits):
                    return
            assert time.monotonic() < until, "the other attempt neither ends nor waits"
            threading.Event().wait(0.01)


@pytest.fixture
def points(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> Iterator[Points]:
    """Strike attempts at this desk."""
    points = Points()
    database = PointedDatabase(desk.database.url.render_as_string(hide_password=False), points)
    monkeypatch.setattr(desk.process, "database", database)
    send = FeedClient.send

    async def send_past_points(self: FeedClient, body: bytes, path: str) -> Answer:
        await asyncio.to_thread(points.reach)
        answer = await send(self, body, path)
        await asyncio.to_thread(points.reach)
        return answer

    monkeypatch.setattr(FeedClient, "send", send_past_points)
    yield points
    database.close()


def listen(past: Past, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep every value that mParticle takes of each user, in order."""
    profiles = past.desk.stand_in.intake.profiles
    update = profiles.update

    def note(batch: dict[str, Any], *others: Any) -> bool:
        user = batch["user_identities"]["customer_id"]
        past.told.setdefault(user, []).append(batch["user_attributes"]["firstname"])
        return update(batch, *others)

    monkeypatch.setattr(profiles, "update", note)


def assert_everything_is_newest(past: Past) -> None:
    """See that each user's newest value came last, no older one after a newer one, and each row ended once."""
    runs_of_all = past.runs()
    assert [run.state.value for run in runs_of_all] == ["settled"] * len(runs_of_all)
    for run in runs_of_all:
        assert run.ledger.balances
        assert run.ledger.rejected == run.ledger.unsent == 0
        assert run.kind is RunKind.INITIAL or run.ledger.superseded == 0
        for chunk in past.desk.chunks(run.id):
            assert chunk["accepted"] + chunk["superseded"] == chunk["rows"]
    assert {user: values[-1] for user, values in past.told.items()} == past.newest()
    for user, values in past.told.items():
        versions = [int(value[1:]) if value.startswith("v") else 0 for value in values]
        assert versions == sorted(set(versions)), user
    assert past.desk.stand_in.intake.counters.conflicts == 0
