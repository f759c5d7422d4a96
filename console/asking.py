"""Have a worker answer a question, and wait for it."""

import time
from typing import Final

from shared import broker
from shared.broker import App
from shared.errors import NoWorker, WarehouseBusy
from shared.probe import Answer, Question
from shared.store import probes
from shared.store.database import Database
from shared.store.probes import ProbeId

_LOOK_EVERY_S: Final = 0.05


def ask(database: Database, app: App, question: Question, *, within_s: float) -> Answer:
    """Record a question, send it, and give the answer; whatever comes later, nobody reads.

    Raises:
        NoWorker: no worker took it in time.
        WarehouseBusy: a worker asked the warehouse, which did not answer in time.
        SyncError: what the worker found instead of an answer.
    """
    with database.transaction() as connection:
        probe_id, message = probes.ask(connection, question)
    try:
        broker.send(app, (message,))
        standing = _answered(database, probe_id, within_s)
    finally:
        with database.transaction() as connection:
            probes.forget(connection, probe_id)
    if standing.error is not None:
        raise standing.error
    if standing.answer is not None:
        return standing.answer
    if standing.is_taken:
        raise WarehouseBusy(
            f"the warehouse did not answer within {within_s:g} s; is it asleep, or the query slow? Ask again, or "
            "raise WAREHOUSE_SYNC_PROBE_TIMEOUT_S, here and for the workers"
        )
    raise NoWorker(
        f"no worker took the question within {within_s:g} s: none serves the queue `probe`, or all are busy "
        "extracting. `celery -A worker.app worker -Q probe -P threads` starts one for probes alone"
    )


def _answered(database: Database, probe_id: ProbeId, within_s: float) -> probes.Standing:
    deadline = time.monotonic() + within_s
    while True:
        with database.transaction() as connection:
            standing = probes.look(connection, probe_id)
        if standing.is_over or time.monotonic() >= deadline:
            return standing
        time.sleep(_LOOK_EVERY_S)
