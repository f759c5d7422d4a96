"""What was done so far, counted for ever: a row for each pipeline, lane and name, which only ever grows.

Triggers of the database (revision 0006) count what its own rows show, each in the transaction that it belongs to: rows
as they end in a run's ledger, ends of runs, claims of plans, slices and chunks, claims that lapsed, and how long each
chunk that is done had waited and was worked on. So it counts however something happens, by whatever release of a
worker, exactly as often as it happened. What no row shows, the requests to mParticle, is handed to :func:`add`: lost
with a process that is killed first, and counted twice where the answer to the commit is lost.

The triggers add as their transaction commits, and ``add`` is a transaction's last statement: whoever has a row of
totals locked takes no other lock any more. Each statement locks its rows in the order of their names. Whoever counts
for several pipelines in one transaction first takes :func:`alone`.

The names::

    extracted accepted rejected unchanged superseded batches     rows, and batches, of the ledgers
    ended_OUTCOME                                                ends of runs: settled failed cancelled abandoned
    attempts_TASK expired_TASK                                   plan_run extract_slice upload_chunk
    requests_ANSWER sent_bytes                                   what was sent to mParticle
    queue_le_BOUND queue_ms run_le_BOUND run_ms                  chunks that are done, by seconds
"""

from collections.abc import Mapping, Sequence
from typing import Final

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from shared.run import Lane
from shared.store import locks
from shared.store.locks import Lock
from shared.store.total_tables import totals

BOUNDS_S: Final = (0.1, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600, 1800, 3600)
"""How long chunks wait and are worked on is counted by the first of these that is not less, or else by ``inf``."""
LEDGER: Final = ("extracted", "accepted", "rejected", "unchanged", "superseded", "batches")
ENDS: Final = ("settled", "failed", "cancelled", "abandoned")
ANSWERS: Final = ("accepted", "refused", "too_large", "throttled", "unavailable", "sign_in_refused", "not_the_api")
SENT_BYTES: Final = "sent_bytes"
TASKS: Final = ("plan_run", "extract_slice", "upload_chunk")
"""The tasks that claim what they work on."""
_TIMED: Final = "^(queue|run)_"
_OF_LANES: Final = "^(queue|run|attempts|expired)_"


def add(connection: sa.Connection, pipeline_id: str, lane: Lane, counts: Mapping[str, int]) -> None:
    """Add to some totals of a pipeline's lane; the last statement of its transaction."""
    values = [
        {"pipeline_id": pipeline_id, "lane": lane.value, "name": name, "value": counts[name]}
        for name in sorted(counts)
        if counts[name] > 0
    ]
    if values:
        put = insert(totals).values(values)
        more = {"value": totals.c.value + put.excluded.value}
        connection.execute(put.on_conflict_do_update(index_elements=["pipeline_id", "lane", "name"], set_=more))


def alone(connection: sa.Connection) -> None:
    """Wait until no other transaction that asked so counts; the first statement of one that counts for several."""
    locks.take(connection, Lock.COUNTING)


def of_pipelines(connection: sa.Connection, ids: sa.Select[tuple[str]]) -> Sequence[tuple[str, Lane, str, int]]:
    """Give what some pipelines come to, as ``(pipeline, lane, name, value)``; times are told by lanes only."""
    query = sa.select(totals).where(totals.c.pipeline_id.in_(ids), ~totals.c.name.regexp_match(_TIMED))
    return [(row.pipeline_id, Lane(row.lane), row.name, row.value) for row in connection.execute(query)]


def of_lanes(connection: sa.Connection) -> Sequence[tuple[Lane, str, int]]:
    """Give attempts, lapsed claims and times of all pipelines together, as ``(lane, name, value)``."""
    query = (
        sa.select(totals.c.lane, totals.c.name, sa.cast(sa.func.sum(totals.c.value), sa.BigInteger))
        .where(totals.c.name.regexp_match(_OF_LANES))
        .group_by(totals.c.lane, totals.c.name)
    )
    return [(Lane(lane), name, value) for lane, name, value in connection.execute(query)]


def buckets(what: str, counted: Mapping[str, int]) -> list[tuple[str, int]]:
    """Give a histogram of ``queue`` or ``run``: each bound in seconds, and how many were at most that long."""
    found: list[tuple[str, int]] = []
    upto = 0
    for bound in (*(f"{bound:g}" for bound in BOUNDS_S), "inf"):
        upto += counted.get(f"{what}_le_{bound}", 0)
        found.append((bound, upto))
    return found
