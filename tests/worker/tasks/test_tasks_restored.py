"""PostgreSQL is lost and restored from a backup, and after every decision the warehouse's rows are in mParticle."""

import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from uuid import uuid4

import duckdb
import pytest
import sqlalchemy as sa

from console.recovering import Recovering, Recovery
from console.recovery import Ways
from sandbox.binaries import Places, find_postgres
from sandbox.services import Services
from shared.catalog import Incremental, IteratorType
from shared.messages import Message, TaskName
from shared.run import Lane, Run, RunId, RunState
from shared.settings import settings
from shared.store import chunks, declared, markers, moves, runs
from shared.store.claims import ClaimLost
from shared.store.tables import chunks as chunks_table
from shared.store.tables import runs as runs_table
from tests.worker.tasks.desk import ROWS, Desk, Killed, Strike, When, fails_with
from tests.worker.tasks.test_tasks_struck import strikes

MODE = Incremental(iterator_field="changed_at", iterator_data_type=IteratorType.TIMESTAMP_NTZ)
SINCE = "since"
"""Of whom is in the warehouse later than history."""


class Backup:
    """A dump of the desk's database, by the programs that an operator would use."""

    def __init__(self, services: Services, desk: Desk, folder: Path) -> None:
        self._programs = find_postgres(Places.usual({}))
        self._administration = services.database_url
        self._url = desk.database.url
        self._desk = desk
        self._file = folder / "backup.dump"

    def make(self) -> None:
        self._run("pg_dump", "--format=custom", f"--file={self._file}", self._address)

    def lose_and_restore(self) -> None:
        """Drop the database, and make it anew from the dump."""
        self._desk.database.close()
        engine = sa.create_engine(self._administration, isolation_level="AUTOCOMMIT", poolclass=sa.NullPool)
        with engine.connect() as connection:
            connection.exec_driver_sql(f'DROP DATABASE "{self._url.database}" WITH (FORCE)')
            connection.exec_driver_sql(f'CREATE DATABASE "{self._url.database}" TEMPLATE template0')
        engine.dispose()
        self._run("pg_restore", "--exit-on-error", f"--dbname={self._address}", str(self._file))

    @property
    def _address(self) -> str:
        return self._url.set(drivername="postgresql").render_as_string(hide_password=False)

    def _run(self, program: str, *arguments: str) -> None:
        done = subprocess.run([self._programs / program, *arguments], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr


@pytest.fixture
def backup(services: Services, desk: Desk, tmp_path: Path) -> Backup:
    with desk.database.transaction() as store:
        markers.agree(store, "spool", desk.process.spool.marker())
    return Backup(services, desk, tmp_path)


def settled(desk: Desk, pipeline_id: str) -> Run:
    run = desk.finish(desk.trigger(pipeline_id))
    assert run.state is RunState.SETTLED, run
    return run


def change(desk: Desk, name: str, which: str, rows: int = ROWS) -> None:
    """Put more people into a pipeline's warehouse."""
    with duckdb.connect(str(desk.warehouse / f"{name}.duckdb")) as warehouse:
        warehouse.execute(
            f"INSERT INTO people SELECT '{name}-{which}-' || i, 'Zoë', (now() AT TIME ZONE 'UTC')::TIMESTAMP"
            f" FROM range({rows}) t(i)"
        )


def people(desk: Desk, name: str) -> list[str]:
    with duckdb.connect(str(desk.warehouse / f"{name}.duckdb"), read_only=True) as warehouse:
        return [id_ for (id_,) in warehouse.execute("SELECT customer_id FROM people").fetchall()]


def updates(desk: Desk, customer_id: str) -> int:
    """How often the stand-in has taken something new about somebody."""
    profile = desk.stand_in.intake.profiles.find("customer_id", customer_id)
    return 0 if profile is None else int(profile.updates)


def recover(desk: Desk, **options: bool) -> Recovery:
    return Recovering(desk.database, settings(), dict).recover(**options)


def of_pipeline(desk: Desk, pipeline_id: str) -> Sequence[Run]:
    with desk.database.transaction() as store:
        return runs.newest(store, pipeline_id)


def half_uploaded(desk: Desk, name: str) -> tuple[RunId, Any]:
    """Trigger a run whose first chunk is done and whose second is claimed by somebody who dies; give that chunk."""
    run_id = desk.trigger(name)
    desk.do(TaskName.UPLOAD_CHUNK, desk.take_until(TaskName.UPLOAD_CHUNK))
    arguments = desk.take_until(TaskName.UPLOAD_CHUNK)
    with desk.database.struck(Strike(1, When.AFTER, fails_with(Killed()))):
        desk.do(TaskName.UPLOAD_CHUNK, arguments)
    desk.lose_messages()
    (claimed,) = (chunk for chunk in desk.chunks(run_id) if chunk["token"] is not None)
    return run_id, claimed


def half_extracted(desk: Desk, name: str) -> RunId:
    """Trigger a run whose only slice is claimed by somebody who dies."""
    run_id = desk.trigger(name)
    arguments = desk.take_until(TaskName.EXTRACT_SLICE)
    with desk.database.struck(Strike(1, When.AFTER, fails_with(Killed()))):
        desk.do(TaskName.EXTRACT_SLICE, arguments)
    desk.lose_messages()
    assert [one["state"] for one in desk.slices(run_id)] == ["extracting"]
    return run_id


def test_after_a_restore_and_a_decision_about_each_run_every_row_of_the_warehouse_has_reached_mparticle(
    desk: Desk, backup: Backup
) -> None:
    approved, abandoned, idle = (desk.pipeline(MODE) for _ in range(3))
    for name in (approved, abandoned, idle):
        settled(desk, name)
        change(desk, name, SINCE)
    uploading, claimed = half_uploaded(desk, approved)
    extracting = half_extracted(desk, abandoned)
    backup.make()

    for run_id in (uploading, extracting):  # Life goes on, and nobody will know.
        assert desk.finish(run_id).state is RunState.SETTLED
    for name in (approved, abandoned, idle):
        change(desk, name, "unknown")
        settled(desk, name)
    last_number = desk.run(desk.trigger(idle)).number
    stray = desk.take_until(TaskName.SETTLE_RUN)
    backup.lose_and_restore()

    found = recover(desk)
    assert [(one.run.id, one.ways, one.missing) for one, _ in found.runs] == sorted(
        [(uploading, Ways.ANY, 0), (extracting, Ways.ANY, 0)], key=lambda one: desk.run(one[0]).pipeline_id
    )
    assert found.spool == "is the one of the backup"
    assert found.unknown_runs, "runs that were begun since have left chunks"
    desk.do(TaskName.SETTLE_RUN, stray)
    assert desk.run(uploading).is_held
    with pytest.raises(ClaimLost), desk.database.transaction() as store:
        chunks.renew(store, claimed["id"], claimed["token"], 60)
    for chunk in desk.chunks(uploading):
        assert chunk["token"] is None
    assert {one["state"] for one in desk.slices(extracting)} == {"pending"}

    with desk.database.transaction() as store:
        asked = moves.approve(store, uploading, window_chunks=desk.window_chunks)
        moves.abandon(store, extracting)
    desk.send(*asked.messages)
    assert desk.finish(uploading).state is RunState.SETTLED
    for name in (approved, abandoned, idle):
        assert settled(desk, name).number > last_number, "no number is given twice"
        change(desk, name, "later")
        settled(desk, name)

    for name in (approved, abandoned, idle):
        there = people(desk, name)
        assert len(there) == 4 * ROWS
        assert [id_ for id_ in there if not updates(desk, id_)] == []
        all_runs = of_pipeline(desk, name)
        assert all(run.ledger.balances for run in all_runs)
        accepted = sum(run.ledger.accepted for run in all_runs if run.state is RunState.SETTLED)
        assert accepted == len(there), "each row is in the window of one settled run"
        with desk.database.transaction() as store:
            standing = declared.get_pipeline(store, name).standing
        assert standing.is_history_settled
        assert standing.watermark == max(run.window.high for run in all_runs if run.window.high is not None)
    assert desk.stand_in.intake.counters.conflicts == 0
    assert {updates(desk, f"{approved}-{SINCE}-{row}") for row in range(ROWS)} == {1}, "approved: the same ids"
    assert {updates(desk, f"{abandoned}-{SINCE}-{row}") for row in range(ROWS)} == {2}, "abandoned: sent anew"


def test_a_run_whose_chunks_are_gone_can_only_be_abandoned(desk: Desk, backup: Backup) -> None:
    name = desk.pipeline(MODE)
    settled(desk, name)
    change(desk, name, SINCE)
    run_id, _ = half_uploaded(desk, name)
    backup.make()
    desk.finish(run_id)
    desk.process.spool.remove_run(run_id)  # As upkeep does once its chunks' retention has ended.
    backup.lose_and_restore()
    ((found, why),) = recover(desk).runs
    assert (found.ways, found.missing) == (Ways.ABANDON, found.unfinished)
    assert "only abandon leads on" in why
    with desk.database.transaction() as store:
        asked = moves.approve(store, run_id, window_chunks=desk.window_chunks)
    desk.send(*asked.messages)
    run = desk.finish(run_id)
    assert (run.state, run.error_kind) == (RunState.FAILED, "ChunkCorrupt"), "who approves it nevertheless"
    with desk.database.transaction() as store:
        moves.abandon(store, run_id)
    desk.lose_messages()
    settled(desk, name)
    assert [id_ for id_ in people(desk, name) if not updates(desk, id_)] == []


def test_messages_of_what_the_store_does_not_know_find_nothing_to_do(desk: Desk) -> None:
    unknown = [
        Message(task, uuid4(), Lane.LIVE)
        for task in (TaskName.PLAN_RUN, TaskName.EXTRACT_SLICE, TaskName.UPLOAD_CHUNK, TaskName.SETTLE_RUN)
    ]
    desk.send(*unknown, Message(TaskName.PROBE, uuid4()))
    done = 0
    while taken := desk.take():
        desk.do(*taken)
        done += 1
    assert done == len(unknown) + 1
    for table in (runs_table, chunks_table):
        assert desk.rows(sa.select(table)) == []


def test_a_recovery_that_dies_before_its_commit_has_held_nothing_and_repeating_one_changes_nothing(
    desk: Desk, backup: Backup
) -> None:
    name = desk.pipeline(MODE)
    run_id, _ = half_uploaded(desk, name)
    backup.make()
    backup.lose_and_restore()
    before = desk.run(run_id)

    def strike_at(nth: int) -> bool:
        strike = Strike(nth, When.BEFORE, fails_with(Killed()))
        with desk.database.struck(strike):
            recover(desk)
        assert desk.run(run_id) == before or not strike.fell
        return strike.fell

    assert strikes(strike_at) > 0
    held = desk.run(run_id)
    assert held.is_held
    numbers = recover(desk).last_skipped
    assert desk.run(run_id) == held
    assert recover(desk).last_skipped == numbers
    assert recover(desk).runs[0][1] == held.held_reason
