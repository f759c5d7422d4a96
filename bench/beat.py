"""Beat with 10,000 pipelines: what an idle tick costs, and how long 500 that are due at once take until they are sent.

Each figure is the median of several; both use the embedded PostgreSQL and Valkey.
"""

import os
import statistics
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import redis
import sqlalchemy as sa

from beat.scheduler import PipelineScheduler
from sandbox.premises import prepare_premises
from sandbox.services import services_for
from shared import catalog
from shared.broker import build_app
from shared.feed import Feed
from shared.schedule import Frequency, Interval
from shared.settings import settings
from shared.store import declared
from shared.store.database import Database

_PIPELINES: Final = 10_000
_DUE: Final = 500
_REPETITIONS: Final = 7


def measure() -> dict[str, Any]:
    """Give milliseconds of an idle look and tick, and seconds for all that are due to be claimed and sent."""
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder).resolve()
        with services_for(home, {}) as services:
            os.environ["WAREHOUSE_SYNC_DATABASE_URL"] = services.database_url
            os.environ["WAREHOUSE_SYNC_BROKER_URL"] = services.broker_url
            settings.cache_clear()
            database = Database(services.database_url)
            database.migrate()
            _declare(database, prepare_premises(home, services).feed())
            app = build_app(settings(), broker_url=services.broker_url)
            beat = PipelineScheduler(app)
            beat.tick()
            idle_ms = 1000 * _median(beat.start_due, _REPETITIONS * 10)
            tick_ms = 1000 * _median(beat.tick, _REPETITIONS * 10)
            due_s = [_due(database, beat, services.broker_url) for _ in range(_REPETITIONS)]
            beat.close()
            app.close()
            database.close()
    return {
        "pipelines": _PIPELINES,
        "idle_look_ms": round(idle_ms, 2),
        "idle_tick_ms": round(tick_ms, 2),
        "due_at_once": _DUE,
        "claimed_and_sent_s": round(statistics.median(due_s), 2),
        "slowest_s": round(max(due_s), 2),
    }


def _declare(database: Database, feed: Feed) -> None:
    schedule = Interval(frequency=Frequency.HOURLY, start=datetime.now(UTC) + timedelta(days=1))
    pipeline = catalog.Pipeline(
        id="p",
        name="p",
        connection_id="lake",
        data_model_id="users",
        feed_id=feed.id,
        environment=catalog.Environment.DEVELOPMENT,
        sync_mode=catalog.Full(),
        schedule=schedule,
    )
    lake = catalog.Connection.model_validate(
        {"id": "lake", "name": "Lake", "service_provider": "duckdb", "config": {"folder": "/lake"}}
    )
    with database.transaction() as connection:
        declared.put(connection, feed)
        declared.put(connection, lake)
        declared.put(connection, catalog.DataModel(id="users", name="Users", sql_query="SELECT 1"))
        declared.put_pipeline(connection, pipeline)
        connection.execute(
            sa.text(
                "INSERT INTO pipelines (id, document, connection_id, data_model_id, feed_id, state, next_due_at)"
                " SELECT 'p' || i, document || jsonb_build_object('id', 'p' || i, 'name', 'p' || i), connection_id,"
                " data_model_id, feed_id, 'active', now() + i * interval '1 second' + interval '1 day'"
                " FROM pipelines, generate_series(1, :pipelines) i"
            ),
            {"pipelines": _PIPELINES - 1},
        )
    with database.transaction() as connection:
        connection.execute(sa.text("ANALYZE pipelines"))


def _due(database: Database, beat: PipelineScheduler, broker_url: str) -> float:
    """Make as many due that have no run, and give the seconds until all are claimed and sent."""
    with database.transaction() as connection:
        connection.execute(sa.text("DELETE FROM runs"))
        connection.execute(
            sa.text(
                "UPDATE pipelines SET next_due_at = now() - interval '1 minute' WHERE id IN"
                " (SELECT id FROM pipelines WHERE next_due_at IS NOT NULL ORDER BY id LIMIT :due)"
            ),
            {"due": _DUE},
        )
    began_at = time.perf_counter()
    started = beat.start_due()
    took_s = time.perf_counter() - began_at
    if started != _DUE:
        raise RuntimeError(f"{started} pipelines were claimed, expected {_DUE}")
    with redis.Redis.from_url(broker_url) as client:
        client.flushdb()
    return took_s


def _median(look: Callable[[], object], times: int) -> float:
    taken = []
    for _ in range(times):
        began_at = time.perf_counter()
        look()
        taken.append(time.perf_counter() - began_at)
    return statistics.median(taken)
