"""Every message twice, and messages lost: the queue is only a hint."""

import json
import random
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace

import pytest

from sandbox.child import Program
from sandbox.premises import Premises
from shared.messages import Message, TaskName
from shared.run import WORKING
from tests.system.deployment import LIMITS, Deployment, deployed
from tests.system.people import People, assert_arrived_once, begin

ROWS = 500


@pytest.fixture(scope="module")
def twice(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    """A deployment whose workers and beat send every message twice."""

    def doubled(_: Premises, usual: Sequence[Program]) -> list[Program]:
        words = {"worker.app": "tests.system.twice", "beat.app": "tests.system.twice"}
        return [replace(one, argv=tuple(words.get(word, word) for word in one.argv)) for one in usual]

    # Upkeep, too, is sent twice; at its usual pace a busy machine would fall ever further behind.
    limits = {**LIMITS, "WAREHOUSE_SYNC_UPKEEP_EVERY_S": "0.6"}
    with deployed(tmp_path_factory.mktemp("twice"), limits=limits, programs=doubled) as running:
        yield running


@pytest.mark.each_seed
def test_people_arrive_once_though_every_message_is_delivered_twice(twice: Deployment, seed: int) -> None:
    moment = random.Random(seed)
    people = People(twice, f"twice-{seed}")
    run = begin(people, seed, rows=ROWS)
    twice.send(Message(TaskName.PLAN_RUN, run.id, run.lane))  # Its first copy is the trigger's, hence sent from here.
    twice.turn_faults(delay_s=moment.uniform(0, 0.1), drop_after=moment.choice((0, 0, 0.2)), seed=seed)
    assert_arrived_once(people, run.id, rows=ROWS, before=run.before)
    repeated = {("plan_run", str(run.id)), ("settle_run", str(run.id))}
    repeated |= {("extract_slice", str(one["id"])) for one in twice.slices(run.id)}
    repeated |= {("upload_chunk", str(one["id"])) for one in twice.chunks(run.id)}
    twice.until(lambda: repeated <= out_of_date(twice), "each message's second copy was found to be out of date")


@pytest.mark.each_seed
def test_people_arrive_once_though_messages_are_lost(people: People, seed: int) -> None:
    moment = random.Random(seed)
    run = begin(people, seed, rows=ROWS)
    lost = 0
    while lost < 3 and people.deployment.run(run.id).state in WORKING:
        lost += people.deployment.lose_messages()
        time.sleep(moment.uniform(0, 0.1))  # The moment itself, not a wait for anything.
    assert lost
    assert_arrived_once(people, run.id, rows=ROWS, before=run.before)


def test_two_deployments_side_by_side_know_nothing_of_each_other(deployment: Deployment, twice: Deployment) -> None:
    here, there = People(deployment, "side-by-side"), People(twice, "side-by-side")
    deployment.turn_faults(hang=True)  # So that neither is over before the other begins.
    twice.turn_faults(hang=True)
    here.declare()
    there.declare()
    here.add(300)
    there.add(200)
    before = deployment.counters(), twice.counters()
    run_here, run_there = here.trigger(), there.trigger()
    assert {deployment.run(run_here).state, twice.run(run_there).state} <= WORKING
    deployment.turn_faults()
    twice.turn_faults()
    assert_arrived_once(here, run_here, rows=300, before=before[0])
    assert_arrived_once(there, run_there, rows=200, before=before[1])
    assert deployment.valkey.address.port != twice.valkey.address.port
    assert deployment.postgres.address.port != twice.postgres.address.port


def out_of_date(deployment: Deployment) -> set[tuple[str, str]]:
    """Give every task, and the id of what it was asked for, that was asked in vain."""
    named = {"plan_run": "run_id", "extract_slice": "slice_id", "upload_chunk": "chunk_id", "settle_run": "run_id"}
    found = set()
    for text in deployment.logs().values():
        for line in text.splitlines():
            if '"message_out_of_date"' in line:
                event = json.loads(line)
                task = event["logger"].rpartition(".")[2]
                found.add((task, event[named[task]]))
    return found
