"""The workers' Celery app: ``celery -A worker.app worker -Q upload``."""

import signal
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from types import FrameType
from typing import Any

from celery.signals import heartbeat_sent, setup_logging, worker_init, worker_process_shutdown, worker_ready

from shared import pulse, trace_export
from shared.broker import build_app
from shared.endpoints import known_broker_url, service_urls
from shared.errors import SyncError
from shared.settings import settings
from shared.telemetry import configure_logs, log
from worker import process
from worker.fitness import check_fitness

_log = log(__name__)

app = build_app(
    settings(),
    # Flower is this app as well, and knows no database.
    broker_url=known_broker_url(settings()) or service_urls(settings()).broker,
    include=[
        "worker.tasks.alert",
        "worker.tasks.extract_slice",
        "worker.tasks.operate",
        "worker.tasks.plan_run",
        "worker.tasks.probe",
        "worker.tasks.settle_run",
        "worker.tasks.upkeep",
        "worker.tasks.upload_chunk",
    ],
)


@setup_logging.connect
def _configure_logs(**_: Any) -> None:
    configure_logs(settings().log_format)


@worker_init.connect
def _check_fitness(**_: Any) -> None:
    """Check in a process of its own: what talks to buckets starts threads, which no fork of this one would have."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as apart:
        try:
            apart.submit(check_fitness, settings()).result()
        except SyncError as error:
            _log.critical("worker_unfit", error_kind=type(error).__name__, error=str(error))
            raise SystemExit(f"this worker cannot start: {error}") from None


@heartbeat_sent.connect
def _show_that_it_works(**_: Any) -> None:
    """Every two seconds, from the loop that takes messages; not while the broker does not answer."""
    pulse.beat(settings().pulse_file)


@worker_init.connect
def _prepare_traces(**_: Any) -> None:
    trace_export.prepare()


@worker_process_shutdown.connect
def _send_traces(**_: Any) -> None:
    """A prefork child ends without running what is registered for the end of a process."""
    trace_export.shut_down()


@worker_ready.connect
def _yield_when_asked_to_stop(**_: Any) -> None:
    """Tell the attempts before Celery's own handler runs: its soft shutdown sleeps first, and only then says so."""
    for number in (signal.SIGTERM, signal.SIGQUIT, signal.SIGINT):
        celerys = signal.getsignal(number)

        def handle(received: int, frame: FrameType | None, *, celerys: Any = celerys) -> None:
            process.shut_down()
            if callable(celerys):
                celerys(received, frame)

        signal.signal(number, handle)
