"""The deployment is measured whole, by a few queries; what does not answer costs its own values alone."""

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
import redis
import sqlalchemy as sa

from console.measuring import Measured, Measuring
from sandbox.ports import free_port
from sandbox.services import Services
from shared import broker
from shared.alerts import AlertName, Condition
from shared.broker import SENT_AT, build_app, lists_of
from shared.errors import FeedRefused
from shared.messages import Message, Queue, TaskName
from shared.paces import KEY_PREFIX
from shared.run import Lane, RunState, Window
from shared.settings import Settings
from shared.store import beats, lives, lost, moves
from shared.store.database import Database
from tests.shared.store.stage import INCREMENTAL, LAPSED_S, T0, Stage
from tests.shared.store.test_alerts import recorded

MANY = 200


def own(services: Services, database: Database, tmp_path: Path, **others: Any) -> Settings:
    return Settings.model_validate(
        {
            "home": tmp_path,
            "database_url": database.url.render_as_string(hide_password=False),
            "broker_url": services.broker_url,
            **others,
        }
    )


@pytest.fixture
def client(services: Services) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(services.broker_url) as opened:
        opened.flushdb()
        yield opened


@pytest.fixture
def measuring(services: Services, stage: Stage, tmp_path: Path, client: redis.Redis) -> Iterator[Measuring]:  # noqa: ARG001 - both begin empty
    opened = Measuring(own(services, stage.database, tmp_path))
    yield opened
    opened.close()


def value(measured: Measured, name: str, *labels: str) -> float:
    return measured.values[name][labels]


def test_a_run_with_rejected_rows_is_told_row_by_row(stage: Stage, measuring: Measuring) -> None:
    stage.past_history()
    run_id = stage.started()
    (slice_id,) = stage.plan(run_id, Window(T0, T0))
    first, second = stage.extract(slice_id, (9, 3))
    stage.upload(first, rejected=7)
    found = measuring.measure()
    assert value(found, "rows", "people", "live", "rejected") == 7
    assert value(found, "rows", "people", "live", "accepted") == 2
    assert value(found, "rows_extracted", "people", "live") == 12
    assert value(found, "rows", "people", "backfill", "accepted") == 2, "its initial sync"
    assert value(found, "runs", "uploading", "live") == 1
    assert value(found, "attempts", "upload_chunk", "live") == 1
    assert value(found, "spool_bytes") == 300
    stage.upload(second)
    assert stage.settle(run_id)
    found = measuring.measure()
    assert value(found, "runs_ended", "people", "live", "settled") == 1
    assert value(found, "runs", "uploading", "live") == 0
    for name in ("chunk_queue_seconds", "chunk_run_seconds"):
        histogram = found.histograms[name][("live",)]
        assert histogram.buckets[-1] == ("inf", 2)
    assert value(found, "watermark_lag_seconds", "people") > 0


def test_what_is_the_matter_with_a_pipeline_is_told(stage: Stage, measuring: Measuring) -> None:
    stage.declare()
    stage.declare("others", is_active=False)
    run_id, _ = stage.uploading((2,))
    with stage.database.transaction() as connection:
        moves.fault(connection, run_id, FeedRefused("401"))
    found = measuring.measure()
    assert value(found, "pipeline_faulted", "people") == 1
    assert value(found, "pipeline_faulted", "others") == 0
    assert value(found, "runs_ended", "people", "live", "failed") == 1
    assert value(found, "runs", "failed", "live") == 1
    assert (value(found, "pipelines", "active"), value(found, "pipelines", "draft")) == (1, 1)
    assert "watermark_lag_seconds" not in found.values
    assert value(found, "alerts_open", "pipeline_faulted") == 0


def test_alerts_are_told_while_they_are_open(stage: Stage, measuring: Measuring) -> None:
    stage.declare()
    stale = Condition(AlertName.STALE, "people", "people", "People", "it has read nothing yet", T0)
    recorded(stage, stale)
    told = measuring.measure().values["alerts_open"]
    assert told[("stale",)] == 1
    assert sum(told.values()) == 1
    assert {name for (name,) in told} == {name.value for name in AlertName}
    stage.write("UPDATE alerts SET recovered_at = now()")
    assert sum(measuring.measure().values["alerts_open"].values()) == 0


def test_a_claim_that_lapsed_is_told_once_however_often_upkeep_looks(stage: Stage, measuring: Measuring) -> None:
    stage.declare()
    _, (chunk_id,) = stage.uploading((2,))
    stage.held(chunk_id, lease_s=LAPSED_S)
    for _ in range(3):
        with stage.database.transaction() as connection:
            lost.free_dead(connection)
    found = measuring.measure()
    assert value(found, "leases_expired", "upload_chunk", "live") == 1
    assert value(found, "leases_expired", "extract_slice", "live") == 0


def test_everything_that_is_counted_begins_with_zero(stage: Stage, measuring: Measuring) -> None:
    stage.declare()
    found = measuring.measure()
    of_pipeline = ("rows_extracted", "rows", "batches_sent", "bytes_sent", "runs_ended", "requests")
    for name in (*of_pipeline, "attempts", "leases_expired"):
        assert found.values[name]
        assert not any(found.values[name].values())
    assert {labels[1] for name in of_pipeline for labels in found.values[name]} == {Lane.LIVE}


def test_a_deleted_pipeline_is_left_out(stage: Stage, measuring: Measuring) -> None:
    stage.declare()
    with stage.database.transaction() as connection:
        lives.delete(connection, "people")
    found = measuring.measure()
    assert "rows" not in found.values
    assert "pipeline_faulted" not in found.values


def test_beats_are_told_by_the_stores_clock(stage: Stage, measuring: Measuring) -> None:
    assert "beat_last_tick_timestamp_seconds" not in measuring.measure().values
    with stage.database.transaction() as connection:
        beats.tick(connection, "old", is_first=True)
        connection.execute(sa.text("UPDATE beats SET ticked_at = now() - interval '61 s'"))
        beats.tick(connection, "new", is_first=True)
    found = measuring.measure()
    assert (value(found, "beats", "ticking"), value(found, "beats", "silent")) == (1, 1)
    assert abs(value(found, "beat_last_tick_timestamp_seconds") - time.time()) < 60


def test_queues_are_told_with_the_age_of_their_oldest_message(
    services: Services, client: redis.Redis, measuring: Measuring
) -> None:
    app = build_app(Settings(), broker_url=services.broker_url)
    broker.send(app, sending(3))
    app.send_task(TaskName.UPKEEP.value, queue=Queue.CONTROL.value)  # As beat does.
    app.close()
    last = lists_of(Queue.UPLOAD)[6]
    older = {"headers": {SENT_AT: time.time() - 100}}
    client.lpush(last, json.dumps(older), json.dumps({"headers": {}}))
    client.lpush(Queue.EXTRACT.value, "no JSON", json.dumps({"headers": {SENT_AT: "then"}}))
    found = measuring.measure()
    assert value(found, "queue_messages", "upload") == 5
    assert 100 <= value(found, "queue_oldest_message_age_seconds", "upload") < 160
    assert value(found, "queue_messages", "control") == 1
    assert 0 <= value(found, "queue_oldest_message_age_seconds", "control") < 60
    assert value(found, "queue_oldest_message_age_seconds", "probe") == 0
    assert value(found, "queue_messages", "extract") == 2
    assert ("extract",) not in found.values["queue_oldest_message_age_seconds"]
    client.flushdb()


def sending(count: int) -> list[Message]:
    return [Message(TaskName.UPLOAD_CHUNK, uuid4()) for _ in range(count)]


def test_a_quota_is_told_as_declared_until_its_account_says_otherwise(
    stage: Stage, client: redis.Redis, measuring: Measuring
) -> None:
    stage.declare()
    found = measuring.measure()
    for name, expected in (("batches_per_second", 270), ("allowed_batches_per_second", 270), ("used_ratio", 0)):
        assert value(found, f"quota_{name}", "default") == expected
    seconds, micros = client.time()
    now = seconds * 1_000_000 + micros
    state: dict[Any, Any] = {
        "allowed": "100.000",
        "allowed_at": now,
        "paused_until": now + 60_000_000,
        "sent": f"{now - 5_000_000}:90 {now - 100_000}:27 {now + 60_000_000}:50",
    }
    client.hset(KEY_PREFIX + "default", mapping=state)
    found = measuring.measure()
    assert 100 <= value(found, "quota_allowed_batches_per_second", "default") < 105
    assert 0 < value(found, "quota_paused_seconds", "default") <= 60
    assert value(found, "quota_used_ratio", "default") in {0.1, 0}, "unless this machine stood still for a second"
    client.flushdb()


def test_all_that_the_store_tells_is_of_one_instant(stage: Stage, measuring: Measuring) -> None:
    stage.declare()
    run_id, _ = stage.uploading((2,))

    def cancel_between(*arguments: Any) -> None:
        if "runs.state" in arguments[2] and stage.run(run_id).state is RunState.UPLOADING:
            with stage.database.transaction() as connection:
                moves.cancel(connection, run_id)

    sa.event.listen(measuring._database._engine, "before_cursor_execute", cancel_between)
    before, after = measuring.measure(), measuring.measure()
    for found, cancelled in ((before, 0), (after, 1)):
        assert value(found, "runs_ended", "people", "live", "cancelled") == cancelled
        assert value(found, "runs", "cancelled", "live") == cancelled
        assert value(found, "runs", "uploading", "live") == 1 - cancelled


def test_many_pipelines_take_as_many_queries_as_one(stage: Stage, measuring: Measuring) -> None:
    asked: list[str] = []

    def note(*arguments: Any) -> None:
        asked.append(arguments[2])

    sa.event.listen(measuring._database._engine, "before_cursor_execute", note)
    stage.declare()
    measuring.measure()
    of_one = len(asked)
    for number in range(MANY):
        stage.declare(f"p-{number}", mode=INCREMENTAL)
    asked.clear()
    found = measuring.measure()
    assert len(asked) == of_one < 15
    assert len(found.values["pipeline_faulted"]) == MANY + 1


def test_a_store_that_does_not_answer_leaves_the_broker_to_be_measured(
    services: Services, stage: Stage, tmp_path: Path
) -> None:
    away = f"postgresql://nobody:s3cr3t@127.0.0.1:{free_port()}/nothing"
    measuring = Measuring(own(services, stage.database, tmp_path, database_url=away))
    found = measuring.measure()
    measuring.close()
    assert (value(found, "store_up"), value(found, "broker_up")) == (0, 1)
    assert {"rows", "runs", "spool_bytes", "quota_batches_per_second"}.isdisjoint(found.values)
    assert value(found, "queue_messages", "upload") >= 0


def test_a_broker_that_does_not_answer_leaves_the_store_to_be_measured(
    services: Services, stage: Stage, tmp_path: Path
) -> None:
    stage.declare()
    away = f"redis://:s3cr3t@127.0.0.1:{free_port()}/0"
    measuring = Measuring(own(services, stage.database, tmp_path, broker_url=away))
    found = measuring.measure()
    measuring.close()
    assert (value(found, "store_up"), value(found, "broker_up")) == (1, 0)
    assert {"queue_messages", "quota_used_ratio", "quota_paused_seconds"}.isdisjoint(found.values)
    assert value(found, "quota_batches_per_second", "default") == 270
    assert value(found, "runs", RunState.WAITING, "live") == 0


def test_a_store_that_breaks_off_leaves_nothing_half_told(stage: Stage, measuring: Measuring) -> None:
    def break_off(*arguments: Any) -> None:
        if "slices" in arguments[2]:
            arguments[0].connection.dbapi_connection.close()

    stage.declare()
    assert value(measuring.measure(), "store_up") == 1
    sa.event.listen(measuring._database._engine, "before_cursor_execute", break_off)
    found = measuring.measure()
    assert value(found, "store_up") == 0
    assert "rows" not in found.values
