"""What tasks do with messages, rows and resources that are not as they should be."""

import os
import subprocess
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from shutil import which
from uuid import uuid4

import pytest
import redis
import sqlalchemy as sa

from sandbox.ports import free_port
from shared.access import Role
from shared.broker import build_app
from shared.catalog import Full, Incremental, IteratorType
from shared.errors import PayloadUnknown, SignInRefused, Unexpected
from shared.ledger import Ledger
from shared.messages import PAYLOAD_VERSION, TaskName
from shared.paces import KEY_PREFIX
from shared.run import Lane, RunState
from shared.store import access, moves, sign_ins
from shared.store.access_tables import failed_sign_ins, tokens
from shared.store.reject_tables import reject_files
from shared.store.tables import chunks as chunks_table
from shared.store.tables import runs
from tests.worker.tasks.conftest import LIMITS
from tests.worker.tasks.desk import ROWS, Desk, Killed, Strike, When, assert_settled_whole, fails_with

A_RUNS_TASKS = (TaskName.PLAN_RUN, TaskName.EXTRACT_SLICE, TaskName.UPLOAD_CHUNK, TaskName.SETTLE_RUN)


@pytest.mark.parametrize("task", A_RUNS_TASKS)
def test_a_message_about_nothing_is_out_of_date(desk: Desk, task: TaskName) -> None:
    desk.do(task, ({"version": PAYLOAD_VERSION, "id": str(uuid4())},))
    assert desk.take() is None


@pytest.mark.parametrize("task", A_RUNS_TASKS)
@pytest.mark.parametrize("payload", [{"version": PAYLOAD_VERSION + 1, "id": str(uuid4())}, {"id": "1"}, "17"])
def test_a_message_of_another_version_is_refused_and_its_content_not_repeated(
    desk: Desk, task: TaskName, payload: object
) -> None:
    with pytest.raises(PayloadUnknown) as raised:
        desk.do(task, (payload,))
    assert "17" not in str(raised.value)


def test_a_message_that_a_worker_of_another_release_refused_is_sent_again(desk: Desk) -> None:
    run_id = desk.trigger(desk.pipeline())
    (payload,) = desk.take_until(TaskName.PLAN_RUN)
    with pytest.raises(PayloadUnknown):
        desk.do(TaskName.PLAN_RUN, ({**payload, "version": 2},))
    assert_settled_whole(desk, desk.finish(run_id).id)


def test_an_exception_that_nobody_foresaw_stops_the_run_and_is_told_by_its_place_only(desk: Desk) -> None:
    run_id = desk.trigger(desk.pipeline())
    arguments = desk.take_until(TaskName.UPLOAD_CHUNK)
    frozen = desk.run(run_id).snapshot
    damage(desk, run_id, {"planted": "ada@planted.example"})
    with pytest.raises(Unexpected) as raised:
        desk.do(TaskName.UPLOAD_CHUNK, arguments)
    run = desk.run(run_id)
    assert run.state is RunState.FAILED
    assert run.error_kind == "Unexpected"
    assert run.error is not None
    assert "ValidationError at " in run.error
    assert "upload_chunk.py:" in run.error
    assert "planted" not in run.error + str(raised.value)
    assert raised.value.__suppress_context__
    damage(desk, run_id, frozen)
    desk.retry(run_id)
    assert_settled_whole(desk, desk.finish(run_id).id)


def test_messages_that_cannot_be_sent_are_sent_by_upkeep_once_the_broker_is_back(desk: Desk) -> None:
    run_id = desk.trigger(desk.pipeline())
    arguments = desk.take_until(TaskName.EXTRACT_SLICE)
    app = desk.process.app
    gone = build_app(desk.process.settings, broker_url=f"redis://127.0.0.1:{free_port()}/0")
    desk.process.app = gone
    desk.do(TaskName.EXTRACT_SLICE, arguments)
    desk.time_passes()
    desk.do(TaskName.UPKEEP, ())
    assert desk.run(run_id).state is RunState.UPLOADING
    desk.process.app = app
    gone.close()
    app.set_current()
    assert desk.take() is None
    assert_settled_whole(desk, desk.finish(run_id).id)


@pytest.mark.parametrize(
    ("task", "noun"),
    [(TaskName.PLAN_RUN, "plan"), (TaskName.EXTRACT_SLICE, "slice"), (TaskName.UPLOAD_CHUNK, "chunk")],
)
@pytest.mark.parametrize("limits", [{**LIMITS, "MAX_DEATHS": "3"}], ids=["three deaths"])
def test_what_too_many_claimants_died_on_stops_the_run_until_it_is_retried(
    desk: Desk, task: TaskName, noun: str
) -> None:
    run_id = desk.trigger(desk.pipeline())
    arguments = desk.take_until(task)
    for _ in range(3):
        assert desk.run(run_id).state is not RunState.FAILED
        with desk.database.struck(Strike(1, When.AFTER, fails_with(Killed()))):
            desk.do(task, arguments)
        desk.time_passes()
        desk.do(TaskName.UPKEEP, ())
    run = desk.run(run_id)
    assert run.state is RunState.FAILED
    assert run.error_kind == "ChunkAbandoned"
    assert run.error is not None
    assert f"3 workers died on {noun}" in run.error
    desk.lose_messages()
    desk.retry(run_id)
    assert_settled_whole(desk, desk.finish(run_id).id)


def test_a_chunk_in_doubt_for_25_days_stops_its_run_until_an_operator_accepts_that(desk: Desk) -> None:
    run_id = desk.trigger(desk.pipeline())
    arguments = desk.take_until(TaskName.UPLOAD_CHUNK)
    with desk.database.struck(Strike(4, When.AFTER, fails_with(Killed()))):
        desk.do(TaskName.UPLOAD_CHUNK, arguments)
    shift(desk, chunks_table.c.in_doubt_since, timedelta(days=26))
    desk.time_passes()
    desk.do(TaskName.UPKEEP, ())
    run = desk.run(run_id)
    assert run.state is RunState.FAILED
    assert run.error_kind == "ChunkAbandoned"
    assert run.error is not None
    assert "unfinished for 25 days" in run.error
    desk.lose_messages()
    desk.retry(run_id)
    assert_settled_whole(desk, desk.finish(run_id).id)


def test_files_expire_after_their_run_is_settled_and_never_before(desk: Desk) -> None:
    settled = desk.finish(desk.trigger(desk.pipeline())).id
    stopped = desk.trigger(desk.pipeline(query=with_a_reject()))
    desk.do(TaskName.UPLOAD_CHUNK, desk.take_until(TaskName.UPLOAD_CHUNK))
    with desk.database.transaction() as store:
        moves.cancel(store, stopped)
    (kept,) = desk.rows(sa.select(reject_files))
    later(desk, timedelta(hours=2))
    assert {folder.run_id for folder in desk.process.spool.slice_folders()} == {stopped}
    later(desk, timedelta(days=31))
    assert desk.process.spool.read_rejects(kept["path"], kept["checksum"]).num_rows == 1
    desk.lose_messages()
    desk.retry(stopped)
    assert desk.finish(stopped).ledger == Ledger(extracted=ROWS, accepted=ROWS - 1, rejected=1)
    later(desk, timedelta(hours=2))
    assert list(desk.process.spool.slice_folders()) == []
    assert desk.process.spool.read_rejects(kept["path"], kept["checksum"]).num_rows == 1
    later(desk, timedelta(days=31))
    assert desk.rows(sa.select(reject_files)) == []
    assert not list(desk.warehouse.glob("spool/rejects/*/*"))
    assert [desk.run(run_id).state for run_id in (settled, stopped)] == [RunState.SETTLED] * 2


@pytest.mark.parametrize(
    "limits", [{**LIMITS, "SPOOL_SOFT_BYTES": "1000", "SPOOL_HARD_BYTES": "2000"}], ids=["2000 bytes"]
)
def test_a_slice_that_outgrows_the_spool_says_how_much_it_needs(desk: Desk) -> None:
    run_id = desk.trigger(desk.pipeline())
    run = desk.finish(run_id)
    assert run.state is RunState.FAILED
    assert run.error_kind == "SpoolTooSmall"
    assert run.error is not None
    assert "the hard limit is 2000" in run.error
    assert "raise WAREHOUSE_SYNC_SPOOL_HARD_BYTES" in run.error
    assert run.ledger == Ledger()
    assert list(desk.process.spool.slice_folders()) == []
    desk.process.settings = desk.process.settings.model_copy(update={"spool_hard_bytes": 100_000})
    desk.retry(run_id)
    assert_settled_whole(desk, desk.finish(run_id).id)


@pytest.mark.parametrize(
    "limits", [{**LIMITS, "SPOOL_SOFT_BYTES": "1000", "SPOOL_HARD_BYTES": "7000"}], ids=["7000 bytes"]
)
def test_a_slice_waits_while_another_run_fills_the_spool(desk: Desk) -> None:
    first = desk.trigger(desk.pipeline())
    desk.take_until(TaskName.UPLOAD_CHUNK)
    desk.lose_messages()
    second = desk.trigger(desk.pipeline())
    desk.do(TaskName.PLAN_RUN, desk.take_until(TaskName.PLAN_RUN))
    desk.do(TaskName.EXTRACT_SLICE, desk.take_until(TaskName.EXTRACT_SLICE))
    (slice_,) = desk.slices(second)
    assert slice_["state"] == "pending"
    assert "the spool" in slice_["held_reason"]
    assert desk.run(second).state is RunState.EXTRACTING
    assert_settled_whole(desk, desk.finish(first).id)
    shift(desk, runs.c.ended_at, timedelta(hours=2))
    assert_settled_whole(desk, desk.finish(second).id)


@pytest.fixture
def small_disk(desk: Desk) -> Iterator[Path]:
    """The spool on a disk of its own that holds 64 KiB."""
    spool = desk.warehouse / "spool"
    mounted = subprocess.run(
        [which("mount") or "mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", spool],
        capture_output=True,
        text=True,
        check=False,
    )
    if mounted.returncode != 0:
        missing = f"a small disk can be mounted by root only: {mounted.stderr.strip()}"
        if os.environ.get("CI"):
            pytest.fail(missing)
        pytest.skip(missing)
    (spool / "marker").write_text(desk.process.spool.marker())
    yield spool
    subprocess.run([which("umount") or "umount", spool], check=True)


def test_a_full_disk_is_named_and_waited_for(desk: Desk, small_disk: Path) -> None:
    ballast = small_disk / "ballast"
    ballast.write_bytes(bytes(59 * 1024))
    run_id = desk.trigger(desk.pipeline())
    desk.do(TaskName.EXTRACT_SLICE, desk.take_until(TaskName.EXTRACT_SLICE))
    (slice_,) = desk.slices(run_id)
    assert slice_["state"] == "pending"
    assert f"the disk of the spool at {small_disk} is full" in slice_["held_reason"]
    assert "point WAREHOUSE_SYNC_SPOOL_URL at a larger disk" in slice_["held_reason"]
    assert list(desk.process.spool.slice_folders()) == []
    ballast.unlink()
    assert_settled_whole(desk, desk.finish(run_id).id)


def test_upkeep_forgets_who_was_signed_in_and_old_failures_however_often_it_comes(desk: Desk) -> None:
    with desk.database.transaction() as store:
        client = access.create_client(store, "nightly", Role.VIEWER)
        access.create_token(store, "anna", Role.VIEWER)
    sign_ins.sign_in(desk.database, client.id, client.secret, "203.0.113.7")
    with pytest.raises(SignInRefused):
        sign_ins.sign_in(desk.database, client.id, "wrong", "203.0.113.7")
    shift(desk, tokens.c.expires_at, timedelta(seconds=sign_ins.BEARER_S))
    shift(desk, failed_sign_ins.c.since, timedelta(seconds=sign_ins.WINDOW_S))
    for _ in range(2):
        desk.do(TaskName.UPKEEP, ())
        with desk.database.transaction() as store:
            assert store.scalars(sa.select(tokens.c.name)).all() == ["anna"]
            assert store.scalars(sa.select(failed_sign_ins.c.who)).all() == []


def with_a_reject() -> str:
    """A query one of whose rows lacks an identity."""
    return "SELECT nullif(customer_id, (SELECT min(customer_id) FROM people)) AS customer_id, firstname FROM people"


def damage(desk: Desk, run_id: object, snapshot: object) -> None:
    with desk.database.transaction() as store:
        store.execute(sa.update(runs).where(runs.c.id == run_id).values(snapshot=snapshot))


def later(desk: Desk, by: timedelta) -> None:
    """Let upkeep look when runs have ended so long ago."""
    shift(desk, runs.c.ended_at, by)
    desk.do(TaskName.UPKEEP, ())


def shift(desk: Desk, column: sa.Column[object], by: timedelta) -> None:
    """Have what a column tells have been so much earlier."""
    with desk.database.transaction() as store:
        store.execute(sa.update(column.table).values({column.name: column - by}))


@pytest.mark.parametrize(
    ("mode", "is_in_line"),
    [(Full(), False), (Incremental(iterator_field="changed_at", iterator_data_type=IteratorType.TIMESTAMP), True)],
)
def test_a_chunk_spends_its_lanes_share_of_the_quota(desk: Desk, mode: Full | Incremental, is_in_line: bool) -> None:
    run_id = desk.trigger(desk.pipeline(mode))
    assert_settled_whole(desk, desk.finish(run_id).id)
    assert desk.run(run_id).lane is (Lane.BACKFILL if is_in_line else Lane.LIVE)
    broker_url = desk.process.settings.broker_url
    assert broker_url
    with redis.Redis.from_url(broker_url.get_secret_value()) as client:
        assert client.hexists(KEY_PREFIX + "default", "line") is is_in_line
