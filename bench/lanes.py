"""The lanes: how long small live runs take by themselves, and beside a backfill that wants the whole quota.

The stand-in enforces mParticle's default quota and answers after 50 ms. The backfill is the initial sync of a table
that takes far longer than the measurement. All of it is one account, as all feeds of one ``quota_group`` are.
"""

import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from statistics import quantiles
from typing import Any, Final, Self

from bench.fleet import FILE, build_users
from console.operations import Operations
from sandbox import stack
from sandbox.premises import Premises, prepare_premises
from sandbox.services import services_for
from sandbox.supervisor import Supervisor
from shared import catalog
from shared.run import WORKING, RunId, RunState

QUOTA: Final = 270
LATENCY_S: Final = 0.05
HISTORY_ROWS: Final = 300_000
SIZE: Final = stack.Size(upload_processes=2)
_LOOK_EVERY_S: Final = 0.05
_BACKFILL_ALONE_S: Final = 20


def measure(rows: int, *, runs: int) -> dict[str, Any]:
    """Sync ``rows`` users in full, ``runs`` times alone and as often beside a backfill, and compare."""
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder).resolve()
        with services_for(home, {}) as services:
            premises = prepare_premises(home, services)
            build_users(premises.warehouse, rows=HISTORY_ROWS)
            operations = declared(premises, rows)
            programs = [
                premises.feed_program("--storing", "off", "--batches-per-s", str(QUOTA)),
                *stack.workers(home, premises.environment, size=SIZE),
            ]
            with Supervisor(home, programs):
                premises.ask("/faults", method="PUT", content={"delay_s": LATENCY_S})
                live_run(operations)  # The first run starts what later ones find started.
                alone = _Runs.of(premises, operations, runs)
                history = saturated(operations)
                meter = Meter(premises)
                time.sleep(_BACKFILL_ALONE_S)
                backfill = meter.read(live_rows=0)
                beside = _Runs.of(premises, operations, runs)
                if operations.run(history).state not in WORKING:
                    raise RuntimeError("the backfill did not last as long as the measurement")
                operations.cancel(history)
            operations.close()
    return {
        "backfill alone": backfill,
        "live runs alone": alone.figures(),
        "live runs beside the backfill": beside.figures(),
        "beside / alone": {
            f"p{percent}": round(beside.took_s(percent) / alone.took_s(percent), 3) for percent in (50, 95)
        },
    }


class Meter:
    """What the stand-in counts from now on, whoever sends it."""

    def __init__(self, premises: Premises) -> None:
        self._premises = premises
        self._began_at = time.monotonic()
        self._before = premises.ask("/counters")

    def read(self, *, live_rows: int) -> dict[str, Any]:
        """Give what was sent a second and refused since then; ``live_rows`` are those of the live runs that ended."""
        seconds, now = time.monotonic() - self._began_at, self._premises.ask("/counters")
        batches = now["batches"] - self._before["batches"]
        """Give rates since the meter was made, and what was refused; ``live_rows`` are those of finished live runs."""
        return {
            "live_batches_per_s": round(live_rows / seconds, 1),
            "backfill_batches_per_s": round((batches - live_rows) / seconds, 1),
            "quota_used_percent": round(100 * batches / seconds / QUOTA, 1),
            "answers": sum(now["answers_by_status"].values()) - sum(self._before["answers_by_status"].values()),
            "answers_429": _throttled(now) - _throttled(self._before),
        }


@dataclass(frozen=True)
class _Runs:
    """Live runs one after another: how long each took, and what the stand-in counted from the first to the last."""

    seconds: list[float]
    counted: dict[str, Any]

    @classmethod
    def of(cls, premises: Premises, operations: Operations, count: int) -> Self:
        meter = Meter(premises)
        runs = [live_run(operations) for _ in range(count)]
        return cls([seconds for _, seconds in runs], meter.read(live_rows=sum(rows for rows, _ in runs)))

    def took_s(self, percent: int) -> float:
        return quantiles(self.seconds, n=100, method="inclusive")[percent - 1]

    def figures(self) -> dict[str, Any]:
        percentiles = {f"p{percent}_s": round(self.took_s(percent), 2) for percent in (50, 95)}
        return {"runs": len(self.seconds), **percentiles, **self.counted}


def declared(premises: Premises, rows: int) -> Operations:
    """Declare the two pipelines: ``live`` of so many users in full, ``history`` of all of them."""
    operations = Operations(premises.settings())
    operations.migrate()
    incremental = catalog.Incremental(iterator_field="updated_at", iterator_data_type=catalog.IteratorType.TIMESTAMP)
    for resource in (
        premises.feed(batches_per_s=QUOTA),
        premises.connection(),
        catalog.DataModel(id="users", name="Some users", sql_query=f"{FILE} LIMIT {rows}"),
        catalog.DataModel(id="all-users", name="All users", sql_query=FILE),
        premises.pipeline("live", catalog.Full()),
        premises.pipeline("history", incremental).model_copy(update={"data_model_id": "all-users"}),
    ):
        operations.declare(resource)
    for pipeline_id in ("live", "history"):
        operations.lives.begin(pipeline_id)
    return operations


def _throttled(counters: dict[str, Any]) -> int:
    return int(counters["answers_by_status"].get("429", 0))


def live_run(operations: Operations) -> tuple[int, float]:
    """Run the live pipeline once; give the rows and seconds it took."""
    (run_id,) = operations.trigger("live")
    run = operations.wait(run_id, every_s=_LOOK_EVERY_S)
    if run.state is not RunState.SETTLED or run.ended_at is None:
        raise RuntimeError(f"the run is {run.state}: {run.error}")
    return run.ledger.accepted, (run.ended_at - run.created_at).total_seconds()


def saturated(operations: Operations) -> RunId:
    """Begin the backfill, and give its run once bodies of it are accepted."""
    (run_id,) = operations.trigger("history")
    for run in operations.watch(run_id):
        if run.ledger.accepted:
            return run_id
    raise RuntimeError("the backfill ended before it began to send")
