"""People in a warehouse file of their own, the pipeline that reads them, and the proof that each arrived once."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import duckdb

from shared import catalog
from shared.ledger import Ledger
from shared.providers.duckdb import DuckDbConfig
from shared.run import ChunkState, Lane, Run, RunId, RunKind, RunState
from shared.schedule import OnDemand, Schedule
from shared.store.edits import Watermark
from tests.system.deployment import Deployment

INCREMENTAL: Final = catalog.Incremental(iterator_field="changed_at", iterator_data_type=catalog.IteratorType.TIMESTAMP)
PLANTED: Final = "planted.example"
"""In every person's e-mail address and first name, so that it is found wherever a row's value gets to."""
QUERY: Final = "SELECT customer_id, email, firstname, score, changed_at FROM people"
SLOW_QUERY: Final = f"{QUERY} WHERE sleep_ms(1) IS NULL"
"""A millisecond a person, without any work."""


@dataclass(frozen=True, slots=True)
class People:
    """A pipeline and its own warehouse; ``id`` names the pipeline, its connection and its data model."""

    deployment: Deployment
    id: str

    @property
    def file(self) -> Path:
        return self.deployment.premises.warehouse.parent / f"{self.id}.duckdb"

    def declare(
        self,
        mode: catalog.Incremental | catalog.Full = INCREMENTAL,
        *,
        query: str = QUERY,
        feed_id: str = "sandbox",
        environment: catalog.Environment | None = catalog.Environment.DEVELOPMENT,
        schedule: Schedule = OnDemand(delay=timedelta(0)),  # noqa: B008 - frozen
    ) -> None:
        operations = self.deployment.operations
        operations.declare(
            catalog.Connection(
                id=self.id,
                name=self.id,
                service_provider=catalog.ServiceProvider.DUCKDB,
                config=DuckDbConfig(database=self.file),
            )
        )
        operations.declare(catalog.DataModel(id=self.id, name=self.id, sql_query=query), Watermark.KEEP)
        operations.declare(
            catalog.Pipeline(
                id=self.id,
                name=self.id,
                connection_id=self.id,
                data_model_id=self.id,
                feed_id=feed_id,
                environment=environment,
                sync_mode=mode,
                schedule=schedule,
            ),
            Watermark.KEEP,
        )
        operations.lives.begin(self.id)

    def add(self, count: int, *, changed_at: datetime | None = None, iterator: str = "TIMESTAMP") -> None:
        """Add people who are in no other warehouse; changed just now unless told otherwise."""
        when = changed_at or datetime.now(UTC)
        self.write(
            f"""
            CREATE TABLE IF NOT EXISTS people (
                customer_id VARCHAR, email VARCHAR, firstname VARCHAR, score DOUBLE, changed_at {iterator}
            );
            INSERT INTO people
            SELECT
                '{self.id}-' || i, '{self.id}-' || i || '@{PLANTED}', 'Zoë {PLANTED}', i / 7,
                TIMESTAMP '{_local(when)}'
            FROM range((SELECT count(*) FROM people), (SELECT count(*) FROM people) + {count}) t(i)
            """
        )

    def write(self, statements: str) -> None:
        with duckdb.connect(str(self.file)) as warehouse:
            warehouse.execute(statements)

    def trigger(self) -> RunId:
        (run_id,) = self.deployment.operations.trigger(self.id)
        return run_id

    def settle(self) -> Run:
        """Trigger a run and see it settled."""
        return self.expect(self.trigger(), RunState.SETTLED)

    def declare_past_history(self, *, query: str = QUERY) -> None:
        """Declare a pipeline whose initial sync found nobody, so that its next run is on the live lane."""
        self.declare(query=query)
        self.add(0)
        self.settle()

    def expect(self, run_id: RunId, state: RunState) -> Run:
        run = self.deployment.ended(run_id)
        assert run.state is state, f"{run}\n{self.deployment.situation()}"
        return run

    def profile(self, number: int) -> dict[str, Any]:
        found: dict[str, Any] = self.deployment.premises.ask(f"/profiles?customer_id={self.id}-{number}")
        return found


@dataclass(frozen=True, slots=True)
class Begun:
    """A run that has just been triggered, and the stand-in's counters from before it."""

    id: RunId
    lane: Lane
    before: Mapping[str, Any]

    def worker(self, work: str) -> str:
        """The name of the worker that does such work (``extract``, ``upload``) in the run's lane."""
        return work if self.lane is Lane.LIVE else f"{work}-backfill"


def begin(people: People, seed: int, *, rows: int, query: str = QUERY, answer_after_s: float = 0.2) -> Begun:
    """Trigger a run over so many people: for even seeds an initial sync, for odd ones a live run after it."""
    if seed % 2:
        people.declare_past_history(query=query)
    else:
        people.declare(query=query)
    people.add(rows)
    people.deployment.turn_faults(delay_s=answer_after_s)
    before = people.deployment.counters()
    return Begun(people.trigger(), Lane.LIVE if seed % 2 else Lane.BACKFILL, before)


def assert_arrived_once(people: People, run_id: RunId, *, rows: int, before: Mapping[str, Any]) -> Run:
    """See a run settled whose people were all new: each is in the stand-in once, and the marks are right.

    ``before`` are the stand-in's counters from before the run. What was sent again counts there as a duplicate, that
    is as recognised by its id with the same content.
    """
    deployment = people.deployment
    run = people.expect(run_id, RunState.SETTLED)
    assert run.ledger == Ledger(extracted=rows, accepted=rows)
    after = deployment.counters()
    grown = {name: after[name] - before[name] for name in ("batches", "profiles", "conflicts", "without_id", "dropped")}
    assert grown == {"batches": rows, "profiles": rows, "conflicts": 0, "without_id": 0, "dropped": 0}
    for chunk in deployment.chunks(run_id):
        assert chunk["state"] == ChunkState.DONE
        assert deployment.received(f"{chunk['id']}:").keys() == {f"{chunk['id']}:{row}" for row in range(chunk["rows"])}
    assert sum(chunk["rows"] for chunk in deployment.chunks(run_id)) == rows
    standing = deployment.standing(people.id)
    if run.kind is RunKind.INITIAL:
        assert standing["history_to"] == standing["history_settled_to"] == standing["watermark"] == run.window.high
    else:
        assert standing["watermark"] == run.window.high
    assert_spool_holds_only_chunks(deployment, run_id)
    return run


def assert_spool_holds_only_chunks(deployment: Deployment, run_id: RunId) -> None:
    """See that nothing is left of extractions that died or lost their claim."""
    known = {str(Path(chunk["path"]).parent) for chunk in deployment.chunks(run_id)}

    def tidy() -> bool:
        folders = [folder for folder in deployment.spool.slice_folders() if folder.run_id == run_id]
        return {f"runs/{folder.run_id}/{folder.slice_no}-{folder.token}" for folder in folders} == known

    deployment.until(tidy, f"the spool holds only the published chunks of run {run_id}")


def _local(when: datetime) -> str:
    return when.astimezone(UTC).replace(tzinfo=None).isoformat(sep=" ")
