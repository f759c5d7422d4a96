"""History in parts, planned by the task against a real warehouse: every row once, whatever part is struck."""

from datetime import UTC, datetime, timedelta
from itertools import pairwise

import duckdb
import pytest
import sqlalchemy as sa

from shared.catalog import Incremental, IteratorType
from shared.errors import StoreUnavailable
from shared.ledger import Ledger
from shared.messages import TaskName
from shared.run import Lane, Run, RunId, RunState
from shared.store import backfills, declared, history, runs
from shared.store.tables import runs as runs_table
from tests.worker.tasks.desk import Desk, Killed, Strike, When, fails_with

DAYS = 40
BROKEN = StoreUnavailable("the connection broke")
BEGAN = datetime(2024, 1, 1, tzinfo=UTC)
ITERATOR = Incremental(iterator_field="changed_at", iterator_data_type=IteratorType.TIMESTAMP)


def aged(desk: Desk, **mode: object) -> str:
    """Declare a pipeline whose people changed a day apart, and one of whom has no time."""
    name = desk.pipeline(ITERATOR.model_copy(update=mode))
    with duckdb.connect(str(desk.warehouse / f"{name}.duckdb")) as warehouse:
        warehouse.execute(
            f"CREATE OR REPLACE TABLE people AS SELECT '{name}-' || i AS customer_id, 'Zoë' AS firstname,"
            f" CASE WHEN i = 0 THEN NULL ELSE TIMESTAMP '2024-01-01' + i * INTERVAL 1 DAY END AS changed_at"
            f" FROM range({DAYS}) t(i)"
        )
    return name


def parts(desk: Desk) -> list[Run]:
    query = sa.select(runs_table.c.id).where(runs_table.c.lane == Lane.BACKFILL).order_by(runs_table.c.part)
    return [desk.run(RunId(row["id"])) for row in desk.rows(query)]


def finish_all(desk: Desk) -> list[Run]:
    """Have everything done that messages ask for, and what upkeep finds, until no part is left."""
    for _ in range(50):
        left = [run for run in parts(desk) if run.state is not RunState.SETTLED]
        if not left:
            return parts(desk)
        working = next(run for run in left if run.state is not RunState.WAITING)
        desk.finish(working.id)
    raise AssertionError(f"history does not end: {parts(desk)}")


def assert_everybody_once(desk: Desk, found: list[Run], people: int = DAYS) -> None:
    assert sum(run.ledger.accepted for run in found) == people
    assert all(run.ledger.balances for run in found)
    assert len(desk.taken_ids()) == people
    assert desk.stand_in.intake.counters.conflicts == 0


@pytest.mark.parametrize("is_newest_first", [False, True])
def test_parts_hold_every_row_once_and_the_oldest_those_without_a_time(desk: Desk, *, is_newest_first: bool) -> None:
    desk.trigger(aged(desk, history_parts=4, history_newest_first=is_newest_first))
    found = finish_all(desk)
    assert len(found) == 4
    assert_everybody_once(desk, found)
    oldest = found[-1] if is_newest_first else found[0]
    assert [run.window.includes_null for run in found].count(True) == 1
    assert oldest.window.includes_null
    assert oldest.window.low is None
    in_time = found[::-1] if is_newest_first else found
    assert all(one.window.high == following.window.low for one, following in pairwise(in_time))


def test_the_rows_that_a_part_should_have_decide_how_many_there_are(desk: Desk) -> None:
    name = aged(desk, history_part_rows=10)
    desk.trigger(name)
    found = finish_all(desk)
    assert len(found) == 4
    assert_everybody_once(desk, found)
    with desk.database.transaction() as store:
        (backfill,) = backfills.newest(store, name)
    assert backfill.expected_rows == DAYS


def test_track_from_is_inclusive_and_begins_the_first_part(desk: Desk) -> None:
    desk.trigger(aged(desk, history_parts=2, track_from=BEGAN + timedelta(days=30)))
    found = finish_all(desk)
    assert found[0].window.low == BEGAN + timedelta(days=30)
    assert_everybody_once(desk, found, people=DAYS - 30 + 1)


@pytest.mark.parametrize("task", [TaskName.PLAN_RUN, TaskName.EXTRACT_SLICE, TaskName.SETTLE_RUN])
@pytest.mark.parametrize("when", When)
@pytest.mark.parametrize("nth", [1, 2, 3])
def test_a_task_struck_while_parts_follow_each_other_is_made_good(
    desk: Desk, task: TaskName, when: When, nth: int
) -> None:
    desk.trigger(aged(desk, history_parts=3))
    arguments = desk.take_until(task)
    with desk.database.struck(Strike(nth, when, fails_with(Killed()))):
        desk.do(task, arguments)
    desk.lose_messages()
    found = finish_all(desk)
    assert len(found) == 3
    assert_everybody_once(desk, found)


def test_a_backfill_reads_a_window_again_under_new_ids_and_moves_no_mark(desk: Desk) -> None:
    name = aged(desk)
    desk.trigger(name)
    finish_all(desk)
    with desk.database.transaction() as store:
        _, asked = history.begin(
            store,
            name,
            low=BEGAN + timedelta(days=10, hours=5),
            high=BEGAN + timedelta(days=20),
            parts=2,
            newest_first=False,
            expected_rows=None,
        )
    desk.send(*asked.messages)
    with desk.database.transaction() as store:
        again = [run.id for run in runs.newest(store, name) if run.kind == "backfill"]
    first = desk.finish(again[0])
    with desk.database.transaction() as store:
        both = [run for run in runs.newest(store, name) if run.kind == "backfill"]
    ended = [desk.finish(run.id) for run in both]
    assert first.window.low == BEGAN + timedelta(days=10, hours=5)
    assert sum(run.ledger.accepted for run in ended) == 9
    assert len(desk.taken_ids()) == DAYS + 9


def test_lookback_reads_late_rows_and_leaves_the_window_and_the_watermark_their_meaning(desk: Desk) -> None:
    name = aged(desk, lookback=timedelta(days=30))
    desk.trigger(name)
    finish_all(desk)
    late = datetime.now(UTC).replace(tzinfo=None) - timedelta(days=3)
    with duckdb.connect(str(desk.warehouse / f"{name}.duckdb")) as warehouse:
        warehouse.execute(f"INSERT INTO people VALUES ('{name}-late', 'Zoë', ?)", [late])
    run_id = desk.trigger(name)
    before = desk.run(run_id)
    run = desk.finish(run_id)
    assert (run.state, run.ledger) == (RunState.SETTLED, Ledger(extracted=1, accepted=1)), before
    assert run.window.low is not None
    assert run.window.low > late.replace(tzinfo=UTC), "the window begins at the watermark, not at the lookback"


def test_a_row_that_is_read_again_is_left_out_by_its_key(desk: Desk) -> None:
    name = aged(desk, lookback=timedelta(days=30), row_key="CUSTOMER_ID")
    desk.trigger(name)
    finish_all(desk)
    late = datetime.now(UTC).replace(tzinfo=None) - timedelta(days=3)
    with duckdb.connect(str(desk.warehouse / f"{name}.duckdb")) as warehouse:
        warehouse.execute(f"INSERT INTO people VALUES ('{name}-late', 'Zoë', ?)", [late])
    assert desk.finish(desk.trigger(name)).ledger == Ledger(extracted=1, accepted=1)
    assert desk.finish(desk.trigger(name)).ledger == Ledger(extracted=1, unchanged=1)
    assert len(desk.taken_ids()) == DAYS + 1


def test_one_row_per_user_is_kept_by_the_warehouse(desk: Desk) -> None:
    name = aged(desk)
    with desk.database.transaction() as store:
        pipeline = declared.get_pipeline(store, name).pipeline
        declared.put_pipeline(store, pipeline.model_copy(update={"one_row_per": ("customer_id",)}))
    with duckdb.connect(str(desk.warehouse / f"{name}.duckdb")) as warehouse:
        warehouse.execute("INSERT INTO people SELECT customer_id, 'Ada', TIMESTAMP '2025-01-01' FROM people")
    desk.trigger(name)
    found = finish_all(desk)
    assert_everybody_once(desk, found)
    profile = desk.stand_in.intake.profiles.find("customer_id", f"{name}-5")
    assert profile is not None
    assert "Ada" in str(profile)
