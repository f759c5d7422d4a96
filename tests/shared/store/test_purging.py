"""Somebody's rejected rows are gone for good, nobody else's are, and no file is left whoever dies on the way."""

from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pytest

from shared.errors import MoveNotAllowed, SpoolUnavailable
from shared.ledger import RejectCode
from shared.run import RunId
from shared.spool import Spool
from shared.store import leftovers, purging, rejects, replays
from shared.store.database import Database
from tests.rejected import Rejected
from tests.worker.tasks.desk import FragileDatabase, Killed, Strike, When, fails_with

PEOPLE = pa.table({"customer_id": ["a", "b", "a", "c", None], "age": [1, 2, 3, 4, 5]})
CODES = {
    0: RejectCode.NO_IDENTITY,
    1: RejectCode.NO_IDENTITY,
    2: RejectCode.VALUE_TOO_LONG,
    3: RejectCode.VALUE_TOO_LONG,
    4: RejectCode.NO_IDENTITY,
}


@pytest.fixture
def rejected(database: Database, tmp_path: Path) -> Rejected:
    spool = Spool.open(str(tmp_path / "spool"))
    spool.marker()
    return Rejected(database, spool)


def whose(customer_id: str) -> Callable[[pa.Table], Any]:
    return lambda table: pc.fill_null(pc.equal(table["customer_id"], customer_id), fill_value=False)


def ages(rejected: Rejected, run_id: RunId) -> list[int]:
    with rejected.database.transaction() as connection:
        files = rejects.files_of(connection, run_id)
    return [age for file in files for age in rejects.read(rejected.database, rejected.spool, file)["age"].to_pylist()]


def on_disk(tmp_path: Path, run_id: RunId) -> int:
    return len(list((tmp_path / "spool" / "rejects" / str(run_id)).iterdir()))


def purge_all(database: Database, rejected: Rejected, run_id: RunId, customer_id: str) -> int:
    with rejected.database.transaction() as connection:
        files = rejects.files_of(connection, run_id)
    return sum(purging.purge(database, rejected.spool, file, whose(customer_id)) for file in files)


def test_somebodys_rows_are_gone_and_counted_and_the_others_stay(rejected: Rejected, tmp_path: Path) -> None:
    run_id = rejected.run((PEOPLE, CODES), (PEOPLE, {1: RejectCode.NO_IDENTITY}))
    assert purge_all(rejected.database, rejected, run_id, "a") == 2
    assert ages(rejected, run_id) == [2, 4, 5, 2]
    with rejected.database.transaction() as connection:
        first, second = rejects.files_of(connection, run_id)
    assert (first.rows, first.purged, first.counts) == (3, 2, {"no_identity": 2, "value_too_long": 1})
    assert (second.rows, second.purged) == (1, 0)
    assert on_disk(tmp_path, run_id) == 2
    assert purge_all(rejected.database, rejected, run_id, "a") == 0, "repeating it takes none"
    assert rejected.stage.run(run_id).ledger.rejected == 6, "the run's ledger is history"


def test_a_file_of_which_nothing_is_left_cannot_be_replayed(rejected: Rejected) -> None:
    run_id = rejected.run((PEOPLE, {0: RejectCode.NO_IDENTITY}))
    purge_all(rejected.database, rejected, run_id, "a")
    assert ages(rejected, run_id) == []
    with rejected.database.transaction() as connection, pytest.raises(MoveNotAllowed, match="1 purged"):
        replays.begin(connection, run_id)


@pytest.mark.parametrize("when", When)
def test_a_purge_that_dies_around_any_commit_is_made_good_by_repeating_it(
    rejected: Rejected, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, when: When
) -> None:
    fragile = FragileDatabase(rejected.database.url.render_as_string(hide_password=False))

    def strike_at(nth: int) -> bool:
        run_id = rejected.run((PEOPLE, CODES))
        strike = Strike(nth, when, fails_with(Killed()))
        with fragile.struck(strike):
            purge_all(fragile, rejected, run_id, "a")
        assert sorted(set(ages(rejected, run_id)) | {1, 3}) == [1, 2, 3, 4, 5], "nobody else's row is lost"
        with monkeypatch.context() as later:
            later.setattr(purging, "_FORGOTTEN_AFTER_S", -1.0)
            purge_all(rejected.database, rejected, run_id, "a")
            purging.remove_leftovers(rejected.database, rejected.spool)
        assert ages(rejected, run_id) == [2, 4, 5]
        assert on_disk(tmp_path, run_id) == 1
        assert rejected.stage.rows("SELECT * FROM leftovers") == []
        return strike.fell

    struck = next(nth for nth in count(1) if not strike_at(nth)) - 1
    fragile.close()
    assert struck > 3


def test_a_purge_whose_disk_is_full_changes_nothing(
    rejected: Rejected, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_id = rejected.run((PEOPLE, CODES))

    def full(*_: object) -> None:
        raise SpoolUnavailable("the disk is full")

    with monkeypatch.context() as broken:
        broken.setattr(Spool, "rewrite_rejects", full)
        with pytest.raises(SpoolUnavailable):
            purge_all(rejected.database, rejected, run_id, "a")
    assert ages(rejected, run_id) == [1, 2, 3, 4, 5]
    assert on_disk(tmp_path, run_id) == 1


def test_a_purge_that_others_overtake_begins_again_from_what_they_left(
    rejected: Rejected, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_id = rejected.run((PEOPLE, CODES))
    rewrite, is_first = Spool.rewrite_rejects, [True]

    def overtaken(self: Spool, table: pa.Table, name: str) -> object:
        if is_first.pop() if is_first else False:
            purge_all(rejected.database, rejected, run_id, "b")
        return rewrite(self, table, name)

    monkeypatch.setattr(Spool, "rewrite_rejects", overtaken)
    assert purge_all(rejected.database, rejected, run_id, "a") == 2
    assert ages(rejected, run_id) == [4, 5]
    assert on_disk(tmp_path, run_id) == 1
    assert rejected.stage.rows("SELECT * FROM leftovers") == []


def test_a_file_that_was_condemned_while_it_was_written_is_not_named(rejected: Rejected) -> None:
    run_id = rejected.run((PEOPLE, CODES))
    with rejected.database.transaction() as connection:
        leftovers.announce(connection, "rejects/x/new.arrow")
        assert leftovers.condemn(connection, older_than_s=60) == []
        assert leftovers.condemn(connection, older_than_s=-1) == ["rejects/x/new.arrow"]
        assert not leftovers.replace(connection, new="rejects/x/new.arrow", old="rejects/x/old.arrow")
    assert purging.remove_leftovers(rejected.database, rejected.spool) == 1
    assert ages(rejected, run_id) == [1, 2, 3, 4, 5]


def test_who_reads_while_a_purge_switches_reads_the_new_file(rejected: Rejected) -> None:
    run_id = rejected.run((PEOPLE, CODES))
    with rejected.database.transaction() as connection:
        (before,) = rejects.files_of(connection, run_id)
    purge_all(rejected.database, rejected, run_id, "a")
    assert rejects.read(rejected.database, rejected.spool, before)["age"].to_pylist() == [2, 4, 5]
