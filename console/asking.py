"""Have workers answer questions, and wait for them."""

import time
from collections.abc import Mapping
from typing import Final, TypeVar

from shared import broker
from shared.broker import App
from shared.errors import AlertUnsent, FeedUnavailable, NoWorker, SpoolUnavailable, SyncError, WarehouseBusy
from shared.probe import Answer, ProbeKind, Question
from shared.store import probes
from shared.store.database import Database
from shared.store.probes import ProbeId

Key = TypeVar("Key")
Outcome = Answer | SyncError
"""What came of a question."""

_LOOK_EVERY_S: Final = 0.05
_UNTAKEN: Final = {
    False: "none serves the queue `probe`, all are busy extracting, or they are of an earlier release than what is "
    "asked. `celery -A worker.app worker -Q probe -P threads` starts one for probes alone",
    True: "none serves the queue `control`, all are busy, or they are of an earlier release than what is asked. "
    "`celery -A worker.app worker -Q control -P threads` starts one",
}
"""Why nobody may have taken a question: whether it is about channels of alerts, and so for control workers."""


def ask(database: Database, app: App, question: Question, *, within_s: float) -> Answer:
    """Record a question, send it, and give the answer; whatever comes later, nobody reads.

    Raises:
        NoWorker: no worker took it in time.
        WarehouseBusy: a worker asked the warehouse, which did not answer in time.
        FeedUnavailable: a worker asked the feed, which did not; or it was to send rows, and may have.
        SpoolUnavailable: a worker tried the spool, which did not.
        AlertUnsent: a worker tried the channels of alerts, and not all answered.
        SyncError: what the worker found instead of an answer.
    """
    outcome = ask_all(database, app, {None: question}, within_s=within_s)[None]
    if isinstance(outcome, SyncError):
        raise outcome
    return outcome


def ask_all(database: Database, app: App, questions: Mapping[Key, Question], *, within_s: float) -> dict[Key, Outcome]:
    """Ask several questions at once, and give what came of each within one time for all.

    As many are answered side by side as workers have threads for; errors are those that ``ask`` raises.

    Raises:
        StoreUnavailable: the state database does not answer.
        BrokerUnavailable: the broker does not answer.
    """
    with database.transaction() as connection:
        recorded = {key: probes.ask(connection, question) for key, question in questions.items()}
    ids = {key: probe_id for key, (probe_id, _) in recorded.items()}
    try:
        broker.send(app, [message for _, message in recorded.values()])
        standings = _answered(database, ids, within_s)
    finally:
        with database.transaction() as connection:
            for probe_id in ids.values():
                probes.forget(connection, probe_id)
    return {key: _outcome(questions[key], ids[key], standing, within_s) for key, standing in standings.items()}


def _answered(database: Database, ids: Mapping[Key, ProbeId], within_s: float) -> dict[Key, probes.Standing]:
    deadline = time.monotonic() + within_s
    found: dict[Key, probes.Standing] = {}
    while True:
        with database.transaction() as connection:
            for key, probe_id in ids.items():
                if key not in found or not found[key].is_over:
                    found[key] = probes.look(connection, probe_id)
        if all(standing.is_over for standing in found.values()) or time.monotonic() >= deadline:
            return found
        time.sleep(_LOOK_EVERY_S)


def _outcome(question: Question, probe_id: ProbeId, standing: probes.Standing, within_s: float) -> Outcome:
    if standing.error is not None:
        return standing.error
    if standing.answer is not None:
        return standing.answer
    if not standing.is_taken:
        return NoWorker(
            f"no worker took the question within {within_s:g} s: {_UNTAKEN[question.kind is ProbeKind.ALERTS]}"
        )
    longer = "raise WAREHOUSE_SYNC_PROBE_TIMEOUT_S, here and for the workers"
    match question.kind:
        case ProbeKind.SEND:
            return FeedUnavailable(
                f"nothing was heard of the sending within {within_s:g} s, and the rows may have been sent: in the "
                f"environment development, with ids that begin with {probe_id}. Look there before you send again, or "
                f"{longer}"
            )
        case ProbeKind.FEED:
            return FeedUnavailable(f"the feed did not answer within {within_s:g} s; check its base_url, or {longer}")
        case ProbeKind.ALERTS:
            return AlertUnsent(
                f"not every channel answered within {within_s:g} s; look for probe_answered in a control worker's log, "
                f"lower WAREHOUSE_SYNC_ALERT_TIMEOUT_S, or {longer}"
            )
        case ProbeKind.SPOOL:
            return SpoolUnavailable(f"the spool did not answer within {within_s:g} s; check its disk, or {longer}")
        case _:
            return WarehouseBusy(
                f"the warehouse did not answer within {within_s:g} s; is it asleep, or the query slow? Ask again, or "
                f"{longer}"
            )
