"""Two real beats, real workers on both lanes, and a warehouse that changes: every row once, in one settled window."""

import os
import random
import signal
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest
import sqlalchemy as sa

from sandbox import stack
from sandbox.supervisor import Supervisor
from shared.run import ChunkState, Lane, Run, RunId, RunKind, RunState
from shared.schedule import Frequency, Interval, Once
from shared.store.declared_tables import pipelines
from tests.system.deployment import UNWEARYING, Deployment
from tests.system.people import INCREMENTAL, SLOW_QUERY, People

ROUNDS = 6
SEEDS = pytest.mark.parametrize("seed", range(3))


@pytest.fixture(scope="module")
def second_beat(deployment: Deployment) -> Iterator[Supervisor]:
    program = stack.beat(deployment.home, deployment.premises.environment, name="beat-2")
    with Supervisor(deployment.home, [program], patience=UNWEARYING) as supervisor:
        yield supervisor


def hourly() -> Interval:
    """Give a schedule of which nothing is due by itself within the next half an hour."""
    start = datetime.now(UTC) - timedelta(hours=3, minutes=20)
    return Interval(frequency=Frequency.HOURLY, start=start, delay=timedelta(0))


def runs_of(people: People, lane: Lane) -> list[Run]:
    """Give the pipeline's runs of a lane, oldest first."""
    return [run for run in people.deployment.operations.runs(people.id, limit=100) if run.lane is lane][::-1]


def make_due(people: People) -> None:
    """Let an hour pass: the next occurrence is now."""
    with people.deployment.database.transaction() as connection:
        connection.execute(sa.update(pipelines).where(pipelines.c.id == people.id).values(next_due_at=sa.func.now()))


def claimed(people: People) -> bool:
    due = people.deployment.standing(people.id)["next_due_at"]
    return due is not None and due > datetime.now(UTC)


def quiet(people: People) -> bool:
    return all(run.state is RunState.SETTLED for run in people.deployment.operations.runs(people.id, limit=100))


def is_sending(people: People, run_id: RunId) -> bool:
    return any(chunk["state"] == ChunkState.UPLOADING for chunk in people.deployment.chunks(run_id))


def assert_everybody_once(people: People, count: int) -> None:
    found = people.deployment.operations.runs(people.id, limit=100)
    assert sum(run.ledger.accepted for run in found) == count, people.deployment.situation()
    assert all(run.ledger.balances for run in found)
    live = runs_of(people, Lane.LIVE)
    assert all(before.window.high == after.window.low for before, after in pairwise(live)), live
    for number in range(count):
        assert people.profile(number)["updates"] == 1


@SEEDS
def test_each_row_is_in_one_settled_window_though_beats_are_killed(
    people: People, second_beat: Supervisor, seed: int
) -> None:
    moment = random.Random(seed)
    people.add(40)
    people.declare(INCREMENTAL, schedule=hourly())
    deployment = people.deployment
    deployment.until(lambda: runs_of(people, Lane.BACKFILL), "the first occurrence begins the initial sync")
    for _ in range(ROUNDS):
        deployment.until(lambda: quiet(people), "all runs so far are settled")
        people.add(25)
        make_due(people)
        if moment.random() < 0.5:
            deployment.kill_family("beat")
        if moment.random() < 0.5:
            for pid in second_beat.pids("beat-2"):
                os.kill(pid, signal.SIGKILL)
        deployment.until(lambda: claimed(people), "a beat claims the occurrence")
    deployment.until(lambda: quiet(people), "all runs are settled")
    people.settle()
    initial, *others = runs_of(people, Lane.BACKFILL)
    assert (initial.kind, others) == (RunKind.INITIAL, [])
    assert len([run for run in runs_of(people, Lane.LIVE) if run.kind is RunKind.SCHEDULED]) == ROUNDS
    assert_everybody_once(people, 40 + ROUNDS * 25)


def test_what_is_due_while_history_is_read_waits_for_t0_and_then_runs_beside_it(people: People) -> None:
    people.add(300)
    people.declare(INCREMENTAL, schedule=hourly(), query=SLOW_QUERY)
    deployment = people.deployment
    deployment.until(lambda: runs_of(people, Lane.BACKFILL), "the initial sync begins")
    make_due(people)
    live = deployment.until(lambda: next(iter(runs_of(people, Lane.LIVE)), None), "a live run is recorded")
    deployment.until(lambda: quiet(people), "both are settled")
    assert deployment.run(live.id).window.low == deployment.standing(people.id)["history_to"]
    people.settle()
    assert_everybody_once(people, 300)


def test_a_single_occurrence_runs_once(people: People) -> None:
    people.add(30)
    people.declare(INCREMENTAL, schedule=Once(delay=timedelta(0)))
    people.deployment.until(lambda: runs_of(people, Lane.BACKFILL), "it begins at activation")
    people.deployment.until(lambda: quiet(people), "it is settled")
    assert people.deployment.standing(people.id)["next_due_at"] is None
    assert len(people.deployment.operations.runs(people.id)) == 1


def test_a_paused_pipelines_run_stands_still_and_goes_on_when_it_is_resumed(people: People) -> None:
    people.declare_past_history()
    people.add(900)
    people.deployment.turn_faults(delay_s=0.4)
    run_id = people.trigger()
    operations = people.deployment.operations
    people.deployment.until(lambda: is_sending(people, run_id), "its chunks are being sent")
    operations.lives.pause(people.id)
    people.deployment.until(lambda: not people.deployment.claims(run_id), "what is claimed finishes")
    assert people.deployment.run(run_id).state is RunState.UPLOADING
    people.deployment.turn_faults()
    operations.lives.resume(people.id)
    assert people.expect(run_id, RunState.SETTLED).ledger.accepted == 900


def test_a_deleted_pipeline_stops_and_its_spool_is_freed(people: People) -> None:
    people.declare_past_history()
    people.add(900)
    people.deployment.turn_faults(delay_s=0.4)
    run_id = people.trigger()
    people.deployment.until(lambda: is_sending(people, run_id), "its chunks are being sent")
    people.deployment.operations.lives.delete(people.id)
    people.deployment.until(
        lambda: people.deployment.run(run_id).state is RunState.ABANDONED, "upkeep closes its last run"
    )
    run = people.deployment.run(run_id)
    assert run.ledger.balances
    assert run.ledger.unsent > 0
