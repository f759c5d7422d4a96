"""A whole deployment for tests: real servers, workers, beat and stand-in mParticle, and what a test sees of them."""

import http.client
import json
import os
import random
import signal
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from http import HTTPStatus
from pathlib import Path
from typing import Any, Final, TypeVar
from uuid import UUID

import psutil
import redis
import sqlalchemy as sa

from console.operations import Operations
from sandbox import processes, stack
from sandbox.child import Program
from sandbox.guard import Guard
from sandbox.postgres import Postgres
from sandbox.premises import Premises, prepare_premises
from sandbox.server import STOP_LIMIT_S, Server
from sandbox.services import DATABASE_URL, services_for
from sandbox.supervisor import Patience, Supervisor
from sandbox.valkey import Valkey
from shared import broker
from shared.errors import StoreUnavailable
from shared.messages import Message, Priority, Queue
from shared.run import WORKING, Run, RunId
from shared.spool import Spool
from shared.store.database import Database
from shared.store.declared_tables import pipelines
from shared.store.reject_tables import reject_files
from shared.store.tables import chunks, runs, slices

Found = TypeVar("Found")

LIMIT_S: Final = 60.0
POLL_S: Final = 0.02

LIMITS: Final[Mapping[str, str]] = {
    "WAREHOUSE_SYNC_UPLOAD_LEASE_S": "0.6",
    "WAREHOUSE_SYNC_EXTRACT_LEASE_S": "0.6",
    "WAREHOUSE_SYNC_PLAN_LEASE_S": "0.6",
    "WAREHOUSE_SYNC_UPKEEP_EVERY_S": "0.3",
    "WAREHOUSE_SYNC_RESEND_AFTER_S": "0.3",
    "WAREHOUSE_SYNC_RESEND_MAX_S": "1",
    "WAREHOUSE_SYNC_RETRY_AFTER_S": "0.3",
    "WAREHOUSE_SYNC_CHUNK_RETENTION_S": "3600",
    "WAREHOUSE_SYNC_ATTEMPT_TARGET_S": "1.5",
    "WAREHOUSE_SYNC_PROGRESS_EVERY_S": "0.1",
    "WAREHOUSE_SYNC_BACKOFF_FIRST_S": "0.05",
    "WAREHOUSE_SYNC_BACKOFF_MAX_S": "0.3",
    "WAREHOUSE_SYNC_SILENCE_MAX_S": "1",
    "WAREHOUSE_SYNC_MAX_DEATHS": "1000",
    "WAREHOUSE_SYNC_RUN_WINDOW_CHUNKS": "3",
    "WAREHOUSE_SYNC_CHUNK_MAX_ROWS": "100",
    "WAREHOUSE_SYNC_BODY_MAX_BATCHES": "25",
    "WAREHOUSE_SYNC_REQUESTS_IN_FLIGHT": "2",
    "WAREHOUSE_SYNC_RECORD_BATCH_ROWS": "100",
}
"""Everything that waits, waits briefly; everything that counts, counts small. Several chunks a run, bodies a chunk."""

PLANTED_SECRET: Final = "planted-in-the-environment-8c1f"
"""Of every worker, so that it is found wherever a secret gets to."""
_BESIDES: Final[Mapping[str, str]] = {
    "WAREHOUSE_SYNC_SECRET_PLANTED": PLANTED_SECRET,
    "WAREHOUSE_SYNC_WAREHOUSE_HOSTS": "127.0.0.1",
}

UNWEARYING: Final = Patience(ready_s=120, max_restarts=1000, first_pause_s=0.01, stable_s=0)
"""Restarts what a test kills, as often and as soon as it does."""


@dataclass(frozen=True, slots=True)
class Claim:
    """What a process has claimed: a row of ``table``, by a token."""

    table: sa.Table = field(repr=False)
    id: UUID
    token: UUID
    pid: int


@dataclass(frozen=True, slots=True)
class Deployment:
    """One deployment in a home of its own."""

    premises: Premises
    supervisor: Supervisor
    operations: Operations
    database: Database = field(repr=False)
    guard: Guard = field(repr=False)
    programs: tuple[str, ...] = ()

    @property
    def home(self) -> Path:
        return self.premises.home

    @property
    def postgres(self) -> Postgres:
        return Postgres(self.home)

    @property
    def valkey(self) -> Valkey:
        return Valkey(self.home)

    @property
    def spool(self) -> Spool:
        return Spool.open(self.premises.environment["WAREHOUSE_SYNC_SPOOL_URL"])

    @property
    def secret(self) -> Path:
        return self.home / "secrets" / "feed"

    def rows(self, query: sa.Select[Any]) -> list[sa.RowMapping]:
        with self.database.transaction() as connection:
            return list(connection.execute(query).mappings())

    def run(self, run_id: RunId) -> Run:
        return self.operations.run(run_id)

    def chunks(self, run_id: RunId) -> list[sa.RowMapping]:
        return self.rows(sa.select(chunks).where(chunks.c.run_id == run_id).order_by(chunks.c.no))

    def slices(self, run_id: RunId) -> list[sa.RowMapping]:
        return self.rows(sa.select(slices).where(slices.c.run_id == run_id).order_by(slices.c.no))

    def reject_files(self, run_id: RunId) -> list[sa.RowMapping]:
        return self.rows(sa.select(reject_files).where(reject_files.c.run_id == run_id))

    def standing(self, pipeline_id: str) -> sa.RowMapping:
        (row,) = self.rows(sa.select(pipelines).where(pipelines.c.id == pipeline_id))
        return row

    def counters(self) -> dict[str, Any]:
        counters: dict[str, Any] = self.premises.ask("/counters")
        return counters

    def turn_faults(self, **faults: object) -> None:
        self.premises.ask("/faults", method="PUT", content=faults)

    def received(self, prefix: str) -> dict[str, int]:
        """Which ids that begin so the stand-in took, and how often each was sent to it."""
        lines = fetch(self.premises.feed_port, f"/received?prefix={prefix}").splitlines()
        return {one["source_request_id"]: one["times"] for one in map(json.loads, lines)}

    def until(self, condition: Callable[[], Found | None], what: str, limit_s: float = LIMIT_S) -> Found:
        """Ask until the answer is true, and give it; a store that is down for a moment is asked again."""
        deadline = time.monotonic() + limit_s
        while True:
            with suppress(StoreUnavailable):
                if found := condition():
                    return found
            if time.monotonic() >= deadline:
                raise AssertionError(f"within {limit_s:g} s: {what}. It stands so:\n{self.situation()}")
            time.sleep(POLL_S)

    def ended(self, run_id: RunId, limit_s: float = LIMIT_S) -> Run:
        """Wait until nothing works on the run any more."""

        def over() -> Run | None:
            run = self.run(run_id)
            return None if run.state in WORKING else run

        return self.until(over, f"run {run_id} ends", limit_s)

    def claims(self, run_id: RunId) -> list[Claim]:
        """Every chunk and slice of the run that is claimed at this moment."""
        return [
            Claim(table, row["id"], row["token"], int(row["claimant"].rpartition(":")[2]))
            for table in (slices, chunks)
            for row in self.rows(sa.select(table).where(table.c.run_id == run_id, table.c.token.is_not(None)))
        ]

    def is_held(self, claim: Claim) -> bool:
        return bool(
            self.rows(sa.select(claim.table).where(claim.table.c.id == claim.id, claim.table.c.token == claim.token))
        )

    def held_claim(self, run_id: RunId, table: sa.Table, moment: random.Random, *, within_s: float) -> Claim:
        """Wait for a claim that is just made, and then a random while; give it if it is still held, or try another."""
        seen: set[UUID] = set()

        def one() -> Claim | None:
            found = [claim for claim in self.claims(run_id) if claim.table is table and claim.token not in seen]
            seen.update(claim.token for claim in found)
            if not found:
                run = self.run(run_id)
                assert run.state in WORKING, f"the run was over before it was struck:\n{self.situation()}"
                return None
            claim = moment.choice(found)
            time.sleep(moment.uniform(0, within_s))  # The moment itself, not a wait for anything.
            return claim if self.is_held(claim) else None

        return self.until(one, f"a claim of run {run_id} is held for a while")

    def stopped_claimant(self, run_id: RunId, table: sa.Table, moment: random.Random, *, within_s: float) -> Claim:
        """Stop a process (SIGSTOP) while it holds a claim, and prove that it does: what is stopped gives nothing back.

        The caller kills or continues it.
        """

        def one() -> Claim | None:
            claim = self.held_claim(run_id, table, moment, within_s=within_s)
            os.kill(claim.pid, signal.SIGSTOP)
            if self.is_held(claim):
                return claim
            os.kill(claim.pid, signal.SIGCONT)
            return None

        return self.until(one, f"a claimant of run {run_id} is stopped at work")

    def start_again(self, server: Server) -> None:
        """Start a server that a test has ended, and have it end with this process as the one before would have."""
        server.start()
        if (pid := server.pid) is not None:
            self.guard.watch(pid, server.stop_signal, STOP_LIMIT_S)

    def kill_family(self, name: str) -> None:
        """Kill a program with all its processes at one moment."""
        family = self.supervisor.pids(name)
        for pid in family:
            os.kill(pid, signal.SIGSTOP)
        for pid in family:
            os.kill(pid, signal.SIGKILL)

    @contextmanager
    def frozen(self, *names: str) -> Iterator[None]:
        """Stop programs with all their processes for a block: what only they can do does not happen meanwhile."""
        with ExitStack() as stack:
            for name in names:
                for pid in self.until(partial(self.supervisor.pids, name), f"{name} runs"):
                    os.kill(pid, signal.SIGSTOP)
                    stack.callback(os.kill, pid, signal.SIGCONT)
            yield

    def wake(self) -> None:
        """Continue whatever a test that failed has left stopped."""
        for name in self.programs:
            for pid in self.supervisor.pids(name):
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGCONT)

    def send(self, *messages: Message) -> None:
        broker.send(self.operations._app, messages)

    def lose_messages(self) -> int:
        """Delete every message that waits in a queue, and give how many were not upkeep's."""
        lost = 0
        with redis.Redis.from_url(self.valkey.url) as client:
            for queue in Queue:
                for key in keys_of(queue):
                    found, _ = client.pipeline().llen(key).delete(key).execute()
                    lost += 0 if queue is Queue.CONTROL else found
        return lost

    def logs(self) -> dict[str, str]:
        return {path.stem: path.read_text(errors="replace") for path in sorted((self.home / "logs").glob("*.log"))}

    def situation(self) -> str:
        """Everything that helps to see why a condition is not met."""
        lines = []
        with suppress(StoreUnavailable):
            for table in (pipelines, runs, slices, chunks):
                newest = self.rows(sa.select(table).order_by(sa.desc(sa.literal_column(_AGE[table.name]))).limit(8))
                lines += [f"{table.name}: {_shown(row)}" for row in newest]
        with suppress(redis.RedisError), redis.Redis.from_url(self.valkey.url) as client:
            depths = {queue.value: sum(client.llen(key) for key in keys_of(queue)) for queue in Queue}
            lines.append(f"queues: {depths}")
        with suppress(OSError):
            lines.append(f"stand-in: {self.counters()}, faults {self.premises.ask('/faults')}")
        lines.append(f"supervisor: {self.supervisor.failure}")
        lines += [f"--- {path.name}\n{processes.tail(path)}" for path in sorted((self.home / "logs").glob("*.log"))]
        return "\n".join(lines)


def keys_of(queue: Queue) -> list[str]:
    """Give the lists of a queue in Redis: kombu keeps one for each priority."""
    return [f"{queue.value}\x06\x16{priority}" if priority else queue.value for priority in Priority]


def fetch(port: int, path: str, headers: Mapping[str, str] | None = None) -> bytes:
    """Give what 127.0.0.1 answers to a GET.

    Raises:
        PermissionError: it wants a sign-in.
    """
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        connection.request("GET", path, headers=dict(headers or {}))
        answer = connection.getresponse()
        content = answer.read()
    finally:
        connection.close()
    if answer.status == HTTPStatus.UNAUTHORIZED:
        raise PermissionError(path)
    assert answer.status == HTTPStatus.OK, f"{path}: {answer.status}"
    return content


_AGE: Final = {
    "pipelines": "created_at",
    "runs": "created_at",
    "slices": "coalesce(lease_until, sent_at, not_before)",
    "chunks": "published_at",
}


def _shown(row: sa.RowMapping) -> dict[str, str]:
    left_out = ("snapshot", "document", "checksum", "path")
    return {name: str(value) for name, value in row.items() if value not in (None, 0) and name not in left_out}


@contextmanager
def deployed(
    home: Path,
    *,
    limits: Mapping[str, str] = LIMITS,
    programs: Callable[[Premises, Sequence[Program]], Sequence[Program]] = lambda _, usual: usual,
    feed_arguments: Sequence[str] = (),
) -> Iterator[Deployment]:
    """Bring a deployment up for a block; afterwards nothing of it runs.

    ``programs`` may replace or add to the usual ones.
    """
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("WAREHOUSE_SYNC_")}
    with Guard() as guard, services_for(home, inherited) as services:
        premises = prepare_premises(home.resolve(), services, limits={**_BESIDES, **limits})
        operations = Operations(premises.settings())
        database = Database(premises.environment[DATABASE_URL], pool_size=2)
        try:
            operations.migrate()
            operations.declare(premises.feed())
            size = stack.Size(upload_processes=2, threads=4)
            usual = [
                premises.feed_program(*feed_arguments),
                *stack.workers(premises.home, premises.environment, size=size),
            ]
            chosen = programs(premises, usual)
            with Supervisor(premises.home, chosen, patience=UNWEARYING) as supervisor:
                yield Deployment(premises, supervisor, operations, database, guard, tuple(one.name for one in chosen))
        finally:
            operations.close()
            database.close()
    left = _at_work_in(premises.home)
    assert not left, f"processes left behind: {left}"


def _at_work_in(home: Path) -> list[str]:
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            if Path(process.cwd()).is_relative_to(home) and processes.is_alive(process.pid):
                found.append(f"{process.pid} {process.name()}")
    return found
