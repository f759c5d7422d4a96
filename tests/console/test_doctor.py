"""What the doctor finds: each thing that is missing, with its cure, and nothing that needs what is missing."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import redis
import sqlalchemy as sa

from console.doctor import Finding, examine
from console.examining.finding import compared
from console.operations import Operations
from sandbox import ports
from sandbox.services import Services
from shared.broker_rights import SUFFICES
from shared.endpoints import spool_url
from shared.errors import NoWorker
from shared.messages import Queue
from shared.probe import Answer, Question
from shared.sealing import generate
from shared.settings import Settings
from shared.spool import Spool
from shared.store import beats, markers
from shared.store import declared as store_declared
from shared.store.database import Database
from shared.store.life_tables import beats as rows_of_beats
from tests.shared.store.stage import FEED
from tests.shared.test_connections import declared

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


@pytest.fixture
def configured(services: Services, database: Database, tmp_path: Path) -> dict[str, Any]:
    return {
        "database_url": database.url.render_as_string(hide_password=False),
        "broker_url": services.broker_url,
        "spool_url": (tmp_path / "spool").as_uri(),
        "home": tmp_path,
    }


@contextmanager
def opened(configured: dict[str, Any], serving: dict[str, frozenset[str]] | None = None) -> Iterator[Operations]:
    """Open the verbs; the workers are those given, because asking real ones takes a while."""
    operations = Operations(Settings.model_validate(configured))
    operations.workers = lambda: serving or {}  # type: ignore[method-assign]
    yield operations
    operations.close()


@pytest.fixture
def operations(configured: dict[str, Any]) -> Iterator[Operations]:
    with opened(configured) as verbs:
        yield verbs


def found(operations: Operations, subject: str) -> Finding:
    (only,) = (finding for finding in examine(operations) if finding.subject == subject)
    return only


def last_finding(operations: Operations, connection_id: str | None) -> Finding:
    *_, last = examine(operations, connection_id)
    return last


@contextmanager
def user(services: Services, *rules: str) -> Iterator[str]:
    """Give the broker's URL for a user with these rules."""
    with redis.Redis.from_url(services.broker_url) as client:
        client.execute_command("ACL", "SETUSER", "narrow", "reset", "on", ">pass", *rules)
        where = client.connection_pool.connection_kwargs
        yield f"redis://narrow:pass@{where['host']}:{where['port']}/{where.get('db', 0)}"
        client.execute_command("ACL", "DELUSER", "narrow")


@pytest.mark.parametrize("connection_id", [None, "lakehuose"])
def test_where_no_connection_is_declared_that_is_said(operations: Operations, connection_id: str | None) -> None:
    found = last_finding(operations, connection_id)
    assert (found.subject, found.found) == ("connections", "none is declared")


def test_a_connection_that_is_not_declared_is_named_beside_those_that_are(operations: Operations) -> None:
    resource = declared("bigquery")
    operations.declare(resource)
    found = last_finding(operations, "mistyped")
    assert not found.is_well
    assert found.subject == "connection mistyped"
    assert found.found == "there is no such connection"
    assert f"declared: {resource.id}" in (found.cure or "")


def test_what_answers_is_well_and_tells_the_time(operations: Operations) -> None:
    for subject in ("state database", "state database's clock", "broker", "broker's clock"):
        assert found(operations, subject).is_well, subject


def test_a_broker_that_is_down_is_the_last_finding(configured: dict[str, Any]) -> None:
    port = ports.free_port()
    with opened(configured | {"broker_url": f"redis://:s3cret@127.0.0.1:{port}/0"}) as operations:
        last = last_finding(operations, None)
    assert (last.subject, last.found) == ("broker", "BrokerUnavailable")
    assert f"127.0.0.1:{port}" in (last.cure or "")
    assert "s3cret" not in (last.cure or "")


def test_a_state_database_that_is_down_or_old_is_said_with_the_broker(
    configured: dict[str, Any], database: Database
) -> None:
    port = ports.free_port()
    with opened(configured | {"database_url": f"postgresql://nobody@127.0.0.1:{port}/none"}) as operations:
        findings = {finding.subject: finding for finding in examine(operations)}
    assert findings["state database"].found == "StoreUnavailable"
    assert findings["broker"].is_well
    assert "workers" not in findings
    with database.transaction() as connection:
        connection.execute(sa.text("UPDATE alembic_version SET version_num = '0001'"))
    with opened(configured) as operations:
        assert "warehouse-sync migrate" in (found(operations, "state database").cure or "")


@pytest.mark.parametrize(
    ("rules", "commands", "rule"),
    [
        (("~*", "&*", "+@all", "-brpop", "-evalsha"), ("BRPOP", "EVALSHA"), "+@blocking +evalsha"),
        (("~*", "&*", "+@all", "-@pubsub"), ("PUBLISH", "SUBSCRIBE", "PSUBSCRIBE"), "+@pubsub"),
        (("~*", "&*", "+@all", "-@sortedset", "-time"), ("TIME", "ZADD", "EVAL"), "+time"),
        (("~*", "+@all", "resetchannels"), ("PUBLISH", "SUBSCRIBE"), "&*"),
        (("~other:*", "&*", "+@all"), ("SET", "LPUSH"), "~*"),
        (("~*", "&*"), ("PING", "INFO"), "+@connection"),
    ],
)
def test_a_broker_whose_user_may_too_little_says_what_and_the_rule_that_allows_it(
    services: Services, configured: dict[str, Any], rules: Sequence[str], commands: Sequence[str], rule: str
) -> None:
    with user(services, *rules) as url, opened(configured | {"broker_url": url}) as operations:
        last = last_finding(operations, None)
        lacking = found(operations, "broker")
    assert last.subject in {"broker", "broker's clock"}
    for command in commands:
        assert command in lacking.found
    assert rule in (lacking.cure or "")
    assert SUFFICES in (lacking.cure or "")


def test_the_rules_that_are_said_to_suffice_do(services: Services, configured: dict[str, Any]) -> None:
    with user(services, *SUFFICES.split()) as url:
        operations = Operations(Settings.model_validate(configured | {"broker_url": url}))
        findings = {finding.subject: finding for finding in examine(operations)}
        operations.close()
    assert findings["broker"].is_well, findings["broker"]
    assert findings["workers"].found.startswith("0 answer"), "asked for in earnest, and none is there"


def test_a_broker_that_refuses_the_password_says_so_without_it(services: Services, configured: dict[str, Any]) -> None:
    with user(services, "~*", "+@all") as url:
        wrong = url.replace(":pass@", ":wr0ng@")
        with opened(configured | {"broker_url": wrong}) as operations:
            refused = found(operations, "broker")
    assert "password" in (refused.cure or "")
    assert "wr0ng" not in str(refused)


def test_trying_the_broker_leaves_no_key_behind_for_long(services: Services, operations: Operations) -> None:
    operations.dependencies.try_broker()
    with redis.Redis.from_url(services.broker_url) as client:
        left = list(client.scan_iter("warehouse_sync:doctor:*"))
        assert all(0 < client.ttl(key) <= 60 for key in left)


@pytest.mark.parametrize(("told", "well"), [(0, True), (7, True), (8, False), (-5, True), (-6, False)])
def test_a_clock_may_be_off_by_seconds_and_by_no_more(told: int, *, well: bool) -> None:
    later = NOON + timedelta(seconds=2)
    clock = compared("a clock", NOON + timedelta(seconds=told), earliest=NOON, latest=later, cure="set it")
    assert clock.is_well is well
    assert well or "6 s " in clock.found


def test_without_a_beat_that_ticks_the_cure_is_how_to_start_one(operations: Operations, database: Database) -> None:
    never = found(operations, "beat")
    assert "none has ticked" in never.found
    assert "celery -A beat.app beat" in (never.cure or "")
    with database.transaction() as connection:
        beats.tick(connection, "here:1", is_first=True)
        connection.execute(sa.update(rows_of_beats).values(ticked_at=sa.func.now() - timedelta(seconds=61)))
    assert "here:1 did last, 61 s ago" in found(operations, "beat").found
    with database.transaction() as connection:
        beats.tick(connection, "there:2", is_first=True)
    assert found(operations, "beat").found == "1 tick: there:2"


def test_a_spool_is_tried_where_it_is_the_workers(
    operations: Operations, database: Database, configured: dict[str, Any]
) -> None:
    assert "not seen from here" in found(operations, "spool, from here").found
    spool = Spool.open(spool_url(Settings.model_validate(configured)))
    with database.transaction() as connection:
        markers.replace(connection, "spool", "of-others")
    spool.marker()
    assert "spool adopt" in (found(operations, "spool, from here").cure or "")
    with database.transaction() as connection:
        markers.replace(connection, "spool", spool.marker())
    assert found(operations, "spool, from here").is_well


def test_a_spool_that_cannot_be_written_is_said(operations: Operations, database: Database, tmp_path: Path) -> None:
    spool = Spool.open((tmp_path / "spool").as_uri())
    with database.transaction() as connection:
        markers.replace(connection, "spool", spool.marker())
    # Where a folder has to be made is a file: that stops root, too, whom no mode does.
    (tmp_path / "spool" / "trials").write_text("in the way")
    stuck = found(operations, "spool, from here")
    assert stuck.found in {"SpoolUnavailable", "SpoolUnwritable"}
    assert "trials" in (stuck.cure or "")


def test_where_nobody_answers_probes_none_is_asked_and_the_cause_is_said_once(configured: dict[str, Any]) -> None:
    served = frozenset(queue.value for queue in Queue if queue is not Queue.PROBE)

    def ask(question: Question) -> Answer:
        raise AssertionError(f"nobody is to be asked {question.kind}")

    with opened(configured, {"one": served}) as operations:
        operations.declare(declared("bigquery"))
        operations.ask = ask  # type: ignore[method-assign]
        bad = [finding.subject for finding in examine(operations) if not finding.is_well]
    assert bad == ["workers", "beat"]


def test_after_a_question_that_nobody_took_no_further_is_asked(configured: dict[str, Any]) -> None:
    with opened(configured, {"one": frozenset(queue.value for queue in Queue)}) as operations:
        operations.declare(declared("bigquery"))
        asked: list[Question] = []

        def ask(question: Question) -> Answer:
            asked.append(question)
            raise NoWorker("none came")

        operations.ask = ask  # type: ignore[method-assign]
        bad = {finding.subject: finding.cure for finding in examine(operations) if not finding.is_well}
    assert bad["spool, from a worker"] == "none came"
    assert len(asked) == 1


def test_sealed_secrets_need_the_current_key_and_say_which_need_another(
    configured: dict[str, Any], database: Database
) -> None:
    old, new = generate(), generate()
    with opened(configured | {"public_key": old.public.text}) as operations:
        assert found(operations, "secrets").found == "0 are references, 0 are sealed to the current key"
        sealed = operations.secrets.seal_all(FEED, {"api_secret": "hunter2"})
        with database.transaction() as connection:
            store_declared.put(connection, sealed)
        assert found(operations, "secrets").found == "0 are references, 1 are sealed to the current key"
    with opened(configured | {"public_key": new.public.text}) as operations:
        outdated = found(operations, "secrets")
    assert old.public.id in outdated.found
    assert "secrets rotate" in (outdated.cure or "")
    with opened(configured) as operations:
        keyless = found(operations, "secrets")
    assert "no public key" in keyless.found
    assert "WAREHOUSE_SYNC_PUBLIC_KEY" in (keyless.cure or "")
