"""PostgreSQL and Valkey, ended at seeded moments in the middle of a run."""

import random
import shutil

import pytest

from shared.store.tables import chunks, slices
from tests.system.people import SLOW_QUERY, People, assert_arrived_once, begin

EACH_SEED = pytest.mark.parametrize("seed", range(20))
ROWS = 500


@EACH_SEED
def test_people_arrive_once_though_valkey_is_killed(people: People, seed: int) -> None:
    moment = random.Random(seed)
    run = begin(people, seed, rows=ROWS)
    people.deployment.held_claim(run.id, chunks, moment, within_s=0.25)
    people.deployment.valkey.kill()
    people.deployment.valkey.start()
    assert_arrived_once(people, run.id, rows=ROWS, before=run.before)


@EACH_SEED
def test_people_arrive_once_though_valkey_is_killed_and_its_data_lost(people: People, seed: int) -> None:
    moment = random.Random(seed)
    run = begin(people, seed, rows=ROWS)
    people.deployment.held_claim(run.id, chunks, moment, within_s=0.25)
    people.deployment.valkey.kill()
    shutil.rmtree(people.deployment.valkey.folder)
    people.deployment.valkey.start()
    assert_arrived_once(people, run.id, rows=ROWS, before=run.before)


@EACH_SEED
def test_people_arrive_once_though_postgresql_is_restarted(people: People, seed: int) -> None:
    moment = random.Random(seed)
    is_extracting = moment.random() < 0.3
    run = begin(people, seed, rows=ROWS, **({"query": SLOW_QUERY} if is_extracting else {}))
    people.deployment.held_claim(run.id, slices if is_extracting else chunks, moment, within_s=0.25)
    if moment.random() < 0.5:
        people.deployment.postgres.stop()
    else:
        people.deployment.postgres.kill()
    people.deployment.postgres.start()
    assert_arrived_once(people, run.id, rows=ROWS, before=run.before)
