"""Access as verbs, and every verb's doer in the audit log and with the run."""

from collections.abc import Iterator
from datetime import timedelta

import pytest
import redis

from console.operations import Operations
from sandbox.services import Services
from shared.access import Identity, Role
from shared.catalog import Environment, Full, Pipeline
from shared.errors import DeclarationInvalid, SignInRefused
from shared.run import RunId
from shared.settings import Settings
from shared.store.database import Database
from tests.shared.store.stage import FEED, LAKE, T0, USERS, Stage

PEOPLE = Pipeline(
    id="people",
    name="People",
    connection_id="lake",
    data_model_id="users",
    feed_id="us1",
    environment=Environment.DEVELOPMENT,
    sync_mode=Full(),
)


@pytest.fixture
def operations(services: Services, database: Database) -> Iterator[Operations]:
    url = database.url.render_as_string(hide_password=False)
    opened = Operations(Settings.model_validate({"database_url": url, "broker_url": services.broker_url}))
    yield opened
    opened.close()
    with redis.Redis.from_url(services.broker_url) as client:
        client.flushdb()  # Nobody works on what these tests have asked for.


def test_who_is_given_access_is_known_until_it_is_taken_away(operations: Operations) -> None:
    token = operations.access.create_token("anna", Role.VIEWER, days=30)
    client = operations.access.create_client("nightly", Role.ADMIN)
    given = operations.access.sign_in(client.id, client.secret, "203.0.113.7")
    assert operations.access.identify(token.text) == Identity("anna", Role.VIEWER)
    assert operations.access.identify(given.token) == Identity("nightly", Role.ADMIN)
    assert operations.access.any_admin()
    assert ([row.name for row in operations.access.tokens()], [row.id for row in operations.access.clients()]) == (
        ["anna"],
        [client.id],
    )
    operations.access.revoke_token("anna")
    operations.access.revoke_client("nightly")
    assert operations.access.identify(token.text) is operations.access.identify(given.token) is None
    with pytest.raises(SignInRefused):
        operations.access.sign_in(client.id, client.secret, "203.0.113.7")


@pytest.mark.parametrize("days", [-1, 0, 3651, 10**12])
def test_a_token_lasts_some_days_or_until_it_is_revoked(operations: Operations, days: int) -> None:
    with pytest.raises(DeclarationInvalid, match="from 1 to 3650 days"):
        operations.access.create_token("anna", Role.VIEWER, days=days)
    assert operations.access.create_token("anna", Role.VIEWER).expires_at is None


def test_each_verbs_doer_is_noted_with_what_was_changed(operations: Operations) -> None:
    anna, bert = operations.acting_as("anna"), operations.acting_as("bert")
    for resource in (FEED, LAKE, USERS, PEOPLE):
        anna.declare(resource)
    bert.lives.activate("people")
    anna.lives.pause("people")
    bert.lives.resume("people")
    anna.access.create_token("carl", Role.VIEWER)
    bert.access.create_client("nightly", Role.VIEWER)
    anna.access.revoke_token("carl")
    bert.access.revoke_client("nightly")
    anna.lives.delete("people")
    operations.declare(FEED.model_copy(update={"name": "Another"}))
    entries = reversed(operations.access.audit())
    assert [(entry.actor, entry.action, entry.subject) for entry in entries] == [
        ("anna", "created", "us1"),
        ("anna", "created", "lake"),
        ("anna", "created", "users"),
        ("anna", "created", "people"),
        ("bert", "activated", "people"),
        ("anna", "paused", "people"),
        ("bert", "resumed", "people"),
        ("anna", "created", "carl"),
        ("bert", "created", "nightly"),
        ("anna", "revoked", "carl"),
        ("bert", "revoked", "nightly"),
        ("anna", "deleted", "people"),
        (None, "changed", "us1"),
    ]
    assert [entry.subject for entry in operations.access.audit(actor="bert", kind="client")] == ["nightly"] * 2


def test_who_moved_a_run_stands_with_it(operations: Operations) -> None:
    anna, bert = operations.acting_as("anna"), operations.acting_as("bert")
    for resource in (FEED, LAKE, USERS, PEOPLE):
        operations.declare(resource)
    operations.lives.begin("people")
    (run_id,) = anna.trigger("people")
    bert.lives.pause("people")
    anna.lives.resume("people")
    bert.cancel(run_id)
    anna.retry(run_id)
    bert.cancel(run_id)
    anna.abandon(run_id)
    assert done_to(operations, run_id) == [
        ("created", "anna"),
        ("paused", "bert"),
        ("resumed", "anna"),
        ("cancelled", "bert"),
        ("created", "anna"),
        ("cancelled", "bert"),
        ("abandoned", "anna"),
    ]
    number = operations.run(run_id).number
    assert operations.find_run(str(number)) == run_id
    assert operations.watching.chunks(run_id, limit=9) == []


def test_who_asked_for_history_once_more_stands_with_its_runs(operations: Operations, database: Database) -> None:
    Stage(database).past_history()
    anna, bert = operations.acting_as("anna"), operations.acting_as("bert")
    backfill = anna.history.begin("people", low=T0 - timedelta(days=1), high=T0)
    bert.history.pause(backfill.id)
    anna.history.resume(backfill.id)
    bert.history.cancel(backfill.id)
    run_id = operations.runs("people", limit=1)[0].id
    assert done_to(operations, run_id) == [
        ("created", "anna"),
        ("paused", "bert"),
        ("resumed", "anna"),
        ("cancelled", "bert"),
    ]


def done_to(operations: Operations, run_id: RunId) -> list[tuple[str, str | None]]:
    return [(event.name, event.actor) for event in operations.watching.events(run_id, limit=99)]
