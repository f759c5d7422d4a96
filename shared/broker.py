"""The Celery app: queues, routes, acknowledgement and limits, the same in every process.

Each setting that is not Celery's default was measured under faults; ARCHITECTURE.md, "Celery", says what happens
without it.
"""

import time
from collections.abc import Iterable, Mapping
from typing import Any, Final

from celery import Celery
from celery.signals import before_task_publish
from kombu import Connection
from kombu import Queue as BrokerQueue
from kombu.exceptions import OperationalError
from kombu.transport.redis import PRIORITY_STEPS, Channel

from shared.broker_tls import for_celery
from shared.errors import BrokerUnavailable
from shared.messages import Message, Queue, TaskName
from shared.settings import Settings

_SOCKET_TIMEOUT_S: Final = 15
_CONNECT_TIMEOUT_S: Final = 5
_HEALTH_CHECK_EVERY_S: Final = 10
_UPKEEP_EXPIRES_S: Final = 600
"""Keeps a heap of them from piling up while no worker runs; far more than two machines' clocks may differ."""
_RECONNECT_AFTER_S: Final = 0.2
SENT_AT: Final = "sent_at"
"""The header of a message that says when it was sent, in seconds since 1970 by its sender's clock."""

App = Celery
"""Celery's app, named here so that only the apps and the tasks need to know Celery."""


def build_app(settings: Settings, *, broker_url: str, include: Iterable[str] = ()) -> Celery:
    """Build the app of one process; ``include`` names the modules with its tasks.

    Raises:
        ServiceUnavailable: the URL asks for TLS in a way that cannot be used.
    """
    told = for_celery(broker_url)
    app = Celery("warehouse_sync", broker=told.url, include=list(include))
    app.conf.update(
        broker_use_ssl=told.tls,
        accept_content=["json"],
        task_serializer="json",
        task_queues=[BrokerQueue(queue.value) for queue in Queue],
        task_default_queue=Queue.CONTROL.value,
        task_create_missing_queues=False,
        task_ignore_result=True,
        task_acks_late=True,
        task_reject_on_worker_lost=True,
        # Before the broker gives the message to somebody else. Extractions take hours: theirs is acknowledged early.
        task_annotations={TaskName.UPLOAD_CHUNK.value: {"time_limit": settings.visibility_timeout_s * 0.9}},
        task_send_sent_event=True,
        worker_send_task_events=True,
        worker_prefetch_multiplier=1,
        worker_soft_shutdown_timeout=settings.soft_shutdown_s,
        worker_enable_soft_shutdown_on_idle=False,
        worker_cancel_long_running_tasks_on_connection_loss=False,
        worker_hijack_root_logger=False,
        broker_connection_retry_on_startup=True,
        broker_connection_max_retries=None,
        broker_transport_options=_transport(settings),
        beat_scheduler="beat.scheduler:PipelineScheduler",
        beat_schedule={
            "upkeep": {
                "task": TaskName.UPKEEP.value,
                "schedule": settings.upkeep_every_s,
                # One that waited for longer than this has a successor in the queue.
                "options": {"queue": Queue.CONTROL.value, "expires": _UPKEEP_EXPIRES_S},
            }
        },
        beat_max_loop_interval=min(5.0, settings.upkeep_every_s),
    )
    return app


@before_task_publish.connect  # type: ignore[untyped-decorator]  # Celery has no types
def _say_when(headers: dict[str, Any] | None = None, **_: Any) -> None:
    """Write into each message of a process that imports this, be it ours or Celery's own, when it was sent."""
    if headers is not None:
        headers.setdefault(SENT_AT, time.time())


def send(app: Celery, messages: Iterable[Message]) -> None:
    """Send messages whose work is recorded and committed.

    Raises:
        BrokerUnavailable: the broker does not answer; upkeep sends what is missing once it does.
    """
    try:
        with app.producer_pool.acquire(block=True) as producer:
            for message in messages:
                app.send_task(
                    message.task.value,
                    args=(message.payload(),),
                    queue=message.queue.value,
                    priority=message.priority.value,
                    producer=producer,
                    retry=False,
                )
    except _broken(app) as error:
        raise _unavailable(app, error) from error


def lists_of(queue: Queue) -> Mapping[int, str]:
    """Give the Redis lists of a queue by the priority of the messages in it, 0 first of all."""
    return {step: f"{queue.value}{Channel.sep}{step}" if step else queue.value for step in PRIORITY_STEPS}


def depths(app: Celery) -> Mapping[Queue, int]:
    """Count the messages that wait in each queue; those in a worker's hands are not among them.

    Raises:
        BrokerUnavailable: the broker does not answer.
    """
    try:
        with app.connection_for_read() as connection:
            channel = connection.default_channel
            return {queue: channel._size(queue.value) for queue in Queue}  # noqa: SLF001 - the transport's own count
    except _broken(app) as error:
        raise _unavailable(app, error) from error


def serving(app: Celery, *, wait_s: float = 2.0) -> Mapping[str, frozenset[str]]:
    """Ask all workers which queues they serve; those that do not answer within ``wait_s`` are not among them.

    Raises:
        BrokerUnavailable: the broker does not answer.
    """
    try:
        answers = app.control.inspect(timeout=wait_s).active_queues() or {}
    except _broken(app) as error:
        raise _unavailable(app, error) from error
    return {worker: frozenset(queue["name"] for queue in queues) for worker, queues in answers.items()}


def _broken(app: Celery) -> tuple[type[Exception], ...]:
    """Give what a broken or refused connection raises; the transport's own errors are not always translated."""
    connection: Connection = app.connection_for_read()
    return (OperationalError, *connection.connection_errors, *connection.channel_errors)


def _transport(settings: Settings) -> dict[str, Any]:
    return {
        "visibility_timeout": settings.visibility_timeout_s,
        "queue_order_strategy": "priority",
        "unacked_restore_interval": 10,
        "unacked_restore_throttle": 1,
        "socket_timeout": _SOCKET_TIMEOUT_S,
        "socket_connect_timeout": _CONNECT_TIMEOUT_S,
        "socket_keepalive": True,
        "health_check_interval": _HEALTH_CHECK_EVERY_S,
        # Only for sending and measuring; a worker's own connection is tried again for ever.
        "max_retries": 1,
        "interval_start": _RECONNECT_AFTER_S,
    }


def _unavailable(app: Celery, error: Exception) -> BrokerUnavailable:
    address = app.connection_for_read().as_uri(include_password=False)
    lines = str(error).splitlines() or [type(error).__name__]
    return BrokerUnavailable(
        f"the broker at {address} does not answer ({lines[0]}); "
        "check that Redis or Valkey runs and WAREHOUSE_SYNC_BROKER_URL is right"
    )
