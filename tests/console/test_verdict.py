"""The demo succeeds only where both sides counted the same."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest

from console.api.run_answers import run_shape
from console.verdict import outcome, problems
from console.watching import SeenRun
from shared.ledger import Ledger
from shared.run import Lane, Run, RunId, RunKind, RunState, Window
from shared.store.work_times import WorkTime

NOW = datetime(2026, 11, 23, tzinfo=UTC)
COUNTERS = {"batches": 101_000, "duplicates": 0, "dropped": 0, "profiles": 100_000}
CLAIMANTS = {"host:11": 6, "host:12": 5}


def _run(kind: RunKind, rows: int) -> Run:
    return Run(
        id=RunId(uuid4()),
        pipeline_id="demo",
        generation=1,
        kind=kind,
        lane=Lane.BACKFILL if kind is RunKind.INITIAL else Lane.LIVE,
        mode="incremental",
        state=RunState.SETTLED,
        logical_at=NOW,
        window=Window(None, NOW),
        snapshot={},
        ledger=Ledger(extracted=rows, accepted=rows),
        slices_total=1,
        slices_published=1,
        chunks_total=10,
        chunks_done=10,
        reopenings=0,
        error_kind=None,
        error=None,
        created_at=NOW,
        started_at=NOW,
        ended_at=NOW + timedelta(seconds=2),
    )


_FIRST, _SECOND = _run(RunKind.INITIAL, 100_000), _run(RunKind.MANUAL, 1_000)
_WORK = WorkTime(timedelta(seconds=2), 1)
FIRST, SECOND = run_shape(SeenRun(_FIRST, work=_WORK)), run_shape(SeenRun(_SECOND, work=_WORK))


def test_agreement_is_no_problem() -> None:
    result = outcome((FIRST, SECOND), CLAIMANTS, COUNTERS)
    assert problems(result, (FIRST, SECOND), users=100_000) == []
    assert result["runs"][0]["mode"] == "full"
    assert (result["runs"][0]["worked_s"], result["runs"][0]["rows_per_s"]) == (2, 50_000)
    assert result["chunks_per_pid"] == {"11": 6, "12": 5}
    assert result["worker_pids"] == [11, 12]


@pytest.mark.parametrize("counter", ["batches", "dropped", "profiles"])
def test_a_counter_that_differs_is_a_problem(counter: str) -> None:
    result = outcome((FIRST, SECOND), CLAIMANTS, {**COUNTERS, counter: 7})
    assert len(problems(result, (FIRST, SECOND), users=100_000)) == 1


def test_a_ledger_that_does_not_balance_is_a_problem() -> None:
    lost = run_shape(SeenRun(replace(_FIRST, ledger=Ledger(extracted=100_000, accepted=99_999))))
    assert any(
        "balance" in problem
        for problem in problems(outcome((lost, SECOND), CLAIMANTS, COUNTERS), (lost, SECOND), users=100_000)
    )


def test_a_run_that_failed_is_a_problem() -> None:
    failed = run_shape(SeenRun(replace(_SECOND, state=RunState.FAILED, error_kind="FeedRefused", error="why")))
    found = problems(outcome((FIRST, failed), CLAIMANTS, COUNTERS), (FIRST, failed), users=100_000)
    assert any("failed" in problem and "why" in problem for problem in found)


def test_one_process_alone_is_a_problem() -> None:
    result = outcome((FIRST, SECOND), {"host:11": 20}, COUNTERS)
    assert any("process" in problem for problem in problems(result, (FIRST, SECOND), users=100_000))
