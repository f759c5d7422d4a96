"""What operators and disks get wrong: each is named with what to do, and nothing is lost by it."""

import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from sandbox.ports import free_port
from sandbox.processes import wait_for
from shared import catalog
from shared.errors import DeclarationInvalid, MoveNotAllowed
from shared.ledger import Ledger
from shared.run import Run, RunState
from tests.system.deployment import LIMIT_S, Deployment
from tests.system.people import People, assert_arrived_once

FULL = catalog.Full()


def refused(people: People, kind: str, *words: str) -> Run:
    """Trigger a run, see it fail for a reason of this kind with these words, and give it."""
    failed = people.expect(people.trigger(), RunState.FAILED)
    assert failed.error_kind == kind
    assert failed.error is not None
    for word in words:
        assert word in failed.error
    assert failed.ledger == Ledger()
    return failed


def cured(people: People, failed: Run, rows: int) -> None:
    """Retry after the cause was mended: the same run settles, with everybody."""
    people.deployment.operations.retry(failed.id)
    assert people.expect(failed.id, RunState.SETTLED).ledger == Ledger(extracted=rows, accepted=rows)


def test_a_warehouse_file_that_is_not_there(people: People) -> None:
    people.declare(FULL)
    failed = refused(people, "WarehouseUnreachable", f"connection {people.id!r}", "no such database", str(people.file))
    people.add(10)
    cured(people, failed, rows=10)


def test_a_warehouse_file_that_is_none(people: People) -> None:
    people.declare(FULL)
    people.file.write_text("SQLite? No: a letter to a friend, and longer than any header.\n" * 100)
    failed = refused(people, "WarehouseUnreachable", f"connection {people.id!r}", "DuckDB cannot open the database")
    people.file.unlink()
    people.add(10)
    cured(people, failed, rows=10)


@pytest.mark.parametrize(
    ("query", "kind", "words"),
    [
        ("SELECT customer_id FROM", "ModelInvalid", ()),
        ("DELETE FROM people", "ModelInvalid", ("SELECT",)),
        ("SELECT customer_id, surname FROM people", "ModelInvalid", ('"surname" not found',)),
        ("SELECT customer_id FROM persons", "ModelInvalid", ("persons",)),
        ("SELECT CAST(email AS INTEGER) AS customer_id FROM people", "ModelInvalid", ("words are not shown",)),
        ("SELECT firstname FROM people", "MappingRefused", ("no column is an identity",)),
    ],
)
def test_a_query_that_the_warehouse_or_the_mapping_refuses(
    people: People, query: str, kind: str, words: tuple[str, ...]
) -> None:
    people.declare(FULL, query=query)
    people.add(10)
    failed = refused(people, kind, *words)
    if failed.snapshot is None:
        people.declare(FULL)
        cured(people, failed, rows=10)
    else:  # It was planned: its snapshot keeps the query, so that only a new run can read with another.
        with pytest.raises(MoveNotAllowed, match=f"abandon {failed.number}` first, then edit"):
            people.declare(FULL)
        people.deployment.operations.abandon(failed.id)
        people.declare(FULL)
        assert people.settle().ledger == Ledger(extracted=10, accepted=10)


def test_an_iterator_that_the_query_does_not_select(people: People) -> None:
    people.declare(query="SELECT customer_id, email, firstname FROM people")
    people.add(10)
    failed = refused(people, "ColumnMissing", "'changed_at'", "customer_id, email, firstname")
    people.declare()
    cured(people, failed, rows=10)


def test_an_iterator_of_another_type_than_declared(people: People) -> None:
    people.declare(
        catalog.Incremental(iterator_field="firstname", iterator_data_type=catalog.IteratorType.TIMESTAMP_TZ)
    )
    people.add(10)
    failed = refused(people, "IteratorInvalid", "'firstname'", "timestamp_tz", "string")
    people.declare()
    cured(people, failed, rows=10)


def test_a_pipeline_without_an_environment_is_refused_before_anything_runs(people: People) -> None:
    people.add(10)
    with pytest.raises(DeclarationInvalid, match=f"pipeline {people.id!r} declares no environment.*development or"):
        people.declare(FULL, environment=None)
    assert people.deployment.operations.runs(people.id) == []
    people.declare(FULL)
    assert people.settle().ledger == Ledger(extracted=10, accepted=10)


def test_a_feed_that_refuses_the_sign_in_stops_the_run_and_its_correction_sends_the_same_ids(people: People) -> None:
    wrong = people.deployment.secret.with_name("wrong")
    wrong.write_text("not-the-secret")
    feed = people.deployment.premises.feed().model_copy(update={"id": people.id[:40], "name": people.id})
    people.deployment.operations.declare(feed.model_copy(update={"api_secret": f"file:{wrong}"}))
    people.declare(FULL, feed_id=feed.id)
    people.add(250)
    before = people.deployment.counters()
    run_id = people.trigger()
    failed = people.expect(run_id, RunState.FAILED)
    assert failed.error_kind == "CredentialsRefused"
    assert failed.error is not None
    assert "(HTTP 403); check its api_key and the secret" in failed.error
    assert repr(feed.id) in failed.error
    assert "not-the-secret" not in failed.error
    assert failed.ledger == Ledger(extracted=250, unsent=250)
    people.deployment.until(lambda: not people.deployment.claims(run_id), "every chunk is given back")
    ids = [chunk["id"] for chunk in people.deployment.chunks(run_id)]
    assert people.deployment.operations.declare(feed)
    assert_arrived_once(people, run_id, rows=250, before=before)
    assert [chunk["id"] for chunk in people.deployment.chunks(run_id)] == ids


def test_a_secret_that_is_not_there_stops_the_run(people: People) -> None:
    feed = people.deployment.premises.feed().model_copy(update={"id": people.id, "name": people.id})
    people.deployment.operations.declare(feed.model_copy(update={"api_secret": f"{feed.api_secret}-elsewhere"}))
    people.declare(FULL, feed_id=feed.id)
    people.add(50)
    before = people.deployment.counters()
    run_id = people.trigger()
    failed = people.expect(run_id, RunState.FAILED)
    assert failed.error_kind == "SecretUnavailable"
    people.deployment.until(lambda: not people.deployment.claims(run_id), "every chunk is given back")
    people.deployment.operations.declare(feed)
    assert_arrived_once(people, run_id, rows=50, before=before)


def test_a_chunk_that_is_not_what_was_written_stops_the_run_and_goes_on_once_restored(people: People) -> None:
    people.declare(FULL)
    people.add(300)
    before = people.deployment.counters()
    with people.deployment.frozen("upload"):
        run_id = people.trigger()
        chunk = people.deployment.until(lambda: people.deployment.chunks(run_id), "chunks are published")[-1]
        file = people.deployment.home / "spool" / chunk["path"]
        written = file.read_bytes()
        file.write_bytes(written[:100] + bytes([written[100] ^ 1]) + written[101:])
    failed = people.expect(run_id, RunState.FAILED)
    assert failed.error_kind == "ChunkCorrupt"
    assert failed.error is not None
    assert chunk["path"] in failed.error
    assert "check the spool's disk" in failed.error
    people.deployment.until(lambda: not people.deployment.claims(run_id), "every chunk is given back")
    file.write_bytes(written)
    people.deployment.operations.retry(run_id)
    assert_arrived_once(people, run_id, rows=300, before=before)


def test_a_spool_that_disappears_is_waited_for(people: People) -> None:
    people.declare(FULL)
    people.add(200)
    spool = people.deployment.home / "spool"
    away = spool.rename(spool.with_name("spool-away"))
    spool.write_text("a file where the folder was")
    before = people.deployment.counters()
    run_id = people.trigger()
    held = people.deployment.until(
        lambda: [one for one in people.deployment.slices(run_id) if one["held_reason"]], "the slice is held"
    )
    assert f"the spool at {spool}" in held[0]["held_reason"]
    spool.unlink()
    away.rename(spool)
    assert_arrived_once(people, run_id, rows=200, before=before)


Environment = Callable[[Deployment], Mapping[str, str]]


def no_database(_: Deployment) -> Mapping[str, str]:
    return {"WAREHOUSE_SYNC_DATABASE_URL": f"postgresql://user:hidden-word@127.0.0.1:{free_port()}/nothing"}


def unwritable_spool(_: Deployment) -> Mapping[str, str]:
    return {"WAREHOUSE_SYNC_SPOOL_URL": "file:///proc/spool"}


def spool_that_is_a_file(deployment: Deployment) -> Mapping[str, str]:
    return {"WAREHOUSE_SYNC_SPOOL_URL": (deployment.home / "secrets" / "feed").as_uri()}


def another_spool(deployment: Deployment) -> Mapping[str, str]:
    return {"WAREHOUSE_SYNC_SPOOL_URL": (deployment.home / "another-spool").as_uri()}


def nonsense(_: Deployment) -> Mapping[str, str]:
    return {"WAREHOUSE_SYNC_CHUNK_MAX_ROWS": "plenty"}


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        (no_database, ("this worker cannot start", "the state database at 127.0.0.1", "check that PostgreSQL runs")),
        (unwritable_spool, ("this worker cannot start", "the spool at /proc/spool")),
        (spool_that_is_a_file, ("this worker cannot start", "the spool at ")),
        (another_spool, ("this worker cannot start", "is not the one that the other workers use")),
        (nonsense, ("WAREHOUSE_SYNC_CHUNK_MAX_ROWS", "plenty")),
    ],
)
def test_a_worker_that_cannot_work_says_why_and_ends(
    deployment: Deployment, wrong: Environment, words: tuple[str, ...]
) -> None:
    command = ("celery", "-A", "worker.app", "worker", "-n", "unfit@%h", "-Q", "control", "-P", "solo")
    ran = run_in(deployment, *command, **wrong(deployment))
    assert ran.returncode != 0
    for word in words:
        assert word in ran.stdout
    assert "hidden-word" not in ran.stdout


def test_the_command_says_that_the_database_is_down(deployment: Deployment) -> None:
    ran = run_in(deployment, "warehouse-sync", "runs", **no_database(deployment))
    assert ran.returncode == 3, "it may help to repeat it"
    assert "StoreUnavailable" in ran.stdout
    assert "check that PostgreSQL runs and WAREHOUSE_SYNC_DATABASE_URL is right" in ran.stdout
    assert "Traceback" not in ran.stdout
    assert "hidden-word" not in ran.stdout


def test_a_trigger_while_the_broker_is_down_says_so_and_its_run_begins_once_it_is_back(people: People) -> None:
    people.declare(FULL)
    people.add(150)
    before = people.deployment.counters()
    people.deployment.valkey.kill()
    ran = run_in(people.deployment, "warehouse-sync", "trigger", people.id)
    assert ran.returncode == 3, "it may help to repeat it"
    assert "BrokerUnavailable" in ran.stdout
    assert "check that Redis or Valkey runs and WAREHOUSE_SYNC_BROKER_URL is right" in ran.stdout
    assert "Traceback" not in ran.stdout
    (run,) = people.deployment.operations.runs(people.id)
    people.deployment.start_again(people.deployment.valkey)
    assert_arrived_once(people, run.id, rows=150, before=before)


def test_a_worker_that_starts_before_its_broker_works_once_that_is_there(people: People) -> None:
    people.deployment.valkey.kill()
    (old, *_) = people.deployment.until(lambda: people.deployment.supervisor.pids("extract"), "the worker runs")
    people.deployment.kill_family("extract")
    log = people.deployment.supervisor.log_path("extract")
    since = log.stat().st_size
    assert wait_for(lambda: "Cannot connect to redis" in log.read_text()[since:], LIMIT_S)
    assert people.deployment.supervisor.pids("extract")[0] != old
    people.deployment.start_again(people.deployment.valkey)
    people.declare(FULL)
    people.add(50)
    assert people.settle().ledger == Ledger(extracted=50, accepted=50)


def run_in(deployment: Deployment, program: str, *arguments: str, **wrong: str) -> subprocess.CompletedProcess[str]:
    """Run a program of this Python's as a process of the deployment; all that it writes is in ``stdout``."""
    return subprocess.run(
        [Path(sys.executable).with_name(program), *arguments],
        cwd=deployment.home,
        env={**deployment.premises.environment, "COLUMNS": "1000", **wrong},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=LIMIT_S,
        check=False,
    )
