"""No advisory lock keeps anybody from another, and all of them are named in one place."""

from itertools import chain
from pathlib import Path

import pytest

from shared.store import locks
from shared.store.locks import Lock, LockOfEach
from tests.shared.store.stage import Stage

ROOT = Path(__file__).resolve().parents[3]
PACKAGES = ("beat", "console", "sandbox", "shared", "worker")


def test_all_keys_are_distinct_and_fit_their_kind() -> None:
    keys = [lock.value for lock in Lock.__members__.values()]
    assert len(set(keys)) == len(keys)
    assert all(0 < key < 2**63 for key in keys)
    classes = [lock.value for lock in LockOfEach.__members__.values()]
    assert len(set(classes)) == len(classes)
    assert all(0 < number < 2**31 for number in classes)


def test_keys_stay_what_they_are_while_releases_run_side_by_side() -> None:
    assert {lock.name: lock.value for lock in chain(Lock, LockOfEach)} == {
        "MIGRATING": 7_346_125_881,
        "APPLYING": 7_346_125_907,
        "LOOKING": 7_346_125_882,
        "NAMING": 7_348_000_000,
        "COUNTING": 7_346_125_906,
        "TURN": 7_346,
        "EVENT_NAMES": 7_347,
    }


def test_no_other_module_takes_an_advisory_lock() -> None:
    sources = chain.from_iterable((ROOT / package).rglob("*.py") for package in PACKAGES)
    taking = {source.relative_to(ROOT).as_posix() for source in sources if "advisory_" in source.read_text()}
    assert taking == {"shared/store/locks.py"}


@pytest.mark.parametrize("lock", Lock)
def test_who_holds_a_lock_keeps_it_from_others_and_no_other_lock(stage: Stage, lock: Lock) -> None:
    with stage.database.transaction() as holder, stage.database.transaction() as connection:
        locks.take(holder, lock)
        locks.take_name(holder, "feed 'us1'")
        for each in LockOfEach:
            locks.take_of(holder, each, "people")
        free = {other for other in Lock if locks.take_if_free(connection, other)}
    assert free == set(Lock) - {lock}


def test_a_lock_ends_with_its_transaction(stage: Stage) -> None:
    with stage.database.transaction() as connection:
        assert locks.take_if_free(connection, Lock.LOOKING)
    with stage.database.transaction() as connection:
        assert locks.take_if_free(connection, Lock.LOOKING)


def test_one_of_each_is_shared_and_is_not_anothers(stage: Stage) -> None:
    with stage.database.transaction() as one, stage.database.transaction() as other:
        locks.share_of(one, LockOfEach.TURN, "people")
        locks.share_of(other, LockOfEach.TURN, "people")
        locks.take_of(other, LockOfEach.TURN, "others")
        locks.take_of(other, LockOfEach.EVENT_NAMES, "people")
        assert not locks.is_waited_for(one, LockOfEach.TURN, "people")
