"""``warehouse-sync doctor``: is everything there that a sync needs, from the state database to each pipeline's columns?

Every finding is one line. What is wrong comes with its cure; one that needs another is not tried where that is missing.
"""

from collections.abc import Iterator

from console.examining.alerts import of_alerts
from console.examining.declarations import of_declarations
from console.examining.exposed import of_ways
from console.examining.finding import Finding
from console.examining.probing import Prober
from console.examining.sealed import of_secrets
from console.examining.services import BROKER, STORE, of_broker, of_store
from console.examining.workers import of_beats, of_spool, of_workers
from console.operations import Operations

__all__ = ["Finding", "examine"]


def examine(operations: Operations, connection_id: str | None = None) -> Iterator[Finding]:
    """Look at everything, or of what is declared at one connection, its pipelines and their feeds.

    Findings come as they are made.
    """
    can_go_on = True
    for look in (of_store, of_broker):
        for finding in look(operations):
            yield finding
            can_go_on = can_go_on and (finding.is_well or finding.subject not in {STORE, BROKER})
    if not can_go_on:
        return
    yield from of_ways(operations)
    prober = Prober(operations)
    yield from of_workers(operations, prober)
    yield from of_beats(operations)
    yield from of_spool(operations, prober)
    yield from of_secrets(operations)
    yield from of_alerts(operations)
    yield from of_declarations(operations, prober, connection_id)
