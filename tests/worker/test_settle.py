"""How a run settles, from its counters alone."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.errors import LedgerUnbalanced
from shared.ledger import Ledger
from shared.run import Lane, Run, RunId, RunKind, RunState, Standing, Window
from worker.settle import Settlement, decide

LOW = datetime(2026, 1, 1, tzinfo=UTC)
HIGH = LOW + timedelta(hours=1)
STANDING = Standing(1, watermark=LOW, history_to=LOW)
RUN = Run(
    id=RunId(UUID(int=1)),
    pipeline_id="users",
    generation=1,
    kind=RunKind.MANUAL,
    lane=Lane.LIVE,
    mode="incremental",
    state=RunState.UPLOADING,
    logical_at=HIGH,
    window=Window(LOW, HIGH),
    snapshot={},
    ledger=Ledger(extracted=10, accepted=7, rejected=3),
    slices_total=1,
    slices_published=1,
    chunks_total=2,
    chunks_done=2,
    reopenings=0,
    error_kind=None,
    error=None,
    created_at=LOW,
    started_at=LOW,
    ended_at=None,
)


def test_a_complete_live_run_moves_the_watermark_to_the_end_of_its_window() -> None:
    assert decide(RUN, STANDING) == Settlement(watermark=HIGH)


def test_the_initial_sync_settles_history_and_leaves_the_watermark() -> None:
    initial = replace(RUN, kind=RunKind.INITIAL, lane=Lane.BACKFILL, window=Window(None, LOW, includes_null=True))
    assert decide(initial, STANDING) == Settlement(history_settled_to=LOW)


def test_a_full_run_moves_nothing() -> None:
    assert decide(replace(RUN, window=Window()), Standing(1)) == Settlement()


def test_a_run_of_an_older_generation_moves_nothing() -> None:
    assert decide(RUN, replace(STANDING, generation=2)) == Settlement()


@pytest.mark.parametrize(
    "incomplete", [replace(RUN, chunks_done=1), replace(RUN, slices_total=2), replace(RUN, state=RunState.EXTRACTING)]
)
def test_the_watermark_stays_when_anything_is_missing(incomplete: Run) -> None:
    assert decide(incomplete, STANDING) is None


@pytest.mark.parametrize("state", [RunState.FAILED, RunState.CANCELLED, RunState.SETTLED, RunState.ABANDONED])
def test_a_run_that_nobody_works_on_is_left_alone(state: RunState) -> None:
    assert decide(replace(RUN, state=state), STANDING) is None


@given(*(st.integers(0, 20) for _ in range(6)))
def test_only_a_balanced_ledger_settles(
    extracted: int, accepted: int, rejected: int, unchanged: int, superseded: int, unsent: int
) -> None:
    ledger = Ledger(extracted, accepted, rejected, unchanged, superseded, unsent)
    run = replace(RUN, ledger=ledger)
    if extracted == accepted + rejected + unchanged + superseded and not unsent:
        assert decide(run, STANDING) == Settlement(watermark=HIGH)
    else:
        with pytest.raises(LedgerUnbalanced, match="the watermark stays"):
            decide(run, STANDING)
