"""The newest row that was sent of each user with a rejected one is known, whoever says so in whatever order."""

from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from uuid import UUID, uuid4

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from shared.store import rejected_users, rejects
from tests.shared.store.stage import T0, T1, T2, Stage

ANNA, BERT, CARL = (uuid4() for _ in range(3))
INSTANTS = (T0, T1, T2)


def newest(stage: Stage, pipeline_id: str = "people") -> dict[UUID, datetime]:
    with stage.database.transaction() as connection:
        return rejected_users.newest(connection, pipeline_id, [ANNA, BERT, CARL])


def saw(stage: Stage, users: dict[UUID, datetime]) -> None:
    with stage.database.transaction() as connection:
        rejected_users.saw(connection, "people", users)


def note(stage: Stage, users: dict[UUID, datetime | None]) -> None:
    with stage.database.transaction() as connection:
        rejected_users.note(connection, "people", users)


def test_only_users_with_rejected_rows_are_remembered(stage: Stage) -> None:
    for pipeline_id in ("people", "others"):
        stage.declare(pipeline_id)
    with stage.database.transaction() as connection:
        assert not rejected_users.are_any(connection, "people")
    note(stage, {ANNA: None, BERT: T1})
    saw(stage, {ANNA: T1, CARL: T2})
    assert newest(stage) == {ANNA: T1, BERT: T1}
    assert newest(stage, "others") == {}
    with stage.database.transaction() as connection:
        assert rejected_users.are_any(connection, "people")
        assert not rejected_users.are_any(connection, "others")


@settings(
    max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(st.lists(st.tuples(st.booleans(), st.sampled_from(INSTANTS)), max_size=8))
def test_an_instant_never_goes_back(stage: Stage, told: list[tuple[bool, datetime]]) -> None:
    stage.clear()
    stage.declare()
    note(stage, {ANNA: None})
    for is_rejected, at in told:
        if is_rejected:
            note(stage, {ANNA: None})
        else:
            saw(stage, {ANNA: at})
    seen = [at for is_rejected, at in told if not is_rejected]
    assert newest(stage) == ({ANNA: max(seen)} if seen else {})


def test_many_who_tell_of_the_same_users_at_once_wait_for_nobody_in_a_circle(stage: Stage) -> None:
    stage.declare()
    users = [uuid4() for _ in range(200)]
    note(stage, dict.fromkeys([*users, ANNA]))
    with ThreadPoolExecutor(8) as pool:
        for number in range(8):
            turned = users if number % 2 else users[::-1]
            pool.submit(saw, stage, dict.fromkeys(turned, INSTANTS[number % 3])).add_done_callback(
                lambda one: one.result()
            )
    saw(stage, dict.fromkeys(users, T0))
    with stage.database.transaction() as connection:
        assert set(rejected_users.newest(connection, "people", users).values()) == {T2}


def test_users_are_forgotten_when_no_file_is_as_old_as_their_last_rejected_row(stage: Stage) -> None:
    stage.declare()
    run_ids = []
    for user in (ANNA, BERT):
        run_id, (chunk_id,) = stage.uploading([2])
        held = stage.held(chunk_id)
        stage.record(held, 2, rejected=1)
        note(stage, {user: None})
        stage.finish(held)
        stage.settle(run_id)
        run_ids.append(run_id)
    stage.write("UPDATE runs SET ended_at = now() - interval '1 hour' WHERE id = :id", id=run_ids[0])
    with stage.database.transaction() as connection:
        assert rejects.expire(connection, retention_s=60) == run_ids[:1]
    assert [row.user_key for row in stage.rows("SELECT user_key FROM rejected_users")] == [BERT]
    with stage.database.transaction() as connection:
        rejects.expire(connection, retention_s=-1)
    assert stage.rows("SELECT user_key FROM rejected_users") == []
