"""Beat's Celery app: ``celery -A beat.app beat``.

Its entries name tasks and queues only; what a task does is the workers' business. Several beats at once do no harm:
whatever is sent twice is claimed once.
"""

from typing import Any

from celery.signals import beat_init, setup_logging

from shared import trace_export
from shared.broker import build_app
from shared.endpoints import broker_url
from shared.settings import settings
from shared.telemetry import configure_logs

app = build_app(settings(), broker_url=broker_url(settings()))


@setup_logging.connect
def _configure_logs(**_: Any) -> None:
    configure_logs(settings().log_format)


@beat_init.connect
def _prepare_traces(**_: Any) -> None:
    trace_export.prepare()
