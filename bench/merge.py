"""How many batches events become where those of one user share one, because the quota counts batches.

Users are as unlike as they are in life: most of 20,000 have one event or two, a few have 50, five on average. Only rows
of one chunk can share a batch, so their order decides. Three are measured:

``in visits``
    The order of time; a user comes for some minutes, and a visit has eight events at most.
``evenly``
    The order of time, with every event at any time of the day: the worst case.
``by identity``
    The rows of a user stand together, as ordering the extraction by identity has it.

Usage: python -m bench.merge [--users N]
"""

import argparse
import json
import statistics
import time
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from bench.encode import CHUNK_ID, CHUNK_ROWS, PURCHASES, SEED, purchases
from worker.mparticle.bodies import pack
from worker.mparticle.check import Checks
from worker.mparticle.encode import APART, Encoder, Merging

USERS: Final = 20_000
ORDERS: Final = ("in visits", "evenly", "by identity")

_MOST_EVENTS: Final = 50
_SKEW: Final = 1.5
_DAY_MS: Final = 86_400_000
_VISIT_MS: Final = 600_000
_VISIT_EVENTS: Final = 8
_SHARED: Final = Merging(max_events=100)
_MAX_BATCHES: Final = 100
_MAX_EVENTS: Final = 100
_MAX_BYTES: Final = 256_000

Numbers = npt.NDArray[np.int64]


def stream(users: int, order: str) -> Any:
    """Make the events of a day in one of the orders; a user has one device."""
    random = np.random.default_rng(SEED)
    counts = np.arange(1, _MOST_EVENTS + 1)
    weights = counts**-_SKEW
    events = random.choice(counts, users, p=weights / weights.sum())
    owners = np.repeat(np.arange(users), events)
    at = _times(random, owners, order)
    sequence = np.argsort(at, kind="stable") if order != "by identity" else np.arange(len(owners))
    owners, at = owners[sequence], at[sequence]
    table = purchases(len(owners))
    own = {
        "customer_id": pa.array([f"cus_{owner:010}" for owner in owners.tolist()]),
        "email": pa.array([f"user.{owner}@example.com" for owner in owners.tolist()]),
        "happened_at": pa.array(1_790_000_000_000 + at).cast(pa.timestamp("ms", "UTC")),
        "os_version": pa.array(["17.1", "16.4.1", "14", "13"]).take(pa.array(owners % 4)),
        "platform": pa.array(["iOS", "Android", "web"]).take(pa.array(owners % 3)),
    }
    return pa.table({name: own.get(name, table.column(name)) for name in table.column_names})


def measure(users: int = USERS, repetitions: int = 5) -> dict[str, dict[str, Any]]:
    """Give, for each order of the rows, batches and bodies with and without sharing, and rows a second with it."""
    return {order: _compared(stream(users, order), repetitions) for order in ORDERS}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="batches of events, apart and shared")
    parser.add_argument("--users", type=int, default=USERS)
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of a table")
    arguments = parser.parse_args()
    pa.set_cpu_count(1)
    results = measure(arguments.users)
    if arguments.json:
        print(json.dumps({"bench": "merge", "results": results}))
        return
    for order, figures in results.items():
        print(order)
        for name, value in figures.items():
            print(f"  {name:<24}{value:>14,}")


def _times(random: np.random.Generator, owners: Numbers, order: str) -> Numbers:
    """Give when each event happened, in ms since midnight."""
    if order == "evenly":
        return random.integers(0, _DAY_MS, len(owners))
    # Which of a user's visits an event is of: the first eight events are of the first.
    first = np.searchsorted(owners, owners)
    visit = (np.arange(len(owners)) - first) // _VISIT_EVENTS
    begins = random.integers(0, _DAY_MS - _VISIT_MS, (owners.max() + 1, _MOST_EVENTS // _VISIT_EVENTS + 1))
    times: Numbers = begins[owners, visit] + random.integers(0, _VISIT_MS, len(owners))
    return times


def _compared(table: Any, repetitions: int) -> dict[str, Any]:
    chunks = [table.slice(start, CHUNK_ROWS).combine_chunks() for start in range(0, table.num_rows, CHUNK_ROWS)]
    apart, apart_bodies, _ = _encoded(chunks, APART)
    encoded = [_encoded(chunks, _SHARED) for _ in range(repetitions)]
    shared, bodies, _ = encoded[0]
    return {
        "rows": table.num_rows,
        "batches_apart": apart,
        "batches_shared": shared,
        "times_fewer": round(apart / shared, 2),
        "bodies_apart": apart_bodies,
        "bodies_shared": bodies,
        "rows_per_s": round(table.num_rows / statistics.median(took_s for _, _, took_s in encoded)),
    }


def _encoded(chunks: list[Any], merging: Merging) -> tuple[int, int, float]:
    """Encode and pack all chunks; every row must be in a batch."""
    encoder = Encoder(PURCHASES, checks=Checks(), merging=merging)
    batches = bodies = rows = 0
    began = time.perf_counter()
    for chunk in chunks:
        encoded = encoder.encode(chunk, chunk_id=CHUNK_ID)
        rows += len(encoded.sent)
        batches += len(encoded)
        bodies += len(pack(encoded, max_batches=_MAX_BATCHES, max_events=_MAX_EVENTS, max_bytes=_MAX_BYTES))
    took_s = time.perf_counter() - began
    if rows != sum(chunk.num_rows for chunk in chunks):
        raise SystemExit("rows were lost or rejected; nothing was measured")
    return batches, bodies, took_s


if __name__ == "__main__":
    main()
