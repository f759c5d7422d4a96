"""``warehouse-sync doctor``: is everything there that a sync needs, from the state database to each pipeline's columns?

Every finding is one line. What is wrong comes with its cure; one that needs another is not tried where that is missing.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from console.operations import Operations
from shared.errors import SyncError
from shared.messages import Queue
from shared.probe import Answer, ProbeKind, Question


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at: ``cure`` is ``None`` where it is well."""

    subject: str
    found: str
    cure: str | None = None

    @property
    def is_well(self) -> bool:
        """Whether nothing needs to be done about it."""
        return self.cure is None


def examine(operations: Operations, connection_id: str | None = None) -> Iterator[Finding]:
    """Look at everything, or at one connection and its pipelines; findings come as they are made."""
    store = _tried("state database", operations.check_store, "answers, and its schema is this version's")
    yield store
    broker = _tried("broker", operations.check_broker, "answers")
    yield broker
    if not (store.is_well and broker.is_well):
        return
    yield from _workers(operations)
    declared = operations.connections()
    connections = [one for one in declared if connection_id in (None, one.id)]
    if not declared:
        yield Finding("connections", "none is declared", "declare one: `warehouse-sync apply FILE`")
    elif not connections:
        names = ", ".join(one.id for one in declared)
        yield Finding(
            f"connection {connection_id}", "there is no such connection", f"name one that is declared: {names}"
        )
    for connection in connections:
        signed_in = _asked(operations, f"connection {connection.id}", ProbeKind.TEST, connection_id=connection.id)
        yield signed_in
        if signed_in.is_well:
            for row in operations.pipelines():
                if row.pipeline.connection_id == connection.id:
                    pipeline_id = row.pipeline.id
                    yield _asked(operations, f"pipeline {pipeline_id}", ProbeKind.COLUMNS, pipeline_id=pipeline_id)


def _workers(operations: Operations) -> Iterator[Finding]:
    serving = operations.workers()
    unserved = [queue.value for queue in Queue if not any(queue.value in queues for queues in serving.values())]
    if unserved:
        yield Finding(
            "workers",
            f"{len(serving)} answer, and none serves {', '.join(unserved)}",
            "start what is missing; the README lists the commands, `warehouse-sync up` starts all on this machine",
        )
    else:
        yield Finding("workers", f"{len(serving)} answer, and every queue is served")


def _tried(subject: str, look: Callable[[], object], well: str) -> Finding:
    try:
        look()
    except SyncError as error:
        return Finding(subject, type(error).__name__, str(error))
    return Finding(subject, well)


def _asked(operations: Operations, subject: str, kind: ProbeKind, **of: str) -> Finding:
    try:
        answer = operations.ask(Question.model_validate({"kind": kind, **of}))
    except SyncError as error:
        return Finding(subject, type(error).__name__, str(error))
    return Finding(subject, _well(answer), answer.refused)


def _well(answer: Answer) -> str:
    if answer.columns:
        return f"{len(answer.columns)} columns may be read"
    who = ", ".join(f"{name} {value}" for name, value in answer.session.items())
    return f"signed in: {who}"
