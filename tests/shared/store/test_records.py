"""Every declaration has a record, and the database itself notes who changed what."""

import pytest
import sqlalchemy as sa

from shared.catalog import Pipeline
from shared.errors import AlreadyDeclared, ChangedMeanwhile, NotFound
from shared.feed import Feed
from shared.limits import Beyond
from shared.run import Lane, RunKind, RunState
from shared.store import declared, lives, records, runs
from shared.store.access_tables import audit
from shared.store.life_tables import run_events
from tests.shared.store.stage import FEED, Stage


def noted(stage: Stage) -> list[tuple[str | None, str, str, str, list[str]]]:
    with stage.database.transaction() as connection:
        rows = connection.execute(sa.select(audit).order_by(audit.c.id)).all()
    return [(row.actor, row.action, row.kind, row.subject, row.fields) for row in rows]


def test_a_record_counts_changes_and_knows_who_made_them(stage: Stage) -> None:
    with stage.database.acting_as("anna").transaction() as connection:
        declared.put(connection, FEED)
    with stage.database.acting_as("bert").transaction() as connection:
        declared.put(connection, FEED)
        assert records.of(connection, Feed, "us1").modified_by is None, "the same again is no change"
        declared.put(connection, FEED.model_copy(update={"name": "Another"}))
        record = records.of(connection, Feed, "us1")
    assert (record.version, record.created_by, record.modified_by) == (2, "anna", "bert")
    assert record.modified_at is not None
    with stage.database.transaction() as connection, pytest.raises(NotFound, match="no feed 'eu1'"):
        records.of(connection, Feed, "eu1")


def test_what_somebody_else_changed_is_not_overwritten(stage: Stage) -> None:
    with stage.database.transaction() as connection:
        declared.put(connection, FEED)
        records.require_version(connection, Feed, "us1", 1)
        declared.put(connection, FEED.model_copy(update={"name": "Another"}))
        with pytest.raises(ChangedMeanwhile, match="you read version 1, and it is at version 2"):
            records.require_version(connection, Feed, "us1", 1)
        declared.delete(connection, Feed, "us1")
        with pytest.raises(ChangedMeanwhile, match="it is gone"):
            records.require_version(connection, Feed, "us1", 2)


def test_creating_the_same_twice_is_fine_and_another_under_its_id_is_refused(stage: Stage) -> None:
    with stage.database.transaction() as connection:
        records.require_new(connection, FEED, "us1")
        declared.put(connection, FEED)
        records.require_new(connection, FEED, "us1")
        with pytest.raises(AlreadyDeclared, match="feed 'us1' already"):
            records.require_new(connection, FEED.model_copy(update={"name": "Another"}), "us1")


def test_every_change_of_a_declaration_leaves_a_line_without_values(stage: Stage) -> None:
    stage.declare("people", is_active=False)
    theirs = stage.database.acting_as("anna")
    with theirs.transaction() as connection:
        pipeline = declared.get_pipeline(connection, "people").pipeline
        limits = pipeline.limits.model_copy(update={"user_attributes": Beyond.TRUNCATE})
        declared.put_pipeline(connection, pipeline.model_copy(update={"name": "Folks", "limits": limits}))
        lives.activate(connection, "people")
        lives.pause(connection, "people")
        lives.resume(connection, "people", window_chunks=1)
        lives.delete(connection, "people")
    assert noted(stage)[:4] == [
        (None, "created", kind, subject, [])
        for kind, subject in (("feed", "us1"), ("connection", "lake"), ("data model", "users"), ("pipeline", "people"))
    ]
    assert noted(stage)[4:] == [
        ("anna", "changed", "pipeline", "people", ["limits.user_attributes", "name"]),
        ("anna", "activated", "pipeline", "people", []),
        ("anna", "paused", "pipeline", "people", []),
        ("anna", "resumed", "pipeline", "people", []),
        ("anna", "deleted", "pipeline", "people", []),
    ]


def test_whatever_moves_a_run_leaves_its_line(stage: Stage) -> None:
    stage.declare("people")
    with stage.database.transaction() as connection:
        row = declared.get_pipeline(connection, "people")
        run = runs.create(connection, row, RunKind.MANUAL, Lane.LIVE)
    with stage.database.acting_as("anna").transaction() as connection:
        runs.pause(connection, sa.true())
        runs.stop(connection, run.id, RunState.CANCELLED, None)
    with stage.database.transaction() as connection:
        found = connection.execute(sa.select(run_events).order_by(run_events.c.id)).all()
        assert [record.version for record in records.of_all(connection, Pipeline).values()] == [1]
    assert [(event.name, event.actor) for event in found] == [
        ("created", None),
        ("paused", "anna"),
        ("cancelled", "anna"),
    ]
