"""The quota: how much of it four upload processes and both lanes use, and what that costs in 429s.

The stand-in enforces mParticle's default quota and, in most cases, an acceleration limit: how many batches one second
may bring beyond the second before. Nobody tells the governor of it. Each case begins with an account that was never
used, so the first figures hold what it costs to find the limit out; the others are of the two minutes after that.
"""

import tempfile
import time
from pathlib import Path
from typing import Any, Final

from bench.fleet import build_users
from bench.lanes import HISTORY_ROWS, LATENCY_S, QUOTA, SIZE, Meter, declared, live_run, saturated
from sandbox import stack
from sandbox.premises import prepare_premises
from sandbox.services import services_for
from sandbox.supervisor import Supervisor
from shared.run import WORKING

_LIVE_ROWS: Final = 2_000
_LEARNING_S: Final = 30
_MEASURED_S: Final = 120
ACCELERATIONS: Final = (None, 54, 27)
"""Batches per second and second: none, and limits that let an account reach the quota in five and in ten seconds."""


def measure(acceleration: int | None) -> dict[str, Any]:
    """Keep both lanes busy against one acceleration limit, and count."""
    limits = ["--batches-per-s", str(QUOTA)]
    if acceleration is not None:
        limits += ["--acceleration-batches-per-s", str(acceleration)]
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder).resolve()
        with services_for(home, {}) as services:
            premises = prepare_premises(home, services)
            build_users(premises.warehouse, rows=HISTORY_ROWS)
            operations = declared(premises, _LIVE_ROWS)
            feed = premises.feed_program("--storing", "off", *limits)
            with Supervisor(home, [feed, *stack.workers(home, premises.environment, size=SIZE)]):
                premises.ask("/faults", method="PUT", content={"delay_s": LATENCY_S})
                whole = Meter(premises)
                history = saturated(operations)

                def busy(seconds: float) -> dict[str, Any]:
                    meter, rows, ends_at = Meter(premises), 0, time.monotonic() + seconds
                    while time.monotonic() < ends_at:
                        rows += live_run(operations)[0]
                    return meter.read(live_rows=rows)

                learning, afterwards = busy(_LEARNING_S), busy(_MEASURED_S)
                if operations.run(history).state not in WORKING:
                    raise RuntimeError("the backfill did not last as long as the measurement")
                in_all = whole.read(live_rows=0)
                operations.cancel(history)
            operations.close()
    answers = {figure: in_all[figure] for figure in ("answers", "answers_429")}
    return {"while learning": learning, "afterwards": afterwards, "since the account's first request": answers}
