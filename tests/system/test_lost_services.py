"""PostgreSQL and Valkey, ended at seeded moments in the middle of a run."""

import random
import shutil
from collections.abc import Callable

import pytest
import sqlalchemy as sa

from shared.errors import StoreUnavailable
from shared.run import RunId
from shared.store.tables import chunks, runs, slices
from tests.system.people import QUERY, SLOW_QUERY, People, assert_arrived_once, begin

ROWS = 500


@pytest.mark.each_seed
def test_people_arrive_once_though_valkey_is_killed(people: People, seed: int) -> None:
    moment = random.Random(seed)
    run = begin(people, seed, rows=ROWS)
    people.deployment.held_claim(run.id, chunks, moment, within_s=0.15)
    people.deployment.valkey.kill()
    people.deployment.start_again(people.deployment.valkey)
    assert_arrived_once(people, run.id, rows=ROWS, before=run.before)


@pytest.mark.each_seed
def test_people_arrive_once_though_valkey_is_killed_and_its_data_lost(people: People, seed: int) -> None:
    moment = random.Random(seed)
    run = begin(people, seed, rows=ROWS)
    people.deployment.held_claim(run.id, chunks, moment, within_s=0.15)
    people.deployment.valkey.kill()
    shutil.rmtree(people.deployment.valkey.folder)
    people.deployment.start_again(people.deployment.valkey)
    assert_arrived_once(people, run.id, rows=ROWS, before=run.before)


@pytest.mark.each_seed
def test_people_arrive_once_though_postgresql_is_restarted(people: People, seed: int) -> None:
    moment = random.Random(seed)
    is_extracting = moment.random() < 0.3
    run = begin(people, seed, rows=ROWS, query=SLOW_QUERY if is_extracting else QUERY)
    people.deployment.held_claim(run.id, slices if is_extracting else chunks, moment, within_s=0.15)
    if moment.random() < 0.5:
        people.deployment.postgres.stop()
    else:
        people.deployment.postgres.kill()
    people.deployment.start_again(people.deployment.postgres)
    assert_arrived_once(people, run.id, rows=ROWS, before=run.before)


def test_the_locks_of_a_process_that_freezes_in_a_transaction_are_freed_within_seconds(people: People) -> None:
    run = begin(people, 1, rows=ROWS)
    people.deployment.held_claim(run.id, chunks, random.Random(0), within_s=0.1)
    # What a stopped process, or one whose machine is cut off, leaves behind: a transaction that does not go on.
    with pytest.raises(StoreUnavailable):
        lock_and_wait(people, run.id, lambda: assert_arrived_once(people, run.id, rows=ROWS, before=run.before))


def lock_and_wait(people: People, run_id: RunId, until: Callable[[], object]) -> None:
    with people.deployment.database.transaction() as connection:
        connection.execute(sa.select(runs.c.id).where(runs.c.id == run_id).with_for_update())
        until()
        connection.execute(sa.select(1))
