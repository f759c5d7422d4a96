"""Around every task: ids in the log, a span, one place where failures become records, messages sent after commit."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import cache
from typing import TypeVar
from uuid import UUID

import sqlalchemy as sa
from celery import Celery, current_app

from shared import broker, tracing
from shared.errors import Broken, BrokerUnavailable, Refused, SyncError, Transient, Unexpected
from shared.messages import Message, TaskName
from shared.run import RunId
from shared.store import claims
from shared.store.claims import ClaimLost
from shared.telemetry import log
from shared.trace_export import Value
from shared.tracing import Span
from worker.process import Process

_log = log(__name__)

Failure = TypeVar("Failure", bound=SyncError)


def _nothing(_: SyncError) -> None:
    """Record nothing: upkeep finds the work as it was."""


@cache
def this_process() -> Process:
    """Give this process's connections; made at first use, which is always after the fork."""
    app: Celery = current_app._get_current_object()  # noqa: SLF001 - Celery's documented way to the real app
    return Process(app)


@contextmanager
def recorded(
    *,
    put_off: Callable[[Transient], object] = _nothing,
    stop_run: Callable[[SyncError], object] = _nothing,
) -> Iterator[None]:
    """Turn whatever the block raises into a record: wait and repeat, stop the run, or (a lost claim) nothing.

    Without arguments only the log keeps it: for what comes before a claim, and what upkeep does again anyway. An
    exception nobody foresaw stops the run too and is raised again without its text, which may hold a row's values.
    """
    try:
        yield
    except Unexpected:
        raise
    except ClaimLost:
        _log.info("claim_lost")
    except Transient as error:
        _log.warning("work_put_off", error_kind=type(error).__name__, error=str(error))
        _record(put_off, error)
    except (Refused, Broken) as error:
        _log.error("run_stopped", error_kind=type(error).__name__, error=str(error))
        _record(stop_run, error)
    except Exception as error:  # noqa: BLE001 - the one place; it is recorded and raised again
        unexpected = Unexpected.of(error)
        _log.error("run_stopped", error_kind="Unexpected", error=str(unexpected))
        _record(stop_run, unexpected)
        raise unexpected from None


def traced(task: TaskName, run_id: RunId, **attributes: Value | None) -> Span:
    """Begin the span of an attempt; a lost claim is told, and is no failure of it."""
    span = Span(task.value.rpartition(".")[2], run_id, harmless=(ClaimLost,))
    span.note(**attributes)
    return span


def queued_s(connection: sa.Connection, table: sa.Table, row_id: UUID) -> float | None:
    """Give how long the message of a claim has waited, if anybody is told; see :func:`claims.queued_s`."""
    return claims.queued_s(connection, table, row_id) if tracing.is_on() else None


def deliver(process: Process, messages: Iterable[Message]) -> None:
    """Send messages whose work is committed; what cannot be sent now, upkeep sends later."""
    waiting = tuple(messages)
    try:
        broker.send(process.app, waiting)
    except BrokerUnavailable as error:
        _log.warning("messages_not_sent", count=len(waiting), error=str(error))


def _record(save: Callable[[Failure], object], error: Failure) -> None:
    try:
        save(error)
    except ClaimLost:
        _log.info("claim_lost")
    except Transient as unsaved:
        # The claim lapses by itself, and upkeep takes it from there.
        _log.warning("failure_not_recorded", error=str(unsaved))
