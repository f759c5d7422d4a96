"""``warehouse_sync.probe``: answer one question that somebody waits for.

Never repeated: whoever waits no longer than the question's limit asks again, which is harmless. Answers may hold rows,
so only the store sees them.
"""

from datetime import UTC, datetime
from typing import assert_never

from celery import shared_task

from shared.catalog import Connection, DataModel, Feed, declared_environment
from shared.errors import SyncError, Unexpected
from shared.messages import TaskName, read_payload
from shared.probe import Answer, ProbeKind, Question
from shared.settings import Settings
from shared.store import declared, probes
from shared.store.claims import ClaimLost
from shared.store.probes import ProbeId
from shared.telemetry import bound, log
from worker import probe as stage
from worker.mparticle.check import Checks
from worker.process import Process
from worker.tasks.boundary import recorded, this_process
from worker.tasks.resealing import reseal_all
from worker.warehouses.base import Label
from worker.warehouses.registry import open_warehouse

_log = log(__name__)


@shared_task(name=TaskName.PROBE.value, acks_late=False)
def probe(payload: object) -> None:
    """Answer the question that the payload names, once, if somebody still waits for it."""
    probe_id = ProbeId(read_payload(payload))
    with bound(probe_id=str(probe_id)), recorded():
        process = this_process()
        with process.database.transaction() as connection:
            question = probes.take(connection, probe_id, within_s=process.settings.probe_timeout_s)
        if question is None:
            _log.info("message_out_of_date")
            return

        def save(found: Answer | SyncError) -> None:
            with process.database.transaction() as connection:
                probes.answer(connection, probe_id, found)

        with recorded(put_off=save, stop_run=save):
            save(_answer(process, probe_id, question))
            _log.info("probe_answered", kind=question.kind)


def _answer(process: Process, probe_id: ProbeId, question: Question) -> Answer:
    limits = process.settings
    if question.public_key is not None:
        return Answer(resealing=reseal_all(process, question.public_key))
    label = Label(f"probe {probe_id}", question.pipeline_id)
    connection, subject = _subject(process, question)

    def go_on() -> None:
        with process.database.transaction() as store:
            if not probes.look(store, probe_id).is_taken:  # Whoever asks removes the question when they stop waiting.
                raise ClaimLost

    with open_warehouse(connection, _in_time(limits), label=label) as warehouse:
        if subject is None:
            return stage.sign_in(warehouse)
        match question.kind:
            case ProbeKind.COLUMNS:
                return stage.columns(subject, warehouse)
            case ProbeKind.PREVIEW:
                return stage.preview(subject, warehouse, rows=question.rows, now=datetime.now(UTC), go_on=go_on)
            case ProbeKind.COUNT:
                return stage.count(subject, warehouse, question, go_on=go_on)
            case ProbeKind.COST:
                return stage.cost(subject, warehouse, question)
            case ProbeKind.TEST | ProbeKind.RESEAL:
                raise Unexpected(f"a {question.kind} probe names a pipeline; please report this")
            case _:
                assert_never(question.kind)


def _subject(process: Process, question: Question) -> tuple[Connection, stage.Subject | None]:
    with process.database.transaction() as store:
        if question.connection_id is not None:
            return declared.get(store, Connection, question.connection_id), None
        if question.pipeline_id is None:
            raise Unexpected("a probe names neither a connection nor a pipeline; please report this")
        row = declared.get_pipeline(store, question.pipeline_id)
        connection = declared.get(store, Connection, row.pipeline.connection_id)
        model = declared.get(store, DataModel, row.pipeline.data_model_id)
        transformation = declared.transformation_of(store, row.pipeline)
        feed = declared.get(store, Feed, row.pipeline.feed_id)
    return connection, stage.Subject(
        pipeline=row.pipeline,
        model=model,
        transformation=transformation,
        protection=feed.input_protection_level,
        standing=row.standing,
        environment=declared_environment(row.pipeline, connection),
        checks=Checks(batch_max_bytes=process.settings.batch_max_bytes, limits=row.pipeline.limits),
    )


def _in_time(limits: Settings) -> Settings:
    """Give settings under which no single query outlasts the longest wait.

    Several are asked for one answer, and signing in takes time too. So what runs last, reads rows and may be billed
    is begun only while somebody waits, and ends at most one such time later.
    """
    return limits.model_copy(update={"query_timeout_s": min(limits.query_timeout_s, limits.probe_timeout_s)})
