"""Beat claims what is due from the store and sends it; several at once, and with a service away, nothing is lost."""

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest
import redis
from celery import Celery

from beat.scheduler import BATCH, PipelineScheduler
from sandbox.services import Services
from shared.broker import build_app, depths
from shared.messages import Queue
from shared.schedule import Frequency, Interval
from shared.settings import settings
from shared.store import lives, lost
from shared.store.database import Database
from tests.collector import remembering
from tests.shared.store.stage import WINDOW_CHUNKS, Stage


@pytest.fixture
def app(services: Services, database: Database, monkeypatch: pytest.MonkeyPatch) -> Iterator[Celery]:
    """Beat's app over a database of the test's own and an empty broker."""
    monkeypatch.setenv("WAREHOUSE_SYNC_DATABASE_URL", database.url.render_as_string(hide_password=False))
    monkeypatch.setenv("WAREHOUSE_SYNC_BROKER_URL", services.broker_url)
    with redis.Redis.from_url(services.broker_url) as client:
        client.flushdb()
    settings.cache_clear()
    yield (built := build_app(settings(), broker_url=services.broker_url))
    built.close()
    settings.cache_clear()


@pytest.fixture
def stage(database: Database) -> Stage:
    stage = Stage(database)
    stage.clear()
    return stage


@pytest.fixture
def scheduler(app: Celery) -> Iterator[PipelineScheduler]:
    yield (beat := PipelineScheduler(app))
    beat.close()


def hourly() -> Interval:
    """Give a schedule whose last occurrence was five minutes ago: nothing else is due while a test lasts."""
    return Interval(frequency=Frequency.HOURLY, start=datetime.now(UTC) - timedelta(hours=1, minutes=5))


def declare(stage: Stage, count: int) -> None:
    """Declare pipelines whose occurrence of five minutes ago nobody has claimed."""
    schedule = hourly()
    for number in range(count):
        stage.declare(f"p{number:03}", schedule=schedule)
    stage.write("UPDATE pipelines SET next_due_at = now() - interval '5 minutes'")


def counted(stage: Stage) -> tuple[int, int]:
    (row,) = stage.rows("SELECT count(DISTINCT pipeline_id) AS pipelines, count(*) AS runs FROM runs")
    return (row.pipelines, row.runs)


def waiting(app: Celery) -> int:
    return depths(app)[Queue.EXTRACT]


def test_a_tick_sends_the_plans_of_what_is_due_and_comes_back_soon(
    stage: Stage, scheduler: PipelineScheduler, app: Celery
) -> None:
    declare(stage, 3)
    assert scheduler.tick() <= settings().beat_every_s
    assert counted(stage) == (3, 3)
    assert waiting(app) == 3
    assert scheduler.start_due() == 0, "what was claimed is due again in an hour"


def test_the_claim_of_what_is_due_is_in_the_trace_of_each_run(stage: Stage, scheduler: PipelineScheduler) -> None:
    declare(stage, 3)
    with remembering() as memory:
        assert scheduler.start_due() == 3
    told = memory.get_finished_spans()
    assert [span.name for span in told] == ["claim_due"] * 3
    traces = {span.context.trace_id for span in told if span.context}
    assert traces == {row.id.int for row in stage.rows("SELECT id FROM runs")}


def test_a_tick_asks_for_upkeep_too(scheduler: PipelineScheduler, app: Celery) -> None:
    for _ in range(5):
        scheduler.tick()
    assert "upkeep" in scheduler.schedule
    assert depths(app)[Queue.CONTROL] <= 1


def test_more_than_a_batch_is_claimed_in_one_look(stage: Stage, scheduler: PipelineScheduler, app: Celery) -> None:
    stage.declare("p", schedule=hourly())
    stage.write(
        "INSERT INTO pipelines (id, document, connection_id, data_model_id, feed_id, state)"
        " SELECT 'p' || i, document || jsonb_build_object('id', 'p' || i, 'name', 'p' || i), connection_id,"
        " data_model_id, feed_id, state"
        " FROM pipelines, generate_series(1, :more) i",
        more=BATCH,
    )
    stage.write("UPDATE pipelines SET next_due_at = now() - interval '5 minutes'")
    assert scheduler.start_due() == BATCH + 1
    assert counted(stage) == (BATCH + 1, BATCH + 1)
    assert waiting(app) == BATCH + 1


def test_two_beats_at_once_claim_every_pipeline_once(stage: Stage, app: Celery) -> None:
    declare(stage, 40)
    beats = [PipelineScheduler(app) for _ in range(3)]
    begin = threading.Barrier(len(beats))
    started: list[int] = []

    def look(beat: PipelineScheduler) -> None:
        begin.wait()
        started.append(beat.start_due())

    threads = [threading.Thread(target=look, args=(beat,)) for beat in beats]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    left = beats[0].start_due()
    assert sum(started) + left == 40
    assert counted(stage) == (40, 40)
    assert waiting(app) == 40
    for beat in beats:
        beat.close()


def test_what_cannot_be_sent_is_recorded_and_upkeep_sends_it(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, database: Database
) -> None:
    monkeypatch.setenv("WAREHOUSE_SYNC_DATABASE_URL", database.url.render_as_string(hide_password=False))
    settings.cache_clear()
    declare(stage, 2)
    nowhere = build_app(settings(), broker_url="redis://127.0.0.1:1/0")
    beat = PipelineScheduler(nowhere)
    assert beat.start_due() == 2
    beat.close()
    nowhere.close()
    assert counted(stage) == (2, 2)
    stage.write("UPDATE runs SET sent_at = now() - interval '1 hour'")
    with database.transaction() as connection:
        again = lost.send_again(connection, Queue.EXTRACT, at_most=10, after_s=60, max_s=3600)
    assert len(again) == 2
    settings.cache_clear()


def test_without_the_store_a_tick_says_so_and_the_next_finds_what_is_overdue(
    stage: Stage, scheduler: PipelineScheduler, monkeypatch: pytest.MonkeyPatch
) -> None:
    declare(stage, 1)
    reached = scheduler._database
    away = Database("postgresql+psycopg://nobody@127.0.0.1:1/nowhere")
    monkeypatch.setattr(scheduler, "_database", away)
    assert scheduler.start_due() == 0
    assert scheduler.tick() <= settings().beat_every_s
    monkeypatch.setattr(scheduler, "_database", reached)
    away.close()
    assert scheduler.start_due() == 1


def test_a_beat_that_dies_after_its_commit_leaves_runs_that_upkeep_sends(stage: Stage, database: Database) -> None:
    declare(stage, 1)

    with database.transaction() as connection:
        lives.claim_due(connection, at_most=10, window_chunks=WINDOW_CHUNKS, max_reopenings=3)
    stage.write("UPDATE runs SET sent_at = now() - interval '1 hour'")
    with database.transaction() as connection:
        assert len(lost.send_again(connection, Queue.EXTRACT, at_most=10, after_s=60, max_s=3600)) == 1


def test_a_beat_notes_that_it_ticks_now_and_then(stage: Stage, scheduler: PipelineScheduler) -> None:
    scheduler.tick()
    (first,) = stage.rows("SELECT * FROM beats")
    scheduler.tick()
    assert stage.rows("SELECT * FROM beats") == [first], "not with every tick"
    assert first.name.rpartition(":")[2] == str(os.getpid())


def test_beat_imports_neither_alembic_nor_arrow() -> None:
    script = "import sys, beat.scheduler; print(*{'alembic', 'pyarrow'}.intersection(sys.modules))"
    assert subprocess.run([sys.executable, "-c", script], capture_output=True, check=True).stdout.split() == []
