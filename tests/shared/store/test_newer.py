"""What keeps old rows from following newer ones, in the store: marks, turns, and the keys of accepted rows."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

import pytest
import sqlalchemy as sa
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import Connection

from sandbox.processes import wait_for
from shared.errors import HistoryOvertaken, MoveNotAllowed, StoreUnavailable
from shared.run import Lane, Run, RunId, RunKind, RunState
from shared.store import accepted, backfills, history, moves, newer, requests, runs, turns
from shared.store.database import Database
from shared.store.declared import get_pipeline
from shared.store.declared_tables import pipelines
from shared.store.history_tables import accepted_keys, newer_counts, newer_rows
from shared.store.tables import runs as runs_table
from tests.shared.store.stage import INCREMENTAL, MAX_REOPENINGS, WINDOW_CHUNKS, Stage

NOON = datetime(2024, 5, 1, 12, tzinfo=UTC)
MOST = 1_000
LIMIT_S = 60


def at(minute: int) -> datetime:
    return NOON + timedelta(minutes=minute)


def user(number: int) -> UUID:
    return UUID(int=number)


@pytest.fixture
def people(stage: Stage) -> str:
    return stage.declare(mode=INCREMENTAL)


def begin(stage: Stage, pipeline_id: str, state: RunState = RunState.CREATED, lane: Lane = Lane.BACKFILL) -> RunId:
    with stage.database.transaction() as connection:
        kind = RunKind.INITIAL if lane is Lane.BACKFILL else RunKind.MANUAL
        run = runs.create(
            connection, get_pipeline(connection, pipeline_id), kind, lane, state=state, part=uuid4().int % 2**30
        )
    return run.id


def ask(stage: Stage, question: Callable[..., object], *arguments: object, **named: object) -> object:
    with stage.database.transaction() as connection:
        return question(connection, *arguments, **named)


def marks(stage: Stage) -> dict[UUID, datetime]:
    with stage.database.transaction() as connection:
        found = {row.user_key: row.iterator_at for row in connection.execute(sa.select(newer_rows))}
        counted = connection.scalar(sa.select(newer_counts.c.rows)) or 0
    assert counted == len(found), "marks are counted"
    return found


@pytest.mark.parametrize("state", RunState)
def test_a_pipeline_is_watched_while_a_run_that_read_history_is_not_closed(
    stage: Stage, people: str, state: RunState
) -> None:
    stage.declare("others", mode=INCREMENTAL)
    begin(stage, "others")
    begin(stage, people, RunState.UPLOADING, Lane.LIVE)
    assert not ask(stage, newer.is_watched, people)
    if state is RunState.SETTLED:
        return
    begin(stage, people, state)
    is_open = state not in {RunState.WAITING, RunState.SETTLED, RunState.ABANDONED}
    assert ask(stage, newer.is_watched, people) is is_open
    assert ask(stage, newer.is_loading, people) is is_open


@settings(max_examples=30, deadline=None)
@given(
    st.lists(
        st.dictionaries(st.integers(0, 9), st.integers(0, 9)),
        max_size=6,
    )
)
def test_a_mark_is_the_newest_of_all_and_never_goes_back(
    common_database: Database, given_marks: list[dict[int, int]]
) -> None:
    stage = Stage(common_database)
    stage.clear()
    people = stage.declare(mode=INCREMENTAL)
    expected: dict[UUID, datetime] = {}
    for some in given_marks:
        assert ask(stage, newer.mark, people, {user(one): at(minute) for one, minute in some.items()}, most=MOST)
        for one, minute in some.items():
            expected[user(one)] = max(at(minute), expected.get(user(one), NOON))
    assert marks(stage) == expected
    asked = [user(number) for number in range(5)]
    found = ask(stage, newer.newer, people, asked)
    assert found == {one: expected[one] for one in asked if one in expected}
    assert ask(stage, newer.newer, "others", asked) == {}


def test_where_marks_have_no_room_none_is_made(stage: Stage, people: str) -> None:
    assert ask(stage, newer.mark, people, {user(1): at(1), user(2): at(1)}, most=3)
    assert not ask(stage, newer.mark, people, {user(1): at(2), user(3): at(1), user(4): at(1)}, most=3)
    assert marks(stage) == {user(1): at(1), user(2): at(1)}
    assert ask(stage, newer.mark, people, {user(1): at(2), user(2): at(3), user(3): at(1)}, most=3)
    assert marks(stage) == {user(1): at(2), user(2): at(3), user(3): at(1)}


def test_marks_made_at_the_same_time_are_all_counted_and_wait_in_no_circle(stage: Stage, people: str) -> None:
    chosen = [{user(number): at(turn) for number in range(turn, turn + 50)} for turn in range(12)]
    with ThreadPoolExecutor(6) as pool:
        done = [pool.submit(ask, stage, newer.mark, people, dict(reversed(one.items())), most=MOST) for one in chosen]
        assert all(one.result() for one in done)
    assert len(marks(stage)) == 61


def test_marks_are_forgotten_once_nobody_may_ask_for_them_and_no_earlier(stage: Stage, people: str) -> None:
    others = stage.declare("others", mode=INCREMENTAL)
    run_id = begin(stage, people, RunState.FAILED)
    for pipeline_id in (people, others):
        ask(stage, newer.mark, pipeline_id, {user(number): at(1) for number in range(5)}, most=MOST)
    assert ask(stage, newer.forget, at_most=2, pipeline_id=people) == 0
    assert [ask(stage, newer.forget, at_most=2) for _ in range(4)] == [2, 2, 1, 0], "only of the others"
    assert len(marks(stage)) == 5
    ask(stage, runs.close, run_id, RunState.ABANDONED)
    assert [ask(stage, newer.forget, at_most=3) for _ in range(3)] == [3, 2, 0]
    with stage.database.transaction() as connection:
        assert connection.execute(sa.select(newer_counts)).all() == []


def test_no_run_begins_while_marks_are_forgotten(stage: Stage, people: str) -> None:
    ask(stage, newer.mark, people, {user(1): at(1)}, most=MOST)
    with stage.database.transaction() as connection:
        assert newer.forget(connection, at_most=9) == 1
        with pytest.raises(StoreUnavailable):
            ask(stage, trigger_within_a_moment, people)


def trigger_within_a_moment(connection: Connection, pipeline_id: str) -> object:
    connection.execute(sa.text("SET LOCAL lock_timeout = '50ms'"))
    return requests.trigger(connection, pipeline_id, window_chunks=WINDOW_CHUNKS, max_reopenings=MAX_REOPENINGS)


def overtaken(stage: Stage, pipeline_id: str) -> list[RunId]:
    with stage.database.transaction() as connection:
        return newer.overtake(connection, pipeline_id, most=MOST)


@pytest.mark.parametrize("state", [RunState.CREATED, RunState.UPLOADING, RunState.FAILED, RunState.CANCELLED])
def test_history_that_was_overtaken_stops_and_says_what_to_do(stage: Stage, people: str, state: RunState) -> None:
    run_id = begin(stage, people, state)
    live = begin(stage, people, RunState.UPLOADING, Lane.LIVE)
    waits = begin(stage, people, RunState.WAITING)
    assert overtaken(stage, people) == [run_id]
    stopped = run(stage, run_id)
    assert stopped.state is (RunState.CANCELLED if state is RunState.CANCELLED else RunState.FAILED)
    assert stopped.error_kind == HistoryOvertaken.__name__
    assert stopped.error is not None
    assert f"run {stopped.number} of" in stopped.error
    assert "Abandon it" in stopped.error
    assert f"{MOST:,} users" in stopped.error
    assert [run(stage, one).state for one in (live, waits)] == [RunState.UPLOADING, RunState.WAITING]
    assert not ask(stage, newer.is_watched, people), "what nobody will ask for is not marked"
    assert ask(stage, newer.is_loading, people), "its last requests are waited for"
    assert overtaken(stage, people) == []


def test_a_run_that_was_overtaken_can_only_be_abandoned(stage: Stage, people: str) -> None:
    run_id = begin(stage, people, RunState.FAILED)
    overtaken(stage, people)
    with pytest.raises(MoveNotAllowed, match=rf"abandon {stage.run(run_id).number}.*read anew"):
        ask(stage, moves.retry, run_id, window_chunks=WINDOW_CHUNKS)
    ask(stage, moves.reopen_corrected, [people], ["CredentialsRefused"], window_chunks=WINDOW_CHUNKS)
    assert run(stage, run_id).state is RunState.FAILED
    ask(stage, moves.abandon, run_id)
    assert run(stage, run_id).state is RunState.ABANDONED


def test_an_occurrence_leaves_overtaken_history_and_goes_on_with_the_present(stage: Stage, people: str) -> None:
    run_id = begin(stage, people, RunState.FAILED)
    with stage.database.transaction() as connection:
        connection.execute(sa.update(pipelines).values(watermark=NOON, history_to=NOON))
    overtaken(stage, people)
    with stage.database.transaction() as connection:
        asked = requests.trigger(connection, people, window_chunks=WINDOW_CHUNKS, max_reopenings=MAX_REOPENINGS)
    assert [run(stage, one).lane for one in asked.runs] == [Lane.LIVE]
    assert run(stage, run_id).state is RunState.FAILED


def test_a_cancelled_backfill_that_was_overtaken_is_not_resumed(stage: Stage, people: str) -> None:
    with stage.database.transaction() as connection:
        connection.execute(sa.update(pipelines).values(watermark=NOON, history_to=NOON, history_settled_to=NOON))
        backfill, _ = history.begin(
            connection, people, low=None, high=None, parts=1, newest_first=False, expected_rows=None
        )
        history.cancel(connection, backfill.id)
        (part,) = backfills.parts_of(connection, backfill.id)
    assert overtaken(stage, people) == [part.id]
    with pytest.raises(MoveNotAllowed, match="abandon"):
        ask(stage, history.resume, backfill.id, window_chunks=WINDOW_CHUNKS)


def run(stage: Stage, run_id: RunId) -> Run:
    with stage.database.transaction() as connection:
        return runs.get(connection, run_id)


def test_newer_rows_wait_for_history_that_is_being_sent_and_history_for_them(stage: Stage, people: str) -> None:
    told: list[str] = []
    has_gone_first = threading.Event()

    def go_first() -> None:
        with stage.database.transaction() as connection:
            turns.let_history_end(connection, people, wait_s=LIMIT_S)
            told.append("newer")
        has_gone_first.set()

    def come_later() -> None:
        with stage.database.transaction() as connection:
            turns.hold(connection, people, idle_s=LIMIT_S)
            told.append("later")

    with stage.database.transaction() as one, stage.database.transaction() as other, ThreadPoolExecutor(2) as pool:
        turns.hold(one, people, idle_s=LIMIT_S)
        turns.hold(other, people, idle_s=LIMIT_S)
        assert not turns.is_wanted_back(one, people)
        ahead = pool.submit(go_first)
        wait_until(lambda: turns.is_wanted_back(one, people) and turns.is_wanted_back(other, people))
        assert not turns.is_wanted_back(one, "others")
        behind = pool.submit(come_later)
        wait_until(lambda: len(waiting(other)) == 2)
        one.rollback()
        assert not has_gone_first.wait(0.05), "both are waited for"
        other.rollback()
        ahead.result()
        behind.result()
    assert told == ["newer", "later"]


def test_where_no_history_is_being_sent_nobody_waits(stage: Stage, people: str) -> None:
    with stage.database.transaction() as other:
        turns.hold(other, "others", idle_s=20)
        ask(stage, turns.let_history_end, people, wait_s=1)


def test_whoever_is_frozen_loses_its_turn(stage: Stage, people: str) -> None:
    def freeze(connection: Connection) -> None:
        turns.hold(connection, people, idle_s=0.2)
        ask(stage, turns.let_history_end, people, wait_s=20)
        turns.is_wanted_back(connection, people)

    with pytest.raises(StoreUnavailable):
        ask(stage, freeze)


def test_newer_rows_do_not_wait_for_ever(stage: Stage, people: str) -> None:
    with stage.database.transaction() as stuck:
        turns.hold(stuck, people, idle_s=20)
        with pytest.raises(StoreUnavailable):
            ask(stage, turns.let_history_end, people, wait_s=0.1)


def test_a_turn_keeps_from_vacuum_only_what_is_newer_than_its_last_look(stage: Stage, people: str) -> None:
    def seen(connection: Connection, pid: int) -> tuple[int | None, int]:
        of = sa.text("SELECT backend_xid, backend_xmin::text::bigint FROM pg_stat_activity WHERE pid = :pid")
        xid, xmin = connection.execute(of, {"pid": pid}).one()
        return xid, xmin

    with stage.database.transaction() as holding:
        pid = holding.scalar(sa.text("SELECT pg_backend_pid()"))
        turns.hold(holding, people, idle_s=20)
        before = ask(stage, seen, pid)
        ask(stage, newer.mark, people, {user(1): at(1)}, most=MOST)
        turns.is_wanted_back(holding, people)
        after = ask(stage, seen, pid)
    assert isinstance(before, tuple)
    assert isinstance(after, tuple)
    assert before[0] is after[0] is None, "it writes nothing"
    assert before[1] < after[1]


def test_the_keys_of_rows_that_may_be_read_again_are_kept_and_no_others(stage: Stage, people: str) -> None:
    others = stage.declare("others", mode=INCREMENTAL)
    with stage.database.transaction() as connection:
        accepted.keep(connection, people, {user(1): at(1), user(2): at(5)})
        accepted.keep(connection, people, {user(1): at(4), user(2): at(3)})
        accepted.keep(connection, people, {})
        accepted.keep(connection, others, {user(3): at(0)})
        assert accepted.known(connection, people, [user(1), user(2), user(3)]) == {user(1): at(4), user(2): at(5)}
    assert ask(stage, accepted.forget) == 0, "no watermark yet"
    begin(stage, people, RunState.ABANDONED, Lane.LIVE)
    with stage.database.transaction() as connection:
        connection.execute(sa.update(pipelines).values(watermark=at(6)))
        connection.execute(sa.update(runs_table).values(snapshot={"lookback_s": 120}))
    assert ask(stage, accepted.forget) == 0, "a query over dates begins with a whole day"
    with stage.database.transaction() as connection:
        connection.execute(sa.update(pipelines).values(watermark=at(6) + timedelta(days=2)))
    assert ask(stage, accepted.forget) == 1, "of a pipeline that looks back no more"
    with stage.database.transaction() as connection:
        connection.execute(sa.update(pipelines).values(watermark=at(6) + timedelta(days=2, seconds=1)))
    assert ask(stage, accepted.forget) == 1
    with stage.database.transaction() as connection:
        assert connection.scalars(sa.select(accepted_keys.c.row_key)).all() == [user(2)]
        connection.execute(sa.update(pipelines).values(state="deleted"))
        assert accepted.forget(connection) == 1


def waiting(connection: Connection) -> list[object]:
    return list(connection.execute(sa.text("SELECT pid FROM pg_locks WHERE locktype = 'advisory' AND NOT granted")))


def wait_until(is_so: Callable[[], bool]) -> None:
    assert wait_for(is_so, LIMIT_S), "what was waited for never came"
