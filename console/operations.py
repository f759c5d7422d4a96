"""The verbs of the control plane: declare, trigger, retry, abandon, watch. Every skin calls these and nothing else."""

import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from copy import copy
from typing import Final, Self, TypeVar

from console.accessing import Access
from console.alerting import Alerting
from console.asking import Outcome, ask, ask_all
from console.backfilling import Backfilling
from console.declaring import Declaring
from console.dependencies import Dependencies
from console.lives import Lives
from console.measuring import Measuring
from console.rejecting import Rejecting
from console.resources import Resources
from console.reviewing import Reviewing
from console.sealing import Sealing
from console.watching import Watching
from shared import broker, tracing
from shared.catalog import Connection, Pipeline
from shared.endpoints import service_urls, spool_url
from shared.errors import (
    BrokerUnavailable,
    MoveNotAllowed,
    NotFound,
    Refused,
)
from shared.messages import Queue
from shared.notices import NoticeName
from shared.probe import Answer, Question
from shared.run import WORKING, Run, RunId
from shared.settings import Settings
from shared.spool import Spool
from shared.store import chunks, declared, markers, moves, notices, requests, runs
from shared.store.asked import Asked
from shared.store.database import Database
from shared.store.declared import DeclaredResource, PipelineRow
from shared.store.edits import Watermark

_POOL_SIZE: Final = 10
"""Connections to the state database at once, and as many more for a moment; a server has many requests under way."""

Key = TypeVar("Key")


class Operations:
    """The verbs, bound to one state database and one broker."""

    def __init__(self, settings: Settings) -> None:
        """Connect lazily to what ``settings`` name."""
        self.settings = settings
        urls = service_urls(settings)
        self._app = broker.build_app(settings, broker_url=urls.broker)
        self.measuring = Measuring(settings)
        self._bind(Database(urls.database, pool_size=_POOL_SIZE))

    def acting_as(self, name: str) -> Self:
        """Give the same verbs for somebody: what they change is noted as theirs. Closing one closes both."""
        theirs = copy(self)
        theirs._bind(self._database.acting_as(name))  # noqa: SLF001 - of this class
        return theirs

    def _bind(self, database: Database) -> None:
        settings = self.settings
        self._database = database
        self.access = Access(self._database)
        self.declarations = Declaring(self._database, settings, self._sent)
        self.lives = Lives(self._database, settings, self._sent, self.ask)
        self.history = Backfilling(self._database, settings, self._sent)
        self.rejects = Rejecting(self._database, settings, self._sent)
        self.resources = Resources(self._database, self.declarations)
        self.dependencies = Dependencies(self._database, settings)
        self.watching = Watching(self._database)
        self.review = Reviewing(self._database, self.ask_all)
        self.secrets = Sealing(self._database, settings, self.ask)
        self.alerting = Alerting(self._database, self.ask)

    def check_store(self) -> None:
        """Raise unless the state database answers and has this version's schema.

        Raises:
            StoreUnavailable: it does not answer.
            ServiceUnavailable: its schema is not this version's.
        """
        self._database.require_current_schema()

    def check_broker(self) -> Mapping[Queue, int]:
        """Give how many messages wait in each queue.

        Raises:
            BrokerUnavailable: the broker does not answer.
        """
        return broker.depths(self._app)

    def workers(self) -> Mapping[str, frozenset[str]]:
        """Give the workers that answer now, and the queues that each serves.

        Raises:
            BrokerUnavailable: the broker does not answer.
        """
        return broker.serving(self._app)

    def migrate(self) -> None:
        """Bring the state database up to this version."""
        self._database.migrate()

    def adopt_spool(self) -> None:
        """Record the configured spool as the one that all workers must see, after it was moved on purpose."""
        with self._database.transaction() as connection:
            markers.replace(connection, "spool", Spool.open(spool_url(self.settings)).marker())

    def declare(self, resource: DeclaredResource | Pipeline, watermark: Watermark | None = None) -> bool:
        """Insert or replace a resource and say whether anything changed; see :meth:`Declaring.all`."""
        (is_changed,) = self.declarations.all([resource], watermark)
        return is_changed

    def trigger(self, pipeline_id: str) -> tuple[RunId, ...]:
        """Start a run of a pipeline, or reopen the one that failed; give the runs that are now at work.

        A refusal is kept among the pipeline's notices.

        Raises:
            NotFound: there is no such pipeline.
            AlreadyInProgress: it is busy.
            MoveNotAllowed: it is faulted, or held by a cancelled run.
            BrokerUnavailable: the run is recorded; upkeep sends its message once the broker is back.
        """
        began_ns = tracing.began()
        try:
            with self._database.transaction() as connection:
                asked = requests.trigger(
                    connection,
                    pipeline_id,
                    window_chunks=self.settings.run_window_chunks,
                    max_reopenings=self.settings.max_reopenings,
                )
        except Refused as error:
            with self._database.transaction() as connection:
                notices.add(connection, pipeline_id, NoticeName.REQUEST_REFUSED, str(error))
            raise
        if not asked.runs:
            with self._database.transaction() as connection:
                reason = declared.get_pipeline(connection, pipeline_id).faulted_reason
            raise MoveNotAllowed(f"pipeline {pipeline_id!r} is faulted: {reason}")
        try:
            return self._sent(asked)
        finally:
            tracing.tell_each("trigger", asked.runs, began_ns=began_ns, pipeline_id=pipeline_id)

    def retry(self, run_id: RunId, *, accepts_rejects: bool = False) -> tuple[RunId, ...]:
        """Continue a failed or cancelled run with the same window, chunks and ids."""
        with self._database.transaction() as connection:
            asked = moves.retry(
                connection,
                run_id,
                window_chunks=self.settings.run_window_chunks,
                accepts_rejects=accepts_rejects,
            )
        return self._sent(asked)

    def approve(self, run_id: RunId) -> tuple[RunId, ...]:
        """Let a held run go on with the same window, chunks and ids."""
        with self._database.transaction() as connection:
            asked = moves.approve(connection, run_id, window_chunks=self.settings.run_window_chunks)
        return self._sent(asked)

    def cancel(self, run_id: RunId) -> None:
        """Stop a run until it is retried or abandoned."""
        with self._database.transaction() as connection:
            moves.cancel(connection, run_id)

    def abandon(self, run_id: RunId) -> Run:
        """Give up a failed or cancelled run and free its window; its accepted rows would be sent again."""
        with self._database.transaction() as connection:
            asked = moves.abandon(connection, run_id)
            run = runs.get(connection, run_id)
        self._sent(asked)
        return run

    def find_run(self, named: str, *, pipeline_id: str | None = None) -> RunId:
        """Give the run of that number, or whose id begins so.

        Raises:
            NotFound: no run is named so, or several are; or it is not one of the pipeline's, or there is no such
                pipeline.
        """
        with self._database.transaction() as connection:
            if pipeline_id is not None:
                declared.get_pipeline(connection, pipeline_id)
            run_id = runs.find(connection, named)
            if pipeline_id is not None and runs.get(connection, run_id).pipeline_id != pipeline_id:
                raise NotFound(
                    f"pipeline {pipeline_id!r} has no run {named}; `warehouse-sync runs {pipeline_id}` lists its runs"
                )
            return run_id

    def run(self, run_id: RunId) -> Run:
        """Give one run as it stands."""
        with self._database.transaction() as connection:
            return runs.get(connection, run_id)

    def runs(self, pipeline_id: str | None = None, *, limit: int = 20) -> list[Run]:
        """Give the newest runs, of one pipeline or of all."""
        with self._database.transaction() as connection:
            return runs.newest(connection, pipeline_id, limit=limit)

    def claimants(self, run_ids: Sequence[RunId]) -> Mapping[str, int]:
        """Count the chunks of some runs by the worker process that finished them."""
        with self._database.transaction() as connection:
            return chunks.claimants(connection, run_ids)

    def connections(self) -> list[Connection]:
        """Give every connection by id."""
        with self._database.transaction() as connection:
            return declared.list_all(connection, Connection)

    def pipelines(self) -> list[PipelineRow]:
        """Give every pipeline and where it stands."""
        with self._database.transaction() as connection:
            return declared.list_pipelines(connection)

    def ask(self, question: Question) -> Answer:
        """Have a worker answer a question about a connection or a pipeline, and wait for it.

        Raises:
            NoWorker: no worker took it in time.
            WarehouseBusy: a worker asked the warehouse, which did not answer in time.
            SyncError: what the worker found instead of an answer.
        """
        return ask(self._database, self._app, question, within_s=self.settings.probe_timeout_s)

    def ask_all(self, questions: Mapping[Key, Question]) -> Mapping[Key, Outcome]:
        """Have workers answer several questions at once, within one wait; a question's own error is its outcome."""
        return ask_all(self._database, self._app, questions, within_s=self.settings.probe_timeout_s)

    def watch(self, run_id: RunId, *, every_s: float = 0.25) -> Iterator[Run]:
        """Give the run again and again until nothing works on it any more; the last one given is how it ended."""
        while True:
            run = self.run(run_id)
            yield run
            if run.state not in WORKING:
                return
            time.sleep(every_s)

    def wait(self, run_id: RunId, *, every_s: float = 0.25) -> Run:
        """Wait until nothing works on the run any more, and give it as it ended."""
        return deque(self.watch(run_id, every_s=every_s), maxlen=1)[0]

    def close(self) -> None:
        """Close the connections."""
        self._database.close()
        self.measuring.close()
        self._app.close()

    def _sent(self, asked: Asked) -> tuple[RunId, ...]:
        try:
            broker.send(self._app, asked.messages)
        except BrokerUnavailable as error:
            raise BrokerUnavailable(f"{error}. The run is recorded and starts by itself once it is back") from error
        return asked.runs
