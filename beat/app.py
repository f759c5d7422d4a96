"""Beat's Celery app: ``celery -A beat.app beat``.

Its entries name tasks and queues only; what a task does is the workers' business. Several beats at once do no harm:
whatever is sent twice is claimed once.
"""

from typing import Any

from celery.signals import beat_init, setup_logging

from shared import trace_export
from shared.broker import build_app
from shared.endpoints import service_urls
from shared.errors import SyncError
from shared.outage import naming_both
from shared.settings import settings
from shared.store.database import Database
from shared.telemetry import configure_logs, log

_log = log(__name__)

app = build_app(settings(), broker_url=service_urls(settings()).broker)


@setup_logging.connect
def _configure_logs(**_: Any) -> None:
    configure_logs(settings().log_format)


@beat_init.connect
def _name_what_is_missing(**_: Any) -> None:
    """Say which services do not answer, the database first; Celery then waits for the broker, and names that alone."""
    own = settings()
    database = Database(service_urls(own).database, pool_size=1)
    try:
        with naming_both(own), database.transaction():
            pass
    except SyncError as error:
        _log.error("services_not_reached", error_kind=type(error).__name__, error=str(error))
    finally:
        database.close()


@beat_init.connect
def _prepare_traces(**_: Any) -> None:
    trace_export.prepare()
