"""``warehouse_sync.trigger``, ``pause`` and ``resume``: operators' verbs for whoever can reach the broker.

Each takes a pipeline's id, as any Celery client or Flower's API sends it. Nobody waits for an answer, so a refusal is
logged and kept with the pipeline. Reaching the broker is an operator's right; these tasks ask for no other, and what
they change is noted as the broker's.
"""

from collections.abc import Callable
from typing import Final

import sqlalchemy as sa
from celery import shared_task

from shared import tracing
from shared.access import BROKER
from shared.errors import SyncError, Transient
from shared.messages import TaskName
from shared.notices import NoticeName
from shared.store import lives, notices, requests
from shared.store.asked import Asked
from shared.store.database import Database
from shared.telemetry import bound, log
from worker.process import Process
from worker.tasks.boundary import deliver, recorded, this_process

_log = log(__name__)
_LONGEST_ID: Final = 200


# Acknowledged early, as all that control workers do: see ``settle_run``. A trigger that is lost starts no run, and one
# that arrives twice is refused, or reads what changed since: nothing is sent twice.
@shared_task(name=TaskName.TRIGGER.value, acks_late=False)
def trigger(pipeline_id: object) -> None:
    """Start a run of a pipeline, or reopen the one that failed."""

    def ask(process: Process, connection: sa.Connection, known: str) -> Asked:
        limits = process.settings
        return requests.trigger(
            connection, known, window_chunks=limits.run_window_chunks, max_reopenings=limits.max_reopenings
        )

    _operate(pipeline_id, ask, must_run=True)


@shared_task(name=TaskName.PAUSE.value, acks_late=False)
def pause(pipeline_id: object) -> None:
    """Start no new run of a pipeline, and claim nothing more of those that are open."""

    def ask(_: Process, connection: sa.Connection, known: str) -> Asked:
        lives.pause(connection, known)
        return Asked((), ())

    _operate(pipeline_id, ask)


@shared_task(name=TaskName.RESUME.value, acks_late=False)
def resume(pipeline_id: object) -> None:
    """Let a paused pipeline go on."""

    def ask(process: Process, connection: sa.Connection, known: str) -> Asked:
        return lives.resume(connection, known, window_chunks=process.settings.run_window_chunks)

    _operate(pipeline_id, ask)


def _operate(
    pipeline_id: object, ask: Callable[[Process, sa.Connection, str], Asked], *, must_run: bool = False
) -> None:
    if not isinstance(pipeline_id, str) or len(pipeline_id) > _LONGEST_ID:
        _log.error("request_refused", error="expected one argument, a pipeline's id; something else was sent")
        return
    process = this_process()
    with bound(pipeline_id=pipeline_id), recorded():
        database, began_ns = process.database.acting_as(BROKER), tracing.began()
        try:
            with database.transaction() as connection:
                asked = ask(process, connection, pipeline_id)
        except Transient:
            raise
        except SyncError as error:
            _refuse(database, pipeline_id, error)
        else:
            # A trigger that starts nothing has found a run that failed too often: the pipeline is faulted now.
            said = "request_refused" if must_run and not asked.runs else "request_accepted"
            _log.info(said, runs=[str(run_id) for run_id in asked.runs])
            deliver(process, asked.messages)
            if must_run:
                tracing.tell_each("trigger", asked.runs, began_ns=began_ns, pipeline_id=pipeline_id)


def _refuse(database: Database, pipeline_id: str, error: SyncError) -> None:
    with database.transaction() as connection:
        notices.add(connection, pipeline_id, NoticeName.REQUEST_REFUSED, str(error))
    _log.error("request_refused", error_kind=type(error).__name__, error=str(error))
