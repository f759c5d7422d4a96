"""The lanes: how long small live runs take by themselves, and beside a backfill that wants the whole quota.

The stand-in enforces mParticle's default quota and answers after 50 ms. The backfill is the initial sync of a table
that takes far longer than the measurement. All of it is one account, as all feeds of one ``quota_group`` are.
"""

import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from statistics import quantiles
from typing import Any, Final

from bench.fleet import FILE, build_users
from console.operations import Operations
from sandbox import stack
from sandbox.premises import Premises, prepare_premises
from sandbox.services import services_for
from sandbox.supervisor import Supervisor
from shared import catalog
from shared.run import WORKING, RunId, RunState

_QUOTA: Final = 270
_LATENCY_S: Final = 0.05
_HISTORY_ROWS: Final = 300_000
_SIZE: Final = stack.Size(upload_processes=2)
_LOOK_EVERY_S: Final = 0.05


def measure(rows: int, *, runs: int) -> dict[str, Any]:
    """Sync ``rows`` users in full, ``runs`` times alone and as often beside a backfill, and compare."""
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder).resolve()
        with services_for(home, {}) as services:
            premises = prepare_premises(home, services)
            build_users(premises.warehouse, rows=_HISTORY_ROWS)
            operations = _declared(premises, rows)
            programs = [
                premises.feed_program("--storing", "off", "--batches-per-s", str(_QUOTA)),
                *stack.workers(home, premises.environment, size=_SIZE),
            ]
            with Supervisor(home, programs):
                premises.ask("/faults", method="PUT", content={"delay_s": _LATENCY_S})
                _took_s(operations)  # The first run starts what later ones find started.
                alone = _measured(premises, operations, runs)
                history = _saturated(operations)
                beside = _measured(premises, operations, runs)
                if operations.run(history).state not in WORKING:
                    raise RuntimeError("the backfill did not last as long as the measurement")
                operations.cancel(history)
            operations.close()
    return {
        "live runs alone": alone.figures(),
        "beside a saturated backfill": beside.figures(),
        "beside / alone": {
            "p50": round(beside.percentile_s(50) / alone.percentile_s(50), 3),
            "p95": round(beside.percentile_s(95) / alone.percentile_s(95), 3),
        },
    }


@dataclass
class _Measured:
    """Live runs one after another, and what the stand-in counted from the first to the last, whoever sent it."""

    live_rows: int = 0
    runs_s: list[float] = field(default_factory=list)
    took_s: float = 0.0
    batches: int = 0
    throttled: int = 0

    def percentile_s(self, percent: int) -> float:
        return quantiles(self.runs_s, n=100, method="inclusive")[percent - 1]

    def figures(self) -> dict[str, Any]:
        return {
            "runs": len(self.runs_s),
            "p50_s": round(self.percentile_s(50), 2),
            "p95_s": round(self.percentile_s(95), 2),
            "live_batches_per_s": round(self.live_rows / self.took_s, 1),
            "backfill_batches_per_s": round((self.batches - self.live_rows) / self.took_s, 1),
            "quota_used_percent": round(100 * self.batches / self.took_s / _QUOTA, 1),
            "answers_429": self.throttled,
        }


def _declared(premises: Premises, rows: int) -> Operations:
    operations = Operations(premises.settings())
    operations.migrate()
    incremental = catalog.Incremental(iterator_field="updated_at", iterator_data_type=catalog.IteratorType.TIMESTAMP)
    for resource in (
        premises.feed(batches_per_s=_QUOTA),
        premises.connection(),
        catalog.DataModel(id="users", name="Some users", sql_query=f"{FILE} LIMIT {rows}"),
        catalog.DataModel(id="all-users", name="All users", sql_query=FILE),
        premises.pipeline("live", catalog.Full()),
        premises.pipeline("history", incremental).model_copy(update={"data_model_id": "all-users"}),
    ):
        operations.declare(resource)
    return operations


def _measured(premises: Premises, operations: Operations, runs: int) -> _Measured:
    result, before, began_at = _Measured(), premises.ask("/counters"), time.monotonic()
    for _ in range(runs):
        rows, took_s = _took_s(operations)
        result.live_rows += rows
        result.runs_s.append(took_s)
    after, result.took_s = premises.ask("/counters"), time.monotonic() - began_at
    result.batches = after["batches"] - before["batches"]
    result.throttled = _throttled(after) - _throttled(before)
    return result


def _throttled(counters: dict[str, Any]) -> int:
    return int(counters["answers_by_status"].get("429", 0))


def _took_s(operations: Operations) -> tuple[int, float]:
    (run_id,) = operations.trigger("live")
    run = operations.wait(run_id, every_s=_LOOK_EVERY_S)
    if run.state is not RunState.SETTLED or run.ended_at is None:
        raise RuntimeError(f"the run is {run.state}: {run.error}")
    return run.ledger.accepted, (run.ended_at - run.created_at).total_seconds()


def _saturated(operations: Operations) -> RunId:
    """Begin the backfill, and give its run once bodies of it are accepted."""
    (run_id,) = operations.trigger("history")
    for run in operations.watch(run_id):
        if run.ledger.accepted:
            return run_id
    raise RuntimeError("the backfill ended before it began to send")
