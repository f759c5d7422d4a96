"""The demo's outcome: what both runs came to, and whether the receiving side counted the same."""

from collections.abc import Mapping
from typing import Any, Final

from console.shapes.reconstructed import RunShape
from shared.run import RunKind, RunState

_FEWEST_CHUNKS: Final = 10
_FEWEST_PROCESSES: Final = 2


def outcome(
    runs: tuple[RunShape, RunShape], claimants: Mapping[str, int], counters: Mapping[str, Any]
) -> dict[str, Any]:
    """Give the demo's result as one JSON object; ``claimants`` counts chunks by ``worker@host:pid``."""
    per_pid: dict[str, int] = {}
    for claimant, count in claimants.items():
        pid = claimant.rpartition(":")[2]
        per_pid[pid] = per_pid.get(pid, 0) + count
    return {
        "runs": [_run(run) for run in runs],
        "chunks": sum(per_pid.values()),
        "worker_pids": sorted(int(pid) for pid in per_pid),
        "chunks_per_pid": per_pid,
        "sandbox": {name: counters[name] for name in ("batches", "duplicates", "dropped", "profiles")},
    }


def problems(result: Mapping[str, Any], runs: tuple[RunShape, RunShape], *, users: int) -> list[str]:
    """Say what does not agree; an empty list is success."""
    found = [
        f"run {run.number} is {run.state}, expected settled: {', '.join(error.message for error in run.errors)}"
        for run in runs
        if run.state is not RunState.SETTLED
    ]
    found += [f"run {run.number} does not balance: {run.ledger}" for run in runs if not run.ledger.balances]
    sandbox = result["sandbox"]
    accepted = sum(run.ledger.accepted for run in runs)
    expected = {
        "rows of the first sync": (runs[0].ledger.extracted, users),
        "rows of the incremental sync": (runs[1].ledger.extracted, users // 100),
        "batches in mParticle": (sandbox["batches"], accepted),
        "profiles in mParticle": (sandbox["profiles"], users),
        "batches dropped": (sandbox["dropped"], 0),
    }
    found += [f"{what}: {came}, expected {due}" for what, (came, due) in expected.items() if came != due]
    if result["chunks"] < _FEWEST_CHUNKS <= users // 10_000:
        found.append(f"{result['chunks']} chunks, expected at least {_FEWEST_CHUNKS}")
    if len(result["worker_pids"]) < _FEWEST_PROCESSES <= result["chunks"] // _FEWEST_CHUNKS:
        found.append(f"{len(result['worker_pids'])} upload process, expected at least {_FEWEST_PROCESSES}")
    return found


def _run(run: RunShape) -> dict[str, Any]:
    ledger = run.ledger
    return {
        "mode": "full" if run.kind is RunKind.INITIAL else run.mode,
        "kind": run.kind.value,
        "extracted": ledger.extracted,
        "accepted": ledger.accepted,
        "rejected": ledger.rejected,
        "unchanged": ledger.unchanged,
        "superseded": ledger.superseded,
        "unsent": ledger.unsent,
        "worked_s": None if run.worked_s is None else round(run.worked_s, 3),
        "rows_per_s": None if run.rows_per_s is None else round(run.rows_per_s),
    }
