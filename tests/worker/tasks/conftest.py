"""A worker process made of this one: its settings, its connections, and an empty store, queue, spool and stand-in."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from sandbox.services import Services
from shared.broker import build_app
from shared.settings import settings
from shared.store.database import Database
from tests.worker.tasks.desk import Desk, FragileDatabase, stand_in_running
from worker.process import Process
from worker.tasks.boundary import this_process
from worker.tasks.frozen import frozen_of

SECRET = "of-the-stand-in"
LIMITS = {
    "CHUNK_MAX_ROWS": "3",
    "RECORD_BATCH_ROWS": "2",
    "BODY_MAX_BATCHES": "1",
    "PROGRESS_EVERY_S": "0.01",
    "REQUESTS_IN_FLIGHT": "1",
    "RUN_WINDOW_CHUNKS": "2",
    "MAX_DEATHS": "1000",
}


@pytest.fixture
def limits() -> dict[str, str]:
    """Settings by their names, for a test to override."""
    return LIMITS


@pytest.fixture
def desk(
    services: Services,
    database: Database,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    limits: dict[str, str],
) -> Iterator[Desk]:
    url = database.url.render_as_string(hide_password=False)
    environment = {
        "HOME": str(tmp_path),
        "DATABASE_URL": url,
        "BROKER_URL": services.broker_url,
        "SPOOL_URL": (tmp_path / "spool").as_uri(),
        "SECRET_FEED": SECRET,
        "FEED_HOSTS": "127.0.0.1",
        "DUCKDB_FOLDERS": str(tmp_path),
        **limits,
    }
    for name, value in environment.items():
        monkeypatch.setenv(f"WAREHOUSE_SYNC_{name}", value)
    with redis.Redis.from_url(services.broker_url) as client:
        client.flushdb()
    settings.cache_clear()
    this_process.cache_clear()
    app = build_app(settings(), broker_url=services.broker_url)
    process = this_process()
    assert process.app is app
    process.spool.marker()  # As every worker does before its first task.
    fragile = FragileDatabase(url)
    process.database = fragile
    with stand_in_running(SECRET) as (feed_url, stand_in):
        yield Desk(process, fragile, stand_in, feed_url, tmp_path)
    _close(process)
    fragile.close()
    app.close()
    frozen_of.cache_clear()
    this_process.cache_clear()
    settings.cache_clear()


def _close(process: Process) -> None:
    """Close what the tasks have opened; a worker's own process just ends."""
    opened = vars(process)
    for name in ("session", "governor"):
        if name in opened:
            process.run(opened[name].close())
    if "_loop" in opened:
        loop: asyncio.AbstractEventLoop = opened["_loop"]
        loop.call_soon_threadsafe(loop.stop)
