"""The workers' Celery app: ``celery -A worker.app worker -Q upload``.

Before a worker takes its first message it checks that it is fit for work: the store's schema is current, and the spool
is writable and the same that every other worker sees.
"""

from typing import Any

from celery.signals import setup_logging, worker_init, worker_shutting_down

from shared.broker import build_app
from shared.endpoints import broker_url, database_url, spool_url
from shared.errors import SpoolUnwritable, SyncError
from shared.settings import settings
from shared.spool import Spool
from shared.store import markers
from shared.store.database import Database
from shared.telemetry import configure_logs, log
from worker import process

_log = log(__name__)

app = build_app(
    settings(),
    broker_url=broker_url(settings()),
    include=[
        "worker.tasks.extract_slice",
        "worker.tasks.plan_run",
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
    try:
        check_fitness()
    except SyncError as error:
        _log.critical("worker_unfit", error_kind=type(error).__name__, error=str(error))
        raise SystemExit(f"this worker cannot start: {error}") from error


@worker_shutting_down.connect
def _yield_soon(**_: Any) -> None:
    process.shut_down()


def check_fitness() -> None:
    """Raise unless this worker's store is migrated and its spool is the one that all workers see.

    Raises:
        StoreUnavailable: the database does not answer.
        ServiceUnavailable: its schema is not this version's.
        SpoolUnwritable: the spool cannot be written, or is not the others' spool.
    """
    database = Database(database_url(settings()), pool_size=1)
    try:
        database.require_current_schema()
        url = spool_url(settings())
        own = Spool.open(url).marker()
        with database.transaction() as connection:
            common = markers.agree(connection, "spool", own)
    finally:
        database.close()
    if own != common:
        raise SpoolUnwritable(
            f"the spool at {url} is not the one that the other workers use: mount the same folder everywhere, or use "
            "a bucket (WAREHOUSE_SYNC_SPOOL_URL). If the spool was moved on purpose, run `warehouse-sync spool adopt`"
        )
