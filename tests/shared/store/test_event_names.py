"""A name of an event has one place in its workspace, whoever asks how often and with whom at the same time."""

import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from shared.limits import EventName
from shared.store.event_names import register
from tests.shared.store.stage import Stage

LIMIT_S = 60
LIMIT = 3
KEPT_BEYOND = 2


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(8) as threads:
        yield threads


def beyond(
    stage: Stage, *names: str, workspace: str = "shop", limit: int = LIMIT, kept_beyond: int = KEPT_BEYOND
) -> set[str]:
    with stage.database.transaction() as connection:
        asked = [EventName("custom_event", name) for name in names]
        return {name.name for name in register(connection, workspace, asked, limit=limit, kept_beyond=kept_beyond)}


def places(stage: Stage, workspace: str = "shop") -> list[tuple[int, str]]:
    rows = stage.rows("SELECT ordinal, name FROM event_names WHERE workspace = :w ORDER BY ordinal", w=workspace)
    return [(row.ordinal, row.name) for row in rows]


def test_the_first_names_are_within_the_limit_and_stay_there(stage: Stage) -> None:
    assert beyond(stage, "a", "b") == set()
    assert beyond(stage, "c", "d") == {"d"}
    assert beyond(stage, "d", "c", "b", "a") == {"d"}
    assert places(stage) == [(1, "a"), (2, "b"), (3, "c"), (4, "d")]


def test_no_name_at_all_is_not_beyond_it(stage: Stage) -> None:
    assert beyond(stage) == set()


def test_only_so_many_names_beyond_the_limit_are_kept(stage: Stage) -> None:
    names = [f"name {number}" for number in range(9)]
    assert beyond(stage, *names) == set(names[3:])
    assert len(places(stage)) == LIMIT + KEPT_BEYOND
    assert beyond(stage, *reversed(names), "another") == {*names[3:], "another"}
    assert len(places(stage)) == LIMIT + KEPT_BEYOND


def test_a_full_workspace_is_asked_without_a_lock(stage: Stage) -> None:
    beyond(stage, *"abcdefg")
    with stage.database.transaction() as holder, stage.database.transaction() as connection:
        holder.execute(sa.text("LOCK TABLE event_names IN SHARE MODE"))
        asked = [EventName("custom_event", name) for name in ("a", "new")]
        assert register(connection, "shop", asked, limit=LIMIT, kept_beyond=KEPT_BEYOND) == {asked[1]}
        assert (
            connection.scalar(
                sa.text("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid()")
            )
            == 0
        )


def test_known_names_are_asked_without_a_lock(stage: Stage) -> None:
    beyond(stage, "a")
    with stage.database.transaction() as connection:
        assert register(connection, "shop", [EventName("custom_event", "a")]) == set()
        assert (
            connection.scalar(
                sa.text("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid()")
            )
            == 0
        )


def test_workspaces_count_apart(stage: Stage) -> None:
    assert beyond(stage, "a", "b", "c") == set()
    assert beyond(stage, "d", workspace="other") == set()
    assert places(stage, "other") == [(1, "d")]


def test_a_screen_and_an_event_of_one_name_are_two(stage: Stage) -> None:
    names = [EventName(kind, "home") for kind in ("custom_event", "screen_view")]
    with stage.database.transaction() as connection:
        assert register(connection, "shop", names, limit=1) == {names[1]}


def test_names_are_told_apart_as_far_as_mparticle_keeps_them(stage: Stage) -> None:
    long = "é" * 256
    assert beyond(stage, f"{long}a", f"{long}b", long) == set()
    assert places(stage) == [(1, long)]


def test_a_name_may_hold_what_a_text_of_postgresql_cannot(stage: Stage) -> None:
    assert beyond(stage, "a\0b", "", "\U0001f600", "' OR 1=1 --") == {"\U0001f600"}
    assert len(places(stage)) == 4


def test_a_registration_that_is_undone_leaves_no_gap(stage: Stage) -> None:
    beyond(stage, "a")

    def die() -> None:
        with stage.database.transaction() as connection:
            register(connection, "shop", [EventName("custom_event", "b")], limit=LIMIT)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        die()
    assert places(stage) == [(1, "a")]
    assert beyond(stage, "c", "b") == set()
    assert places(stage) == [(1, "a"), (2, "b"), (3, "c")]


def test_all_who_ask_at_the_same_moment_get_the_same_answer(stage: Stage, pool: ThreadPoolExecutor) -> None:
    names = [f"name {number}" for number in range(40)]
    ready = threading.Barrier(8)

    def ask(number: int) -> set[str]:
        ready.wait(LIMIT_S)
        mine = names[number * 3 :] + names[: number * 3]
        return beyond(stage, *mine, limit=20, kept_beyond=100) | set().union(
            *(beyond(stage, name, limit=20, kept_beyond=100) for name in mine)
        )

    answers = [done.result(LIMIT_S) for done in [pool.submit(ask, number) for number in range(8)]]
    assert all(answer == answers[0] for answer in answers)
    assert len(answers[0]) == 20
    assert [ordinal for ordinal, _ in places(stage)] == list(range(1, 41))


def test_names_that_come_at_the_same_moment_from_everywhere_get_a_place_each(
    stage: Stage, pool: ThreadPoolExecutor
) -> None:
    ready = threading.Barrier(8)

    def ask(number: int) -> None:
        ready.wait(LIMIT_S)
        for round_ in range(10):
            beyond(stage, f"{number} {round_}", "shared", workspace=f"w{round_ % 2}", limit=1000)

    for done in [pool.submit(ask, number) for number in range(8)]:
        done.result(LIMIT_S)
    for workspace in ("w0", "w1"):
        assert [ordinal for ordinal, _ in places(stage, workspace)] == list(range(1, 42))


@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(st.lists(st.lists(st.sampled_from("abcdefghij"), max_size=5), max_size=8))
def test_an_answer_never_changes(stage: Stage, asked: Sequence[Sequence[str]]) -> None:
    stage.write("DELETE FROM event_names")
    answers: dict[str, bool] = {}
    for names in asked:
        over = beyond(stage, *names)
        for name in names:
            assert answers.setdefault(name, name in over) == (name in over)
    assert sum(not is_beyond for is_beyond in answers.values()) <= LIMIT
    assert len(places(stage)) <= LIMIT + KEPT_BEYOND
