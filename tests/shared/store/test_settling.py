"""A run settles once, when nothing is missing, and only then a mark moves: forward."""

from datetime import datetime

import pytest

from shared.errors import WatermarkWentBack
from shared.run import Lane, RunId, RunKind, RunState, Standing, Window
from shared.store import settling
from tests.shared.store.stage import INCREMENTAL, T0, T1, T2, Stage


def settle_to(stage: Stage, run_id: RunId, watermark: datetime) -> None:
    with stage.database.transaction() as connection:
        settling.settle(connection, settling.lock(connection, run_id), watermark=watermark, history_settled_to=None)


def test_a_settled_live_run_moves_the_watermark_to_its_high(stage: Stage) -> None:
    stage.past_history()
    run_id, chunk_ids = stage.uploading([5], Window(T0, T1))
    stage.upload(chunk_ids[0], rejected=5)
    assert stage.standing().watermark == T0
    assert stage.settle(run_id)
    assert stage.standing() == Standing(1, watermark=T1, history_to=T0, history_settled_to=T0)
    run = stage.run(run_id)
    assert run.state is RunState.SETTLED
    assert run.ended_at is not None


def test_settling_twice_settles_once(stage: Stage) -> None:
    stage.past_history()
    run_id = stage.started()
    stage.complete(run_id, Window(T0, T1))
    settled = stage.run(run_id)
    assert not stage.settle(run_id)
    assert stage.run(run_id) == settled


def test_a_run_with_a_chunk_missing_does_not_settle(stage: Stage) -> None:
    stage.past_history()
    run_id, (first, second) = stage.uploading([5, 5], Window(T0, T1))
    assert not stage.settle(run_id)
    stage.upload(first)
    assert not stage.settle(run_id)
    assert stage.standing().watermark == T0
    stage.upload(second)
    assert stage.settle(run_id)


def test_the_initial_sync_settles_history_and_leaves_the_watermark(stage: Stage) -> None:
    stage.declare(mode=INCREMENTAL)
    history = stage.started()
    (slice_id,) = stage.plan(history, Window(None, T0, includes_null=True))
    live = stage.started()
    stage.complete(live, Window(T0, T1))
    for chunk_id in stage.extract(slice_id, [5]):
        stage.upload(chunk_id)
    assert stage.standing() == Standing(1, watermark=T1, history_to=T0, history_settled_to=None)
    assert stage.settle(history)
    assert stage.standing() == Standing(1, watermark=T1, history_to=T0, history_settled_to=T0)


def test_a_full_run_moves_nothing(stage: Stage) -> None:
    stage.declare()
    stage.complete(stage.started())
    assert stage.standing() == Standing(1)


def test_an_empty_window_settles_and_leaves_the_watermark_where_it_is(stage: Stage) -> None:
    stage.past_history()
    run_id = stage.started()
    assert stage.plan(run_id, Window(T0, T0), slice_count=0) == []
    assert stage.settle(run_id)
    assert stage.standing().watermark == T0


@pytest.mark.parametrize(
    "meanwhile",
    [
        "UPDATE pipelines SET watermark = :later",
        "UPDATE pipelines SET watermark = NULL",
    ],
)
def test_a_watermark_that_is_not_where_the_run_began_is_not_moved_and_the_run_is_not_settled(
    stage: Stage, meanwhile: str
) -> None:
    stage.past_history()
    run_id, (chunk_id,) = stage.uploading([5], Window(T0, T1))
    stage.upload(chunk_id)
    stage.write(meanwhile, **({"later": T2} if ":later" in meanwhile else {}))
    before = stage.standing()
    with pytest.raises(WatermarkWentBack, match=f"run {stage.run(run_id).number} read from"):
        stage.settle(run_id)
    assert stage.standing() == before
    assert stage.run(run_id).state is RunState.UPLOADING


def test_a_watermark_never_goes_back(stage: Stage) -> None:
    stage.past_history()
    run_id, (chunk_id,) = stage.uploading([5], Window(T0, T1))
    stage.upload(chunk_id)
    with pytest.raises(WatermarkWentBack):
        settle_to(stage, run_id, T0.replace(year=2023))
    assert stage.standing().watermark == T0
    assert stage.run(run_id).state is RunState.UPLOADING


def test_a_run_of_an_earlier_generation_settles_and_moves_no_mark(stage: Stage) -> None:
    stage.past_history()
    run_id, (chunk_id,) = stage.uploading([5], Window(T0, T1))
    stage.upload(chunk_id)
    stage.write("UPDATE pipelines SET generation = 2, watermark = NULL, history_to = NULL, history_settled_to = NULL")
    assert stage.settle(run_id)
    assert stage.standing() == Standing(2)


def test_a_generation_that_changes_before_the_write_is_noticed(stage: Stage) -> None:
    stage.past_history()
    run_id, (chunk_id,) = stage.uploading([5], Window(T0, T1))
    stage.upload(chunk_id)
    stage.write("UPDATE pipelines SET generation = 2")
    with pytest.raises(WatermarkWentBack, match=r"in generation 1, .* in generation 2"):
        settle_to(stage, run_id, T1)
    assert stage.standing().watermark == T0


def test_t0_is_fixed_by_the_plan_of_the_initial_sync_once(stage: Stage) -> None:
    stage.declare(mode=INCREMENTAL)
    run_id = stage.started()
    assert stage.standing() == Standing(1)
    stage.plan(run_id, Window(None, T0, includes_null=True))
    assert stage.standing() == Standing(1, watermark=T0, history_to=T0)
    run = stage.run(run_id)
    assert (run.kind, run.lane, run.window) == (RunKind.INITIAL, Lane.BACKFILL, Window(None, T0, includes_null=True))
