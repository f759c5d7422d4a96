"""Rejected rows are sent anew by a run of their own: once, whatever is struck, and no mark moves for it."""

from typing import Any

import duckdb
import pyarrow as pa
import pytest
import sqlalchemy as sa

from shared.catalog import DataModel, Incremental, IteratorType, Pipeline
from shared.errors import AlreadyInProgress, ColumnMissing, MoveNotAllowed, StoreUnavailable
from shared.ledger import Ledger, RejectCode
from shared.messages import TaskName
from shared.run import Lane, RunId, RunKind, RunState, Window
from shared.store import declared, history, moves, purging, rejects, replays, requests
from shared.store.reject_tables import reject_files, rejected_users
from shared.store.tables import runs
from tests.worker.tasks.conftest import LIMITS
from tests.worker.tasks.desk import ROWS, Desk, Killed, Strike, When, fails_with
from tests.worker.tasks.test_tasks_struck import strikes

BROKEN = StoreUnavailable("the connection broke")
MODE = Incremental(iterator_field="changed_at", iterator_data_type=IteratorType.TIMESTAMP_NTZ)
NOBODY = {1, 2, 5}
TOO_LONG = {4}
QUERY = (
    "SELECT CASE WHEN right(customer_id, 1) IN ('1', '2', '5') THEN NULL ELSE customer_id END AS email, "
    "customer_id AS member, CASE WHEN right(customer_id, 1) = '4' THEN repeat('x', 5000) ELSE firstname END AS bio, "
    "{'city': 'Köln', 'since': changed_at} AS home, changed_at FROM people"
)
"""Of seven people, three are nobody's until ``member`` is known to be an identity, and one writes too much."""
EACH_TASK = pytest.mark.parametrize(
    "task", [TaskName.PLAN_RUN, TaskName.EXTRACT_SLICE, TaskName.UPLOAD_CHUNK, TaskName.SETTLE_RUN]
)


def rejecting(desk: Desk, mode: Any = MODE) -> RunId:
    """Give a settled run with four rejected rows of seven."""
    run_id = desk.trigger(desk.pipeline(mode, query=QUERY))
    assert desk.finish(run_id).ledger == Ledger(extracted=ROWS, accepted=3, rejected=4)
    return run_id


def edit(desk: Desk, pipeline_id: str, **fields: Any) -> None:
    with desk.database.transaction() as store:
        pipeline = declared.get_pipeline(store, pipeline_id).pipeline
        declared.put_pipeline(store, Pipeline.model_validate(pipeline.model_dump() | fields))


def mend(desk: Desk, run_id: RunId) -> None:
    edit(desk, desk.run(run_id).pipeline_id, rename={"member": "customer_id"})


def replay(desk: Desk, run_id: RunId, code: RejectCode | None = None) -> RunId:
    with desk.database.transaction() as store:
        asked = replays.begin(store, run_id, code=code)
    desk.send(*asked.messages)
    (replay_id,) = asked.runs
    return replay_id


def standing(desk: Desk, run_id: RunId) -> Any:
    with desk.database.transaction() as store:
        return declared.get_pipeline(store, desk.run(run_id).pipeline_id).standing


def profiles(desk: Desk, run_id: RunId, numbers: set[int]) -> list[int]:
    """Say how often each of some people was updated."""
    name, found = desk.run(run_id).pipeline_id, desk.stand_in.intake.profiles
    profiles = [found.find("customer_id", f"{name}-{number}") for number in sorted(numbers)]
    return [0 if profile is None else profile.updates for profile in profiles]


def assert_replayed(desk: Desk, rejected: RunId, replay_id: RunId) -> None:
    """See that nobody's three rows were each accepted under one id, and the fourth rejected once more."""
    run = desk.run(replay_id)
    assert run.state is RunState.SETTLED, run
    assert run.ledger == Ledger(extracted=4, accepted=3, rejected=1)
    assert profiles(desk, rejected, NOBODY) == [1, 1, 1]
    assert desk.stand_in.intake.counters.conflicts == 0
    assert desk.run(rejected).ledger == Ledger(extracted=ROWS, accepted=3, rejected=4), "what was, was"


def test_rejected_rows_are_sent_anew_with_todays_mapping_and_without_the_warehouse(desk: Desk) -> None:
    rejected = rejecting(desk)
    stood = standing(desk, rejected)
    (desk.warehouse / f"{desk.run(rejected).pipeline_id}.duckdb").unlink()
    mend(desk, rejected)
    replay_id = replay(desk, rejected)
    run = desk.finish(replay_id)
    assert_replayed(desk, rejected, replay_id)
    assert (run.kind, run.lane, run.replays, run.window) == (RunKind.REPLAY, Lane.BACKFILL, rejected, Window())
    assert standing(desk, rejected) == stood
    assert {chunk["id"] for chunk in desk.chunks(rejected)}.isdisjoint(chunk["id"] for chunk in desk.chunks(replay_id))
    profile = desk.stand_in.intake.profiles.find("customer_id", f"{run.pipeline_id}-1")
    assert profile is not None
    assert '"city":"Köln"' in str(profile.attributes["home"])


def test_a_second_replay_takes_what_is_left_and_a_third_nothing(desk: Desk) -> None:
    rejected = rejecting(desk)
    mend(desk, rejected)
    first = replay(desk, rejected, RejectCode.NO_IDENTITY)
    second = replay(desk, rejected)
    numbers = [desk.run(one).number for one in (first, second)]
    with pytest.raises(
        MoveNotAllowed, match=f"no rejected rows left to replay: taken by replay {numbers[0]} .*{numbers[1]}"
    ):
        replay(desk, rejected)
    assert desk.finish(first).ledger == Ledger(extracted=3, accepted=3)
    assert desk.finish(second).ledger == Ledger(extracted=1, rejected=1)
    with pytest.raises(MoveNotAllowed, match="of code invalid_uuid left"):
        replay(desk, rejected, RejectCode.INVALID_UUID)


def test_what_is_rejected_again_is_replayed_from_the_replay(desk: Desk) -> None:
    rejected = rejecting(desk)
    first = replay(desk, rejected)
    assert desk.finish(first).ledger == Ledger(extracted=4, rejected=4), "nothing was mended"
    mend(desk, rejected)
    with pytest.raises(MoveNotAllowed, match="left to replay"):
        replay(desk, rejected)
    again = replay(desk, first)
    desk.finish(again)
    assert_replayed(desk, rejected, again)


def test_an_abandoned_replay_frees_its_rows_and_they_are_sent_by_another(desk: Desk) -> None:
    rejected = rejecting(desk)
    first = replay(desk, rejected)
    desk.lose_messages()
    with desk.database.transaction() as store:
        moves.cancel(store, first)
    with pytest.raises(MoveNotAllowed, match=r"\(cancelled\)"):
        replay(desk, rejected)
    with desk.database.transaction() as store:
        moves.abandon(store, first)
    with pytest.raises(MoveNotAllowed, match=f"warehouse-sync replay {desk.run(rejected).number}"):
        replay(desk, first)
    mend(desk, rejected)
    second = replay(desk, rejected)
    desk.finish(second)
    assert_replayed(desk, rejected, second)


def test_a_cancelled_replay_goes_on_where_it_stood(desk: Desk) -> None:
    rejected = rejecting(desk)
    mend(desk, rejected)
    replay_id = replay(desk, rejected)
    desk.do(TaskName.UPLOAD_CHUNK, desk.take_until(TaskName.UPLOAD_CHUNK))
    with desk.database.transaction() as store:
        moves.cancel(store, replay_id)
    desk.lose_messages()
    desk.retry(replay_id)
    desk.finish(replay_id)
    assert_replayed(desk, rejected, replay_id)


def test_a_run_at_work_has_to_end_before_its_rejected_rows_are_replayed(desk: Desk) -> None:
    run_id = desk.trigger(desk.pipeline(MODE, query=QUERY))
    arguments = desk.take_until(TaskName.UPLOAD_CHUNK)
    desk.do(TaskName.UPLOAD_CHUNK, arguments)
    with pytest.raises(MoveNotAllowed, match="is uploading"):
        replay(desk, run_id)
    with desk.database.transaction() as store:
        moves.cancel(store, run_id)
    edit(desk, desk.run(run_id).pipeline_id, rename={"member": "customer_id"})
    early = replay(desk, run_id)
    assert desk.finish(early).ledger == Ledger(extracted=2, accepted=2)
    desk.retry(run_id)
    assert desk.finish(run_id).ledger == Ledger(extracted=ROWS, accepted=3, rejected=4)
    late = replay(desk, run_id)
    assert desk.finish(late).ledger == Ledger(extracted=2, accepted=1, rejected=1), "what it rejected afterwards"


def test_a_replay_and_a_backfill_do_not_keep_each_other_waiting(desk: Desk) -> None:
    rejected = rejecting(desk)
    name = desk.run(rejected).pipeline_id
    mend(desk, rejected)
    replay_id = replay(desk, rejected)
    asked: dict[str, Any] = {"low": None, "high": None, "parts": 2, "newest_first": False, "expected_rows": None}
    with desk.database.transaction() as store:
        _, backfill = history.begin(store, name, **asked)
    desk.send(*backfill.messages)
    with pytest.raises(AlreadyInProgress), desk.database.transaction() as store:
        history.begin(store, name, **asked)
    assert desk.finish(replay_id).state is RunState.SETTLED
    (part,) = backfill.runs
    assert desk.finish(part).state is RunState.SETTLED


def test_rows_without_a_column_that_is_needed_today_stop_the_replay_and_say_so(desk: Desk) -> None:
    rejected = rejecting(desk)
    edit(desk, desk.run(rejected).pipeline_id, one_row_per=("loyalty_no",))
    run = desk.finish(replay(desk, rejected))
    assert (run.state, run.error_kind) == (RunState.FAILED, ColumnMissing.__name__)
    assert run.error is not None
    assert f"rejected rows of run {desk.run(rejected).number}" in run.error
    assert "'loyalty_no'" in run.error


@pytest.mark.parametrize("before", [TaskName.PLAN_RUN, TaskName.EXTRACT_SLICE])
def test_what_is_purged_before_a_replay_reads_it_is_not_sent(desk: Desk, before: TaskName) -> None:
    rejected = rejecting(desk)
    mend(desk, rejected)
    replay_id = replay(desk, rejected)
    arguments = desk.take_until(before)
    name = desk.run(rejected).pipeline_id
    purge(desk, rejected, {f"{name}-1", f"{name}-4"})
    desk.do(before, arguments)
    assert desk.finish(replay_id).ledger == Ledger(extracted=2, accepted=2)
    assert profiles(desk, rejected, NOBODY) == [0, 1, 1]


def test_a_replay_of_which_everything_is_purged_settles_with_nothing(desk: Desk) -> None:
    rejected = rejecting(desk)
    mend(desk, rejected)
    replay_id = replay(desk, rejected)
    purge(desk, rejected, {f"{desk.run(rejected).pipeline_id}-{number}" for number in range(ROWS)})
    run = desk.finish(replay_id)
    assert (run.state, run.ledger) == (RunState.SETTLED, Ledger())


def purge(desk: Desk, run_id: RunId, members: set[str]) -> None:
    with desk.database.transaction() as store:
        files = rejects.files_of(store, run_id)
    for file in files:
        purging.purge(
            desk.database,
            desk.process.spool,
            file,
            lambda table: pa.array([member in members for member in table["member"].to_pylist()], pa.bool_()),
        )


@EACH_TASK
@pytest.mark.parametrize(("when", "failure"), [(When.BEFORE, BROKEN), (When.AFTER, Killed())])
def test_a_replays_task_struck_at_any_commit_is_made_good(
    desk: Desk, task: TaskName, when: When, failure: BaseException
) -> None:
    def strike_at(nth: int) -> bool:
        rejected = rejecting(desk)
        mend(desk, rejected)
        replay_id = replay(desk, rejected)
        arguments = desk.take_until(task)
        strike = Strike(nth, when, fails_with(failure))
        with desk.database.struck(strike):
            desk.do(task, arguments)
        desk.finish(replay_id)
        assert_replayed(desk, rejected, replay_id)
        return strike.fell

    assert strikes(strike_at) > 0


@pytest.mark.parametrize("when", When)
def test_a_request_that_dies_around_its_commit_has_taken_the_rows_or_not(desk: Desk, when: When) -> None:
    rejected = rejecting(desk)
    mend(desk, rejected)
    with desk.database.struck(Strike(1, when, fails_with(Killed()))):
        replay(desk, rejected)
    found = desk.rows(sa.select(runs.c.id).where(runs.c.replays == rejected))
    assert len(found) == (when is When.AFTER)
    replay_id = RunId(found[0]["id"]) if found else replay(desk, rejected)
    desk.finish(replay_id)  # Its message was never sent: upkeep finds it.
    assert_replayed(desk, rejected, replay_id)


@EACH_TASK
def test_a_replays_lost_message_is_sent_again(desk: Desk, task: TaskName) -> None:
    rejected = rejecting(desk)
    mend(desk, rejected)
    replay_id = replay(desk, rejected)
    assert desk.take_until(task)
    desk.finish(replay_id)
    assert_replayed(desk, rejected, replay_id)


def test_a_replays_messages_delivered_twice_at_once_do_everything_once(desk: Desk) -> None:
    rejected = rejecting(desk)
    mend(desk, rejected)
    replay_id = replay(desk, rejected)
    desk.finish(replay_id, lambda task, arguments: desk.do_at_once(task, arguments, times=2))
    assert_replayed(desk, rejected, replay_id)
    assert set(desk.taken_ids().values()) == {1}


@pytest.mark.parametrize("limits", [LIMITS | {"REJECT_RETENTION_S": "0.001"}])
def test_retention_spares_what_an_open_replay_has_yet_to_read(desk: Desk, limits: dict[str, str]) -> None:
    assert desk.process.settings.reject_retention_s == float(limits["REJECT_RETENTION_S"])
    rejected = rejecting(desk)
    mend(desk, rejected)
    replay_id = replay(desk, rejected)
    desk.do(TaskName.UPKEEP, ())
    assert desk.rows(sa.select(reject_files).where(reject_files.c.run_id == rejected))
    upload = desk.take_until(TaskName.UPLOAD_CHUNK)
    desk.do(TaskName.UPKEEP, ())
    assert not desk.rows(sa.select(reject_files).where(reject_files.c.run_id == rejected)), "it has read them"
    assert not (desk.warehouse / "spool" / "rejects" / str(rejected)).exists()
    desk.do(TaskName.UPLOAD_CHUNK, upload)
    desk.finish(replay_id)
    assert_replayed(desk, rejected, replay_id)
    with pytest.raises(MoveNotAllowed, match="removed when their retention ended"):
        replay(desk, rejected)


def test_a_row_whose_user_was_sent_a_newer_one_while_the_replay_waits_is_superseded(desk: Desk) -> None:
    rejected = rejecting(desk)
    name = desk.run(rejected).pipeline_id
    mend(desk, rejected)
    replay_id = replay(desk, rejected)
    upload = desk.take_until(TaskName.UPLOAD_CHUNK)
    with duckdb.connect(str(desk.warehouse / f"{name}.duckdb")) as warehouse:
        warehouse.execute(
            "UPDATE people SET firstname = 'newer', changed_at = now()::TIMESTAMP WHERE right(customer_id, 1) = '1'"
        )
    with desk.database.transaction() as store:
        asked = requests.trigger(store, name, window_chunks=desk.window_chunks, max_reopenings=3)
    desk.lose_messages()
    desk.send(*asked.messages)
    (live,) = asked.runs
    assert desk.finish(live).ledger == Ledger(extracted=1, accepted=1)
    desk.do(TaskName.UPLOAD_CHUNK, upload)
    assert desk.finish(replay_id).ledger == Ledger(extracted=4, accepted=2, rejected=1, superseded=1)
    profile = desk.stand_in.intake.profiles.find("customer_id", f"{name}-1")
    assert profile is not None
    assert profile.attributes["bio"] == "newer"


def changed(desk: Desk, name: str, number: int, value: str) -> RunId:
    """Change one person, and have the live lane asked to read that."""
    with duckdb.connect(str(desk.warehouse / f"{name}.duckdb")) as warehouse:
        warehouse.execute(
            "UPDATE people SET firstname = ?, changed_at = now()::TIMESTAMP WHERE customer_id = ?",
            [value, f"{name}-{number}"],
        )
    with desk.database.transaction() as store:
        asked = requests.trigger(store, name, window_chunks=desk.window_chunks, max_reopenings=3)
    desk.send(*asked.messages)
    return asked.runs[0]


def attribute(desk: Desk, name: str, number: int) -> object:
    profile = desk.stand_in.intake.profiles.find("customer_id", f"{name}-{number}")
    assert profile is not None
    return profile.attributes["bio"]


NO_UUID = (
    "SELECT customer_id, CASE WHEN firstname = 'Zoë' THEN 'none' END AS ios_idfv,"
    " firstname AS bio, changed_at FROM people"
)
"""Everybody has a device identity that is none, until he changes."""


def rejecting_everybody(desk: Desk) -> tuple[str, RunId]:
    """Give a pipeline, and its settled run that rejected everybody, though it could tell who they are."""
    name = desk.pipeline(MODE, query=NO_UUID)
    run_id = desk.trigger(name)
    assert desk.finish(run_id).ledger == Ledger(extracted=ROWS, rejected=ROWS)
    return name, run_id


def test_who_was_sent_a_newer_row_since_the_rejection_keeps_it(desk: Desk) -> None:
    name, rejected = rejecting_everybody(desk)
    assert desk.finish(changed(desk, name, 1, "newer")).ledger == Ledger(extracted=1, accepted=1)
    assert desk.finish(changed(desk, name, 2, "newer")).ledger == Ledger(extracted=1, accepted=1)
    run = desk.finish(replay(desk, rejected))
    assert run.ledger == Ledger(extracted=ROWS, rejected=ROWS), "a row that a check refuses is a reject first of all"
    edit(desk, name, rename={"ios_idfv": "vendor"})
    again = desk.finish(replay(desk, run.id))
    assert again.ledger == Ledger(extracted=ROWS, accepted=ROWS - 2, superseded=2)
    assert [attribute(desk, name, number) for number in (1, 2)] == ["newer", "newer"]


def test_a_replay_that_begins_and_ends_at_any_commit_of_a_live_attempt_never_has_the_last_word(desk: Desk) -> None:
    superseded: set[int] = set()

    def begin_at(nth: int) -> bool:
        name, rejected = rejecting_everybody(desk)
        edit(desk, name, rename={"ios_idfv": "vendor"})
        live = changed(desk, name, 1, "newer")
        upload = desk.take_until(TaskName.UPLOAD_CHUNK)

        def replay_all() -> None:
            superseded.add(desk.finish(replay(desk, rejected)).ledger.superseded)

        strike = Strike(nth, When.AFTER, replay_all)
        with desk.database.struck(strike):
            desk.do(TaskName.UPLOAD_CHUNK, upload)
        assert desk.finish(live).ledger == Ledger(extracted=1, accepted=1)
        assert attribute(desk, name, 1) == "newer"
        return strike.fell

    assert strikes(begin_at) > 6
    assert superseded == {0, 1}, "it came first, or its row was left out"


CHANGED_TWICE = (
    "SELECT customer_id, NULL AS ios_idfv, firstname AS bio, changed_at FROM people UNION ALL "
    "SELECT customer_id, 'none', 'older', changed_at - INTERVAL 1 HOUR FROM people WHERE right(customer_id, 1) = '1'"
)
"""One person has an older row with a device identity that is none."""


ONE_CHUNK = LIMITS | {"CHUNK_MAX_ROWS": "100"}
OLDER_FIRST = "ORDER BY bio DESC"


@pytest.mark.parametrize(
    ("order", "limits"), [(OLDER_FIRST, LIMITS), (OLDER_FIRST, ONE_CHUNK), ("ORDER BY bio", ONE_CHUNK)]
)
def test_who_was_sent_a_newer_row_by_the_run_that_rejected_the_older_keeps_it(
    desk: Desk, order: str, limits: dict[str, str]
) -> None:
    name = desk.pipeline(MODE, query=f"SELECT * FROM ({CHANGED_TWICE} {order})")
    rejected = desk.trigger(name)
    assert desk.finish(rejected).ledger == Ledger(extracted=ROWS + 1, accepted=ROWS, rejected=1), limits
    edit(desk, name, rename={"ios_idfv": "vendor"})
    assert desk.finish(replay(desk, rejected)).ledger == Ledger(extracted=1, superseded=1)
    assert attribute(desk, name, 1) == "Zoë"


REJECTED_TWICE = (
    "SELECT customer_id, 'none' AS ios_idfv, 'newer' AS bio, NULL AS city, changed_at FROM people "
    "WHERE right(customer_id, 1) = '1' UNION ALL SELECT customer_id, NULL, repeat('x', 5000), 'Köln', "
    "changed_at - INTERVAL 1 HOUR FROM people WHERE right(customer_id, 1) = '1'"
)
"""One person's newer row has a device identity that is none, and the older one is too long."""
ACCEPTING = {"rename": {"ios_idfv": "vendor"}, "limits": {"attribute_value": "truncate"}}


def test_a_replay_of_older_rows_does_not_follow_one_of_newer_rows(desk: Desk) -> None:
    name = desk.pipeline(MODE, query=REJECTED_TWICE)
    rejected = desk.trigger(name)
    assert desk.finish(rejected).ledger == Ledger(extracted=2, rejected=2)
    edit(desk, name, **ACCEPTING)
    assert desk.finish(replay(desk, rejected, RejectCode.INVALID_UUID)).ledger == Ledger(extracted=1, accepted=1)
    assert desk.finish(replay(desk, rejected)).ledger == Ledger(extracted=1, superseded=1)
    assert attribute(desk, name, 1) == "newer"


def test_rejected_rows_of_one_user_are_replayed_together(desk: Desk) -> None:
    name = desk.pipeline(MODE, query=REJECTED_TWICE)
    rejected = desk.trigger(name)
    desk.finish(rejected)
    edit(desk, name, **ACCEPTING)
    assert desk.finish(replay(desk, rejected)).ledger == Ledger(extracted=2, accepted=2)
    profile = desk.stand_in.intake.profiles.find("customer_id", f"{name}-1")
    assert profile is not None
    assert (profile.attributes["bio"], profile.attributes["city"]) == ("newer", "Köln")


@pytest.mark.parametrize("limits", [LIMITS | {"REJECT_RETENTION_S": "0.001"}])
def test_an_open_replay_knows_who_was_sent_newer_rows_though_retention_has_ended(
    desk: Desk, limits: dict[str, str]
) -> None:
    assert desk.process.settings.reject_retention_s == float(limits["REJECT_RETENTION_S"])
    name, rejected = rejecting_everybody(desk)
    assert desk.finish(changed(desk, name, 1, "newer")).ledger == Ledger(extracted=1, accepted=1)
    edit(desk, name, rename={"ios_idfv": "vendor"})
    replay_id = replay(desk, rejected)
    upload = desk.take_until(TaskName.UPLOAD_CHUNK)
    desk.do(TaskName.UPKEEP, ())
    assert not desk.rows(sa.select(reject_files).where(reject_files.c.run_id == rejected)), "the replay has read them"
    desk.do(TaskName.UPLOAD_CHUNK, upload)
    assert desk.finish(replay_id).ledger == Ledger(extracted=ROWS, accepted=ROWS - 1, superseded=1)
    assert attribute(desk, name, 1) == "newer"
    desk.do(TaskName.UPKEEP, ())
    assert desk.rows(sa.select(rejected_users).where(rejected_users.c.pipeline_id == name)) == []


@pytest.mark.parametrize("limits", [LIMITS | {"REJECT_RETENTION_S": "0.001"}])
def test_users_are_forgotten_with_the_last_of_their_rejected_rows(desk: Desk, limits: dict[str, str]) -> None:
    assert desk.process.settings.reject_retention_s == float(limits["REJECT_RETENTION_S"])
    rejecting_everybody(desk)
    assert len(desk.rows(sa.select(rejected_users))) == ROWS
    desk.do(TaskName.UPKEEP, ())
    assert desk.rows(sa.select(rejected_users)) == []


def test_a_secret_column_that_the_query_does_not_return_stops_a_plan_and_names_the_nearest(desk: Desk) -> None:
    name = desk.pipeline(MODE, query=QUERY)
    with desk.database.transaction() as store:
        declared.put(store, DataModel(id=name, name=name, sql_query=QUERY, secret_columns=("EMAIL", "memberr")))
    run = desk.finish(desk.trigger(name))
    assert run.error_kind == ColumnMissing.__name__
    assert run.error is not None
    assert "'memberr'" in run.error
    assert "did you mean 'member'?" in run.error
