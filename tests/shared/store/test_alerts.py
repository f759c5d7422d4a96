"""The store shows what is the matter in a fixed number of queries, and keeps one alert of each."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest
import sqlalchemy as sa

from shared.alert_message import AlertMessage
from shared.alerts import AlertChange, AlertName, AlertPolicy, Change, Channel, Condition, Decision
from shared.errors import CredentialsRefused, NotFound
from shared.run import HeldFor, RunId, Window
from shared.schedule import Interval
from shared.store import alert_deliveries, alert_sightings, alerts, declared, holds, lives, moves
from shared.store.alerts import AlertPlace
from shared.store.claims import ClaimLost, fresh_token
from tests.shared.store.stage import INCREMENTAL, LAPSED_S, T0, T1, WINDOW_CHUNKS, Stage, at_once
from worker.alert_text import message_of
from worker.staleness import stale

RATIO = 0.05
HOURLY = Interval.model_validate({"frequency": "hourly", "start": "2024-01-01T00:00:00Z"})


def seen(stage: Stage, ratio: float = RATIO) -> dict[AlertName, Condition]:
    with stage.database.transaction() as connection:
        found = alert_sightings.conditions(connection, rejected_ratio=ratio)
    assert len({one.name for one in found}) == len(found)
    return {one.name: one for one in found}


def policy(stage: Stage, **fields: Any) -> None:
    with stage.database.transaction() as connection:
        pipeline = declared.get_pipeline(connection, "people").pipeline
        declared.put_pipeline(connection, pipeline.model_copy(update={"alerts": AlertPolicy.model_validate(fields)}))


def rejecting(stage: Stage, rows: int, rejected: int) -> RunId:
    run_id, (chunk_id,) = stage.uploading([rows])
    stage.upload(chunk_id, rejected=rejected)
    return run_id


def recorded(stage: Stage, *conditions: Condition, change: Change = Change.OPENED) -> list[AlertMessage]:
    changes = tuple(AlertChange(change, one) for one in conditions)
    messages = [message_of(one, id_=uuid4(), alert_id=uuid4(), link_base=None) for one in changes]
    with stage.database.transaction() as connection:
        now = alerts.hold(connection)
        assert now is not None
        return alerts.record(connection, Decision(changes), messages, list(Channel), now=now)


def test_a_failed_run_is_the_matter_until_it_goes_on_or_is_abandoned(stage: Stage) -> None:
    stage.declare()
    run_id = stage.started()
    with stage.database.transaction() as connection:
        moves.fail(connection, run_id, CredentialsRefused("the warehouse refused the password"))
    found = seen(stage)
    assert set(found) == {AlertName.RUN_FAILED, AlertName.CREDENTIALS_REFUSED}
    assert found[AlertName.RUN_FAILED].kind == "CredentialsRefused"
    assert found[AlertName.RUN_FAILED].sentence == "the warehouse refused the password"
    with stage.database.transaction() as connection:
        moves.retry(connection, run_id, window_chunks=WINDOW_CHUNKS)
    assert seen(stage) == {}


@pytest.mark.parametrize(
    ("held_for", "name"),
    [(HeldFor.VOLUME_UNUSUAL, AlertName.VOLUME_UNUSUAL), (HeldFor.RESTORED, AlertName.RUN_HELD)],
)
def test_a_held_run_is_the_matter_until_somebody_has_answered(stage: Stage, held_for: HeldFor, name: AlertName) -> None:
    stage.declare()
    run_id, _ = stage.uploading([2])
    with stage.database.transaction() as connection:
        holds.hold(connection, run_id, held_for, "is this meant?")
    found = seen(stage)
    assert set(found) == {name}
    assert (found[name].sentence, found[name].kind) == ("is this meant?", held_for)
    (message,) = recorded(stage, found[name])
    assert message.command == f"warehouse-sync approve {stage.run(run_id).number}"
    with stage.database.transaction() as connection:
        moves.retry(connection, run_id, window_chunks=WINDOW_CHUNKS)
    assert seen(stage) == {}


def test_a_faulted_pipeline_is_the_matter_and_a_deleted_one_is_not(stage: Stage) -> None:
    stage.declare()
    run_id = stage.started()
    with stage.database.transaction() as connection:
        moves.fault(connection, run_id, CredentialsRefused("three times"))
    assert seen(stage)[AlertName.PIPELINE_FAULTED].sentence == "three times"
    with stage.database.transaction() as connection:
        lives.delete(connection, "people")
    assert seen(stage) == {}


def test_the_run_that_settled_last_is_judged_by_its_share_of_rejects(stage: Stage) -> None:
    stage.declare()
    run_id = rejecting(stage, 20, 2)
    assert stage.settle(run_id)
    assert seen(stage, ratio=0.1) == {}
    found = seen(stage)[AlertName.ROWS_REJECTED]
    assert (found.run_id, found.subject) == (run_id, "people live")
    assert found.sentence.startswith("2 of 20 rows were rejected, more than 0.05")
    policy(stage, max_rejected_ratio=0.2)
    assert seen(stage) == {}
    policy(stage)
    assert stage.settle(rejecting(stage, 10, 1))
    assert seen(stage)[AlertName.ROWS_REJECTED].sentence.startswith("1 of 10 rows was rejected")
    assert stage.settle(rejecting(stage, 20, 0))
    assert seen(stage) == {}


def test_a_run_at_work_is_judged_once_it_has_read_enough(stage: Stage) -> None:
    stage.declare()
    rejecting(stage, 99, 50)
    assert seen(stage) == {}
    stage.clear()
    stage.declare()
    run_id = rejecting(stage, 100, 6)
    assert seen(stage)[AlertName.ROWS_REJECTED].run_id == run_id


def test_an_initial_sync_is_told_when_its_last_part_has_settled(stage: Stage) -> None:
    stage.declare(mode=INCREMENTAL)
    run, token = stage.claim_plan(stage.started())
    halves = Window(None, T0, includes_null=True), Window(T0, T1)
    messages = stage.freeze(run, token, halves[0], further_parts=halves[1:])
    for chunk_id in stage.extract(messages[0].id, [3]):  # type: ignore[arg-type]
        stage.upload(chunk_id, rejected=1)
    following = stage.settled(run.id)
    assert AlertName.BACKFILL_FINISHED not in seen(stage, ratio=0.9)
    for chunk_id in stage.extract(following[0].id, [4]):  # type: ignore[arg-type]
        stage.upload(chunk_id)
    (second,) = stage.rows("SELECT id FROM runs WHERE state = 'uploading'")
    assert stage.settle(second.id)
    found = seen(stage, ratio=0.9)[AlertName.BACKFILL_FINISHED]
    assert found.sentence == "the initial sync is complete: 7 rows in 2 parts, 6 accepted, 1 rejected"
    assert found.counts == {"extracted": 7, "accepted": 6, "rejected": 1}
    assert len(recorded(stage, found, change=Change.HAPPENED)) == 1
    assert seen(stage, ratio=0.9) == {}
    assert recorded(stage, found, change=Change.HAPPENED) == [], "an event is told once"


def test_a_history_of_one_row_is_told_in_the_singular(stage: Stage) -> None:
    stage.declare(mode=INCREMENTAL)
    run, token = stage.claim_plan(stage.started())
    (message,) = stage.freeze(run, token, Window(None, T0, includes_null=True))
    for chunk_id in stage.extract(message.id, [1]):  # type: ignore[arg-type]
        stage.upload(chunk_id)
    stage.settled(run.id)
    assert "1 row in 1 part, 1 accepted" in seen(stage)[AlertName.BACKFILL_FINISHED].sentence


def test_a_reset_of_a_watermark_is_told_once(stage: Stage) -> None:
    stage.past_history()
    stage.write("UPDATE pipelines SET generation = 2, watermark = NULL, history_to = NULL, history_settled_to = NULL")
    assert AlertName.FULL_RESYNC not in seen(stage)
    stage.write("INSERT INTO notices (pipeline_id, name, message) VALUES ('people', 'watermark_reset', 'reset from x')")
    found = seen(stage)[AlertName.FULL_RESYNC]
    assert (found.subject, found.sentence) == ("people generation 2", "reset from x")
    recorded(stage, found, change=Change.HAPPENED)
    assert AlertName.FULL_RESYNC not in seen(stage)


def test_an_initial_sync_that_began_anew_is_told_even_without_a_notice(stage: Stage) -> None:
    stage.declare(mode=INCREMENTAL)
    stage.write("UPDATE pipelines SET generation = 3")
    stage.started()
    assert "in generation 3" in seen(stage)[AlertName.FULL_RESYNC].sentence


def test_an_active_pipeline_that_has_not_read_on_is_stale_and_a_paused_one_is_not(stage: Stage) -> None:
    def names() -> list[str]:
        with stage.database.transaction() as connection:
            return [one.pipeline_id for one in stale(alert_sightings.marks(connection), datetime.now(UTC))]

    stage.declare(mode=INCREMENTAL, schedule=HOURLY)
    assert names() == [], "it was activated just now"
    stage.write("UPDATE pipelines SET watermark = now() - interval '1 day', created_at = now() - interval '9 days'")
    stage.write("UPDATE audit SET noted_at = now() - interval '9 days'")
    assert names() == ["people"]
    stage.write("UPDATE pipelines SET watermark = now() - interval '2 hours'")
    assert names() == []
    policy(stage, stale_after="90m")
    assert names() == ["people"]
    with stage.database.transaction() as connection:
        lives.pause(connection, "people")
    assert names() == []
    with stage.database.transaction() as connection:
        lives.resume(connection, "people", window_chunks=WINDOW_CHUNKS)
    assert names() == [], "time begins anew"


def test_a_full_pipeline_is_as_old_as_its_last_settled_run(stage: Stage) -> None:
    stage.declare(schedule=HOURLY)
    stage.complete(stage.started())
    with stage.database.transaction() as connection:
        assert alert_sightings.marks(connection) == [], "what was read within an hour need not be judged"
    stage.write("UPDATE runs SET ended_at = now() - interval '5 hours'")
    with stage.database.transaction() as connection:
        (mark,) = alert_sightings.marks(connection)
    assert mark.read_to is not None
    assert datetime.now(UTC) - mark.read_to > timedelta(hours=4)


@contextmanager
def counted(stage: Stage) -> Iterator[list[str]]:
    statements: list[str] = []

    def note(_c: Any, _u: Any, statement: str, *_: Any) -> None:
        statements.append(statement)

    engine = stage.database._engine
    sa.event.listen(engine, "before_cursor_execute", note)
    yield statements
    sa.event.remove(engine, "before_cursor_execute", note)


def test_a_thousand_pipelines_take_as_many_queries_as_one_and_no_look_at_old_runs(stage: Stage) -> None:
    def queries() -> int:
        with counted(stage) as statements, stage.database.transaction() as connection:
            alert_sightings.conditions(connection, rejected_ratio=RATIO)
            stale(alert_sightings.marks(connection), datetime.now(UTC))
            alerts.open_ones(connection)
        return len(statements)

    stage.declare(schedule=HOURLY)
    of_one = queries()
    stage.write(
        """
        INSERT INTO pipelines (id, document, connection_id, data_model_id, feed_id, state, next_due_at, created_at)
        SELECT 'p' || no, jsonb_set(document, '{name}', to_jsonb('p' || no)), connection_id, data_model_id, feed_id,
               'active', now(), now() - interval '9 days'
        FROM pipelines, generate_series(1, 999) AS no WHERE id = 'people'
        """
    )
    stage.write(
        """
        INSERT INTO runs (id, pipeline_id, generation, kind, lane, mode, state, logical_at, snapshot, created_at,
                          ended_at, spool_freed_at, rejects_freed_at, extracted, rejected, accepted)
        SELECT gen_random_uuid(), 'p' || no, 1, 'manual', 'live', 'full', 'settled', at, '{}', at, at, at, at, 10, 1, 9
        FROM generate_series(1, 999) AS no, generate_series(1, 4) AS age,
             LATERAL (SELECT now() - age * interval '1 day' AS at) AS ended
        """
    )
    stage.write(
        """
        INSERT INTO runs (id, pipeline_id, generation, kind, lane, mode, state, logical_at, error_kind, error, ended_at)
        SELECT gen_random_uuid(), 'p' || no, 1, 'manual', 'live', 'full', 'failed', now(), 'FeedRefused', 'no', now()
        FROM generate_series(1, 500) AS no
        """
    )
    stage.write("ANALYZE runs")
    stage.write("ANALYZE pipelines")
    with stage.database.transaction() as connection:
        found = alert_sightings.conditions(connection, rejected_ratio=RATIO)
        behind = stale(alert_sightings.marks(connection), datetime.now(UTC))
    assert sum(one.name is AlertName.RUN_FAILED for one in found) == 500
    assert sum(one.name is AlertName.ROWS_REJECTED for one in found) == 999
    assert len(behind) == 999
    assert queries() == of_one <= 9


def condition(subject: str = "s") -> Condition:
    return Condition(AlertName.PIPELINE_FAULTED, subject, "people", "people", "so it is", T0)


def test_one_alert_is_open_of_a_name_and_a_subject_whoever_records_it(stage: Stage) -> None:
    stage.declare()
    assert len(recorded(stage, condition())) == 1
    assert recorded(stage, condition()) == []
    assert [row.count for row in stage.rows("SELECT name, count(*) FROM alerts WHERE recovered_at IS NULL GROUP BY 1")]
    assert len(stage.rows("SELECT * FROM alert_deliveries")) == len(Channel)


def test_while_somebody_looks_nobody_else_does(stage: Stage) -> None:
    with stage.database.transaction() as first, stage.database.transaction() as second:
        assert alerts.hold(first) is not None
        assert alerts.hold(second) is None


def due(stage: Stage, *channels: Channel, pause_s: float = 30) -> list[Any]:
    with stage.database.transaction() as connection:
        found = alert_deliveries.next_due(connection, channels or list(Channel), resend_after_s=60, pause_s=pause_s)
        return [message.id for message in found]


def claim(stage: Stage, delivery_id: Any, lease_s: float = 60) -> Any:
    token = fresh_token()
    with stage.database.transaction() as connection:
        claimed = alert_deliveries.claim(connection, delivery_id, token, lease_s)
    return None if claimed is None else (claimed, token)


def test_a_delivery_is_claimed_by_one_and_a_dead_ones_by_the_next(stage: Stage) -> None:
    stage.declare()
    recorded(stage, condition())
    (delivery_id,) = due(stage, Channel.SLACK)
    assert due(stage, Channel.SLACK) == [], "its message is under way"
    claims = at_once(*[lambda: claim(stage, delivery_id, LAPSED_S)])
    (dead,) = claims
    living, token = claim(stage, delivery_id)
    assert living.attempts == 2
    assert claim(stage, delivery_id) is None
    with stage.database.transaction() as connection, pytest.raises(ClaimLost):
        alert_deliveries.delivered(connection, delivery_id, dead[1])  # type: ignore[index]
    with stage.database.transaction() as connection:
        alert_deliveries.delivered(connection, delivery_id, token)
    assert claim(stage, delivery_id) is None
    assert due(stage, Channel.SLACK) == []


def test_waits_double_and_a_channel_that_failed_rests_with_all_its_messages(stage: Stage) -> None:
    stage.declare()
    recorded(stage, condition("a"), condition("b"))
    waits = []
    (delivery_id,) = due(stage, Channel.EMAIL)
    for _ in range(4):
        _, token = claim(stage, delivery_id)
        with stage.database.transaction() as connection:
            is_over = alert_deliveries.failed(
                connection, delivery_id, token, "no", first_s=30, most_s=100, give_up_s=1000
            )
        assert not is_over
        query = "SELECT extract(epoch FROM not_before - failed_at) AS s FROM alert_deliveries WHERE id = :id"
        waits += [float(row.s) for row in stage.rows(query, id=delivery_id)]
        assert due(stage, Channel.EMAIL) == []
        stage.write("UPDATE alert_deliveries SET not_before = now() WHERE id = :id", id=delivery_id)
    assert waits == [30, 60, 100, 100]
    assert len(due(stage, Channel.WEBHOOK)) == 1
    stage.write("UPDATE alert_deliveries SET failed_at = now() - interval '31 s' WHERE id = :id", id=delivery_id)
    assert due(stage, Channel.EMAIL) == [delivery_id], "the oldest comes first"


def test_what_no_channel_takes_for_too_long_is_given_up(stage: Stage) -> None:
    stage.declare()
    recorded(stage, condition())
    stage.write("UPDATE alert_deliveries SET queued_at = now() - interval '2 days' WHERE channel = 'slack'")
    with stage.database.transaction() as connection:
        given_up = alert_deliveries.give_up_old(connection, after_s=86400)
    assert [one.channel for one in given_up] == [Channel.SLACK]
    assert due(stage, Channel.SLACK) == []


def test_what_is_over_expires_with_what_was_told_of_it_and_what_is_open_stays(stage: Stage) -> None:
    stage.declare()
    recorded(stage, condition("open"), condition("over"), condition("untold"))
    stage.write("UPDATE alerts SET recovered_at = now() - interval '3 days' WHERE subject <> 'open'")
    told = "UPDATE alert_deliveries SET delivered_at = now() FROM alert_changes c JOIN alerts a ON a.id = c.alert_id"
    stage.write(f"{told} WHERE c.id = change_id AND a.subject = 'over'")
    with stage.database.transaction() as connection:
        assert alerts.expire(connection, retention_s=2 * 86400) == 1
    assert {row.subject for row in stage.rows("SELECT subject FROM alerts")} == {"open", "untold"}
    assert len(stage.rows("SELECT * FROM alert_deliveries")) == 2 * len(Channel)


def test_alerts_are_listed_open_ones_first_and_page_by_page(stage: Stage) -> None:
    stage.declare()
    for subject in "abcd":
        recorded(stage, condition(subject))
    stage.write("UPDATE alerts SET recovered_at = now() WHERE subject IN ('b', 'd')")
    with stage.database.transaction() as connection:
        whole = alerts.listed(connection)
        paged, place = [], None
        while page := alerts.listed(connection, after=place, limit=1):
            paged += page
            place = AlertPlace(page[0].recovered_at is None, page[0].opened_at, page[0].id)
        assert paged == whole
        assert [one.recovered_at is None for one in whole] == [True, True, False, False]
        assert alerts.listed(connection, is_open=False) == whole[2:]
        assert alerts.listed(connection, names=[AlertName.STALE], pipeline_id="people") == []
        _, changes = alerts.get(connection, whole[0].id)
        assert [len(one.deliveries) for one in changes] == [len(Channel)]
        with pytest.raises(NotFound):
            alerts.get(connection, uuid4())
