"""An upgrade under load: every process is told to stop as a container is, and starts anew, one after the other."""

import os
import random
import signal
from collections.abc import Iterator, Sequence
from typing import Final

import psutil
import pytest
import sqlalchemy as sa

from sandbox import stack
from sandbox.child import Program
from sandbox.ports import free_port
from sandbox.premises import Premises
from sandbox.processes import is_alive
from shared import catalog
from shared.ledger import Ledger
from shared.run import Lane, RunId, RunState
from shared.store.tables import chunks, slices
from tests.system.deployment import Deployment, deployed
from tests.system.people import INCREMENTAL, People

EACH: Final = 500_000
"""Rows of each lane: a million are under way."""
SOFT_SHUTDOWN_S: Final = 5.0
GRACE_S: Final = 20.0
"""As with containers: longer than the soft shutdown, and whoever is still there afterwards is killed."""
LIMITS: Final = {
    "REMAP_SIGTERM": "SIGQUIT",
    "WAREHOUSE_SYNC_SOFT_SHUTDOWN_S": str(SOFT_SHUTDOWN_S),
    "WAREHOUSE_SYNC_ATTEMPT_TARGET_S": "10",
    "WAREHOUSE_SYNC_UPKEEP_EVERY_S": "2",
}
QUERY: Final = (
    "SELECT customer_id, email, firstname, score, changed_at FROM people"
    " WHERE CASE WHEN customer_id[-2:] = '00' THEN sleep_ms(1) END IS NULL"
)
"""Reading takes five seconds, so that an extraction can be met at work."""


@pytest.fixture(scope="module")
def deployment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    def with_api(premises: Premises, usual: Sequence[Program]) -> Sequence[Program]:
        return [*usual, stack.api(premises.home, premises.environment, port=free_port())]

    home = tmp_path_factory.mktemp("rolling")
    with deployed(home, limits=LIMITS, programs=with_api, feed_arguments=("--storing", "off")) as running:
        yield running


@pytest.mark.timeout(900)
def test_a_rolling_restart_of_every_process_loses_nothing_of_a_million_rows(deployment: Deployment) -> None:
    moment = random.Random(7)
    deployment.turn_faults(delay_s=1)
    past = trigger(deployment, "past", INCREMENTAL)
    present = trigger(deployment, "present", catalog.Full())
    assert deployment.run(past).lane is Lane.BACKFILL

    deployment.held_claim(present, slices, moment, within_s=0.5)
    restart(deployment, "extract")
    restart(deployment, "extract-backfill")
    for lane_worker, run_id in (("upload", present), ("upload-backfill", past)) * 2:
        deployment.held_claim(run_id, chunks, moment, within_s=0.5)
        restart(deployment, lane_worker)
    for name in ("control", "beat", "api"):
        restart(deployment, name)
    assert {deployment.run(past).state, deployment.run(present).state} == {RunState.UPLOADING}, "it was under load"

    deployment.turn_faults()
    for run_id in (past, present):
        run = deployment.ended(run_id, limit_s=300)
        assert run.state is RunState.SETTLED, deployment.situation()
        assert run.ledger == Ledger(extracted=EACH, accepted=EACH)
        assert not deployment.rows(sa.select(chunks).where(chunks.c.run_id == run_id, chunks.c.deaths > 0))
    counters = deployment.counters()
    assert (counters["batches"], counters["conflicts"], counters["dropped"]) == (2 * EACH, 0, 0)
    assert counters["duplicates"] == 0, "who is told to stop waits for the answers and records them"


def trigger(deployment: Deployment, name: str, mode: catalog.Incremental | catalog.Full) -> RunId:
    people = People(deployment, name)
    people.add(EACH)
    people.declare(mode, query=QUERY)
    return people.trigger()


def restart(deployment: Deployment, name: str) -> None:
    """Tell a program to stop, see it gone in time, and its successor ready."""
    (pid, *_) = deployment.supervisor.pids(name)
    family = psutil.Process(pid).children(recursive=True)
    os.kill(pid, signal.SIGTERM)
    deployment.until(lambda: not is_alive(pid), f"{name} ends within its grace period", GRACE_S)
    deployment.until(lambda: not [one for one in family if is_alive(one.pid)], f"{name} leaves no child behind", 5)
    deployment.until(lambda: deployment.supervisor.pids(name)[:1] not in ([], [pid]), f"{name} is started again")
