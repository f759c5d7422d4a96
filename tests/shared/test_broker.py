"""Celery as it was measured to survive; a broker that is down is told quickly and without its password."""

import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from uuid import uuid4

import pytest
from celery import Celery

from sandbox.services import DATABASE_URL, Services, services_for
from sandbox.valkey import Valkey
from shared.broker import build_app, depths, send
from shared.errors import BrokerUnavailable
from shared.messages import Message, Queue, TaskName
from shared.run import Lane
from shared.settings import Settings

SECRET = "s3cr3t"
QUICKLY_S = 3.0


@pytest.fixture
def app(services: Services) -> Iterator[Celery]:
    """An app over the session's Valkey, with empty queues."""
    with_queues = build_app(Settings(), broker_url=services.broker_url)
    with with_queues.connection_for_write() as connection:
        for queue in Queue:
            connection.default_channel.queue_purge(queue.value)
    yield with_queues
    with_queues.close()


def refusal(act: Callable[[], object]) -> str:
    began = time.monotonic()
    with pytest.raises(BrokerUnavailable) as caught:
        act()
    assert time.monotonic() - began < QUICKLY_S
    assert SECRET not in repr(caught.value)
    assert SECRET not in repr(caught.value.__cause__)
    return str(caught.value)


def test_every_setting_that_was_measured_is_set() -> None:
    conf = build_app(Settings(visibility_timeout_s=1800), broker_url="redis://nowhere").conf
    expected = {
        "accept_content": ["json"],
        "task_serializer": "json",
        "task_acks_late": True,
        "task_reject_on_worker_lost": True,
        "task_ignore_result": True,
        "task_create_missing_queues": False,
        "task_send_sent_event": True,
        "worker_prefetch_multiplier": 1,
        "worker_send_task_events": True,
        "worker_hijack_root_logger": False,
        "broker_connection_retry_on_startup": True,
        "broker_connection_max_retries": None,
    }
    assert {name: conf[name] for name in expected} == expected
    transport = {
        "visibility_timeout": 1800,
        "queue_order_strategy": "priority",
        "unacked_restore_interval": 10,
        "unacked_restore_throttle": 1,
        "socket_timeout": 15,
        "socket_connect_timeout": 5,
        "socket_keepalive": True,
        "health_check_interval": 10,
    }
    assert {name: conf.broker_transport_options[name] for name in transport} == transport
    assert conf.result_backend is None


def test_an_upload_ends_before_the_broker_gives_its_message_to_somebody_else() -> None:
    settings = Settings()
    limit_s = build_app(settings, broker_url="redis://nowhere").conf.task_annotations["warehouse_sync.upload_chunk"]
    assert settings.attempt_target_s < limit_s["time_limit"] < settings.visibility_timeout_s


def test_every_queue_is_declared_and_no_other() -> None:
    app = build_app(Settings(), broker_url="redis://nowhere")
    assert {queue.name for queue in app.conf.task_queues} == {queue.value for queue in Queue}


def test_beat_asks_for_upkeep_in_the_control_queue_and_a_heap_of_it_expires() -> None:
    settings = Settings(upkeep_every_s=7)
    entry = build_app(settings, broker_url="redis://nowhere").conf.beat_schedule["upkeep"]
    assert (entry["task"], entry["schedule"], entry["options"]["queue"]) == (TaskName.UPKEEP, 7, "control")
    assert settings.upkeep_every_s < entry["options"]["expires"] <= 3600


def test_every_message_waits_in_its_queue(app: Celery) -> None:
    send(app, [Message(task, uuid4(), lane) for task in TaskName for lane in Lane])
    assert depths(app) == {
        Queue.CONTROL: 14,
        Queue.PROBE: 2,
        Queue.EXTRACT: 2,
        Queue.EXTRACT_BACKFILL: 2,
        Queue.UPLOAD: 1,
        Queue.UPLOAD_BACKFILL: 1,
    }


def test_a_message_carries_its_version_and_id_as_json_and_nothing_else(app: Celery) -> None:
    message = Message(TaskName.UPLOAD_CHUNK, uuid4())
    send(app, [message])
    with app.connection_for_read() as connection, connection.SimpleQueue(Queue.UPLOAD.value) as queue:
        received = queue.get(timeout=5)
        received.ack()
    assert received.headers["task"] == message.task
    assert (received.content_type, received.payload[:2]) == ("application/json", [[message.payload()], {}])


def test_nothing_to_send_needs_no_broker() -> None:
    send(build_app(Settings(), broker_url="redis://127.0.0.1:1/0"), [])


def test_a_broker_that_is_down_is_named_with_what_to_do() -> None:
    app = build_app(Settings(), broker_url=f"redis://:{SECRET}@127.0.0.1:1/0")
    for act in (lambda: send(app, [Message(TaskName.UPKEEP, uuid4())]), lambda: depths(app)):
        said = refusal(act)
        assert "127.0.0.1:1" in said
        assert "WAREHOUSE_SYNC_BROKER_URL" in said


def test_a_wrong_password_is_told_as_such(services: Services) -> None:
    scheme, rest = services.broker_url.split("://", 1)
    app = build_app(Settings(), broker_url=f"{scheme}://:{SECRET}@{rest.rpartition('@')[2]}")
    for act in (lambda: send(app, [Message(TaskName.UPKEEP, uuid4())]), lambda: depths(app)):
        assert "password" in refusal(act)


def test_a_broker_that_goes_away_and_comes_back_needs_no_restart_of_ours(tmp_path: Path) -> None:
    with services_for(tmp_path, {**os.environ, DATABASE_URL: "postgresql://not-needed"}) as services:
        app = build_app(Settings(), broker_url=services.broker_url)
        message = Message(TaskName.UPKEEP, uuid4())
        send(app, [message])
        valkey = Valkey(tmp_path)
        valkey.stop()
        for _ in range(2):
            refusal(lambda: send(app, [message]))
            refusal(lambda: depths(app))
        valkey.start()
        before = depths(app)[Queue.CONTROL]
        send(app, [message])
        assert depths(app)[Queue.CONTROL] == before + 1
        app.close()
