"""All benchmarks, or those named: a table for people, then one line of JSON."""

import argparse
import json
from collections.abc import Callable
from typing import Any, Final

import pyarrow as pa

from bench import beat, encode, fleet, lanes, merge, one_process, quota, warehouses

_ROWS: Final = 200_000
_LATENCY_S: Final = 0.05
_LIVE_ROWS: Final = 2_000
_LIVE_RUNS: Final = 20


def _encode() -> dict[str, Any]:
    pa.set_cpu_count(1)
    return {f"{result['of']}, {result['columns']} columns": result for result in encode.measure(20_000, 7)}


def _merge() -> dict[str, Any]:
    pa.set_cpu_count(1)
    return dict(merge.measure())


_BENCHES: Final[dict[str, Callable[[], dict[str, Any]]]] = {
    "encode": _encode,
    "merge": _merge,
    "process": lambda: {"parquet to sink": one_process.measure(_ROWS, 5)},
    "fleet": lambda: {"no latency": fleet.measure(_ROWS)},
    "latency": lambda: {"50 ms an answer": fleet.measure(_ROWS, latency_s=_LATENCY_S)},
    "memory": lambda: {
        f"{rows:,} rows": fleet.measure(rows, repetitions=1, source=fleet.PARQUET) for rows in (1_000_000, 2_000_000)
    },
    "beat": lambda: {"10,000 pipelines": beat.measure()},
    "lanes": lambda: lanes.measure(_LIVE_ROWS, runs=_LIVE_RUNS),
    "quota": lambda: {
        f"270 batches/s, acceleration {limit or 'unlimited'}": quota.measure(limit) for limit in quota.ACCELERATIONS
    },
    "warehouses": warehouses.measure,
}


def main() -> None:
    """Run what was asked for and print it."""
    parser = argparse.ArgumentParser(prog="bench", description=__doc__)
    parser.add_argument("which", nargs="*", metavar="BENCH", help=f"any of {', '.join(_BENCHES)}; all without")
    asked = parser.parse_args().which or [*_BENCHES]
    if unknown := set(asked) - set(_BENCHES):
        parser.error(f"there is no bench {', '.join(sorted(unknown))}; there are {', '.join(_BENCHES)}")
    results: dict[str, Any] = {}
    for name in asked:
        results[name] = _BENCHES[name]()
        for case, figures in results[name].items():
            print(f"\n{name}: {case}")
            for figure, value in figures.items():
                print(f"  {figure:<28} {value:>14,}" if isinstance(value, int | float) else f"  {figure:<28} {value}")
    print("\n" + json.dumps(results))


if __name__ == "__main__":
    main()
