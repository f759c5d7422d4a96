"""Workers and beat, killed or stopped at seeded moments while they provably hold a claim."""

import os
import random
import signal
import time

import pytest

from shared.store.tables import chunks, slices
from tests.system.people import SLOW_QUERY, People, assert_arrived_once, begin

ROWS = 500


@pytest.mark.each_seed
def test_people_arrive_once_though_an_upload_worker_is_killed(people: People, seed: int) -> None:
    moment = random.Random(seed)
    run = begin(people, seed, rows=ROWS)
    claim = people.deployment.stopped_claimant(run.id, chunks, moment, within_s=0.15)
    if moment.random() < 0.25:
        people.deployment.kill_family(run.worker("upload"))
    else:
        os.kill(claim.pid, signal.SIGKILL)
    assert_arrived_once(people, run.id, rows=ROWS, before=run.before)
    assert attempts(people, claim.id) > 1


@pytest.mark.each_seed
def test_people_arrive_once_though_an_extract_worker_is_killed(people: People, seed: int) -> None:
    moment = random.Random(seed)
    run = begin(people, seed, rows=ROWS, query=SLOW_QUERY, answer_after_s=0)
    people.deployment.stopped_claimant(run.id, slices, moment, within_s=0.4)
    people.deployment.kill_family(run.worker("extract"))
    assert_arrived_once(people, run.id, rows=ROWS, before=run.before)


@pytest.mark.each_seed
def test_people_arrive_once_though_beat_is_killed_when_it_is_needed(people: People, seed: int) -> None:
    moment = random.Random(seed)
    run = begin(people, seed, rows=ROWS)
    claim = people.deployment.stopped_claimant(run.id, chunks, moment, within_s=0.15)
    people.deployment.kill_family("beat")
    os.kill(claim.pid, signal.SIGKILL)  # Its lease has not lapsed: no upkeep sent before can have freed the chunk.
    assert_arrived_once(people, run.id, rows=ROWS, before=run.before)
    assert attempts(people, claim.id) > 1


@pytest.mark.each_seed
def test_people_arrive_once_though_a_stopped_uploader_wakes_after_its_claim_was_given_away(
    people: People, seed: int
) -> None:
    moment = random.Random(seed)
    run = begin(people, seed, rows=ROWS)
    claim = people.deployment.stopped_claimant(run.id, chunks, moment, within_s=0.15)
    people.deployment.until(lambda: not people.deployment.is_held(claim), "the claim is given away")
    time.sleep(moment.uniform(0, 0.3))  # The other claimant has not begun, is at work, or is done.
    os.kill(claim.pid, signal.SIGCONT)
    assert_arrived_once(people, run.id, rows=ROWS, before=run.before)
    assert attempts(people, claim.id) > 1


@pytest.mark.each_seed
def test_people_arrive_once_though_a_stopped_extraction_wakes_after_its_claim_was_given_away(
    people: People, seed: int
) -> None:
    moment = random.Random(seed)
    run = begin(people, seed, rows=ROWS, query=SLOW_QUERY, answer_after_s=0)
    claim = people.deployment.stopped_claimant(run.id, slices, moment, within_s=0.4)
    people.deployment.until(lambda: not people.deployment.is_held(claim), "the claim is given away")
    os.kill(claim.pid, signal.SIGCONT)
    assert_arrived_once(people, run.id, rows=ROWS, before=run.before)


def attempts(people: People, chunk_id: object) -> int:
    (chunk,) = people.deployment.rows(chunks.select().where(chunks.c.id == chunk_id))
    return int(chunk["attempts"])
