"""``warehouse_sync.probe``: answer one question that somebody waits for.

Answers may hold rows, so only the store sees them.
"""

import socket
from contextlib import AbstractContextManager
from datetime import UTC, datetime
from typing import Final, assert_never

from celery import shared_task

from shared.catalog import Connection
from shared.errors import PayloadUnknown
from shared.messages import TaskName
from shared.probe import Answer, ProbeKind, Question
from shared.run import Lane
from shared.settings import Settings
from shared.store import declared, probes
from shared.store.claims import ClaimLost
from shared.store.probes import ProbeId
from worker import feed_check, sending
from worker import probe as stage
from worker.fitness import place_of_spool, require_common_spool
from worker.mparticle.quota import Quota
from worker.process import Process, is_shutting_down
from worker.sample import read_sample
from worker.tasks.feeds import open_feed
from worker.tasks.questions import answer_once
from worker.tasks.resealing import reseal_all
from worker.tasks.subjects import connection_of, feed_of, model_of, pipeline_of
from worker.upload import UploadLimits
from worker.warehouses.base import Label, Warehouse
from worker.warehouses.registry import open_warehouse

_SENDING_SHARE: Final = 0.5
"""Of the time that somebody waits: what comes before it takes time, too."""


@shared_task(name=TaskName.PROBE.value, acks_late=False)
def probe(payload: object) -> None:
    """Answer the question that the payload names, once, if somebody still waits for it."""
    answer_once(payload, lambda process, probe_id, question: _Asked(process, probe_id, question).answer())


class _Asked:
    """One question, and how its kind is answered."""

    def __init__(self, process: Process, probe_id: ProbeId, question: Question) -> None:
        self._process = process
        self._id = probe_id
        self._question = question

    def answer(self) -> Answer:
        match self._question.kind:
            case ProbeKind.TEST:
                return self._test()
            case ProbeKind.QUERY:
                return self._query()
            case ProbeKind.COLUMNS | ProbeKind.PREVIEW | ProbeKind.COUNT | ProbeKind.COST:
                return self._look()
            case ProbeKind.SEND:
                return self._send()
            case ProbeKind.FEED:
                return self._feed()
            case ProbeKind.SPOOL:
                return self._spool()
            case ProbeKind.RESEAL:
                return Answer(resealing=reseal_all(self._process, str(self._question.public_key)))
            case ProbeKind.ALERTS:
                raise PayloadUnknown("a question about channels of alerts is for the task warehouse_sync.try_alerts")
            case _:
                assert_never(self._question.kind)

    def _test(self) -> Answer:
        with self._process.database.transaction() as store:
            connection = connection_of(store, self._question)
        with self._open(connection) as warehouse:
            return stage.sign_in(warehouse)

    def _query(self) -> Answer:
        with self._process.database.transaction() as store:
            connection, model = connection_of(store, self._question), model_of(store, self._question)
        with self._open(connection) as warehouse:
            return stage.query(model, warehouse, rows=self._question.rows, go_on=self._go_on)

    def _look(self) -> Answer:
        question = self._question
        with self._process.database.transaction() as store:
            asked = pipeline_of(store, question, self._process.settings)
        with self._open(asked.connection) as warehouse:
            if question.kind is ProbeKind.COLUMNS:
                return stage.columns(asked.subject, warehouse)
            if question.kind is ProbeKind.PREVIEW:
                now = datetime.now(UTC)
                return stage.preview(asked.subject, warehouse, rows=question.rows, now=now, go_on=self._go_on)
            if question.kind is ProbeKind.COUNT:
                return stage.count(asked.subject, warehouse, question, go_on=self._go_on)
            return stage.cost(asked.subject, warehouse, question)

    def _send(self) -> Answer:
        process, limits = self._process, self._process.settings
        with process.database.transaction() as store:
            asked = pipeline_of(store, self._question, limits)
        declared.require_may_update(asked.subject.pipeline, asked.feed)
        feed = open_feed(process, asked.feed)  # Whatever is wrong with it, nothing is read for it.
        with self._open(asked.connection) as warehouse:
            sample = read_sample(
                sending.for_development(asked.subject),
                warehouse,
                rows=self._question.rows,
                ids=str(self._id),
                now=datetime.now(UTC),
                go_on=self._go_on,
            )
        self._go_on()
        work = sending.send(
            sample,
            ids=str(self._id),
            feed=feed,
            quota=Quota(process.governor, asked.feed.quota_group, asked.feed.batches_per_s, lane=Lane.LIVE),
            limits=sending.at_most(UploadLimits.of(limits), limits.probe_timeout_s * _SENDING_SHARE),
            stopping=is_shutting_down,
        )
        return process.run(work)

    def _feed(self) -> Answer:
        with self._process.database.transaction() as store:
            feed = feed_of(store, self._question)
        return self._process.run(feed_check.check(open_feed(self._process, feed)))

    def _spool(self) -> Answer:
        require_common_spool(self._process.settings, self._process.database)
        self._process.spool.try_out()
        return Answer(session={"spool": place_of_spool(self._process.settings), "worker": socket.gethostname()})

    def _open(self, connection: Connection) -> AbstractContextManager[Warehouse]:
        label = Label(f"probe {self._id}", self._question.about)
        return open_warehouse(connection, _in_time(self._process.settings), label=label)

    def _go_on(self) -> None:
        """Stop unless somebody still waits: whoever asks removes the question when they stop waiting."""
        with self._process.database.transaction() as store:
            if not probes.look(store, self._id).is_taken:
                raise ClaimLost


def _in_time(limits: Settings) -> Settings:
    """Give settings under which no single query outlasts the longest wait.

    Several are asked for one answer, and signing in takes time too. So what runs last, reads rows and may be billed
    is begun only while somebody waits, and ends at most one such time later.
    """
    return limits.model_copy(update={"query_timeout_s": min(limits.query_timeout_s, limits.probe_timeout_s)})
