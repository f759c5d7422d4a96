"""What works: workers for every queue, a beat, and the spool as this process and as a worker sees it."""

from collections.abc import Iterator

from console.dependencies import SpoolSeen
from console.examining.finding import Finding, failed
from console.examining.probing import Prober
from console.operations import Operations
from shared.errors import BrokerUnavailable, SyncError
from shared.messages import Queue
from shared.probe import Answer, ProbeKind


def of_workers(operations: Operations, prober: Prober) -> Iterator[Finding]:
    """See that every queue is served; where none serves probes, the prober asks nothing."""
    try:
        serving = operations.workers()
    except BrokerUnavailable as error:
        yield Finding(
            "workers",
            "cannot be asked whether they live",
            f"{error}. The broker's user needs +@pubsub and the channels &* for it",
        )
        return
    unserved = [queue.value for queue in Queue if not any(queue.value in queues for queues in serving.values())]
    if Queue.PROBE.value in unserved:
        prober.give_up()
    if unserved:
        yield Finding(
            "workers",
            f"{len(serving)} answer, and none serves {', '.join(unserved)}",
            "start what is missing; the README lists the commands, `warehouse-sync up` starts all on this machine",
        )
    else:
        yield Finding("workers", f"{len(serving)} answer, and every queue is served")


def of_beats(operations: Operations) -> Iterator[Finding]:
    """See that a beat has ticked within a minute."""
    cure = "start one: `celery -A beat.app beat`; several at once do no harm"
    try:
        known = operations.dependencies.beats()
    except SyncError as error:
        yield failed("beat", error)
        return
    living = [one.name for one in known if not one.is_silent]
    if living:
        yield Finding("beat", f"{len(living)} tick: {', '.join(living)}")
    elif known:
        newest = known[0]
        yield Finding("beat", f"none ticks; {newest.name} did last, {newest.silent.total_seconds():,.0f} s ago", cure)
    else:
        yield Finding("beat", "none has ticked within a day, so nothing starts by its schedule", cure)


def of_spool(operations: Operations, prober: Prober) -> Iterator[Finding]:
    """Try the spool from here, where this process sees it, and from a worker."""
    try:
        seen = operations.dependencies.try_spool()
    except SyncError as error:
        yield failed("spool, from here", error)
    else:
        yield _seen(seen)
    yield from prober.ask("spool, from a worker", _tried_out, ProbeKind.SPOOL)


def _seen(seen: SpoolSeen) -> Finding:
    match seen:
        case SpoolSeen.TRIED:
            return Finding("spool, from here", "may be written, read and removed from")
        case SpoolSeen.NOT_HERE:
            return Finding(
                "spool, from here", "is not seen from here; only `rejects`, `replay` and `purge-rejects` need that"
            )
        case SpoolSeen.ANOTHER:
            return Finding(
                "spool, from here",
                "is another one than the workers'",
                "name theirs in WAREHOUSE_SYNC_SPOOL_URL, or leave it unset where this process needs none; if it was "
                "moved on purpose, `warehouse-sync spool adopt`",
            )


def _tried_out(answer: Answer) -> Finding:
    return Finding("spool, from a worker", "may be written, read and removed from: " + _told(answer))


def _told(answer: Answer) -> str:
    return ", ".join(f"{name} {value}" for name, value in answer.session.items())
