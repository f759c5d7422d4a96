"""The migrations lead to the schema that the code was written for, and to nothing else."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
import sqlalchemy as sa
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory

from shared.errors import ServiceUnavailable
from shared.store.database import Database
from shared.store.ground import metadata
from shared.store.revisions import alembic_config


def described(database: Database) -> dict[str, set[tuple[str, ...]]]:
    """Give everything that PostgreSQL itself knows of our tables, as it words it."""
    queries = {
        "columns": "SELECT table_name, column_name, data_type, is_nullable, coalesce(column_default, '')"
        " FROM information_schema.columns WHERE table_schema = 'public'",
        "constraints": "SELECT conrelid::regclass::text, conname, pg_get_constraintdef(oid) FROM pg_constraint"
        " WHERE connamespace = 'public'::regnamespace AND contype <> 't'",  # Triggers that wait are of migrations only.
        "indexes": "SELECT tablename, indexname, indexdef FROM pg_indexes WHERE schemaname = 'public'",
        "comments": "SELECT objoid::regclass::text, objsubid::text, description FROM pg_description"
        " WHERE classoid = 'pg_class'::regclass AND objoid IN"
        " (SELECT oid FROM pg_class WHERE relnamespace = 'public'::regnamespace)",
    }
    with database.transaction() as connection:
        return {
            what: {tuple(map(str, row)) for row in connection.exec_driver_sql(query) if "alembic" not in row[0]}
            for what, query in queries.items()
        }


def test_alembic_finds_nothing_to_migrate_after_the_last_migration(database: Database) -> None:
    with database.transaction() as connection:
        context = MigrationContext.configure(connection, opts={"compare_server_default": True})
        assert compare_metadata(context, metadata) == []


def test_migrated_checks_indexes_defaults_and_comments_are_those_of_the_tables(
    database: Database, empty: Database
) -> None:
    with empty.transaction() as connection:
        metadata.create_all(connection)
    expected, found = described(empty), described(database)
    assert len(expected["constraints"]) > 30
    for what in expected:
        assert found[what] == expected[what]


def test_migrating_twice_changes_nothing(database: Database) -> None:
    before = described(database)
    database.migrate()
    assert described(database) == before


def test_several_processes_may_migrate_at_once(empty: Database) -> None:
    at_once = 4
    ready = threading.Barrier(at_once)

    def migrate() -> None:
        ready.wait()
        empty.migrate()

    with ThreadPoolExecutor(at_once) as pool:
        for migration in [pool.submit(migrate) for _ in range(at_once)]:
            migration.result()
    empty.require_current_schema()


def test_a_migration_is_not_bound_by_the_limit_of_a_statement(empty: Database) -> None:
    limits: list[str] = []

    def remember(connection: sa.Connection) -> None:
        limits.append(connection.exec_driver_sql("SHOW statement_timeout").scalar_one())

    sa.event.listen(empty._engine, "commit", remember)
    empty.migrate()
    assert limits[-1] == "0"


def test_a_database_without_a_schema_is_refused_with_what_to_run(empty: Database) -> None:
    with pytest.raises(ServiceUnavailable, match=r"at nothing, .* run `warehouse-sync migrate` first"):
        empty.require_current_schema()


def test_the_current_schema_is_taken(database: Database) -> None:
    database.require_current_schema()


def test_a_newer_schema_is_taken_because_it_expands_before_it_contracts(database: Database) -> None:
    with database.transaction() as connection:
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = 'of the next release'")
    database.require_current_schema()


def test_an_older_schema_is_refused(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    with database.transaction() as connection:
        (found,) = connection.exec_driver_sql("SELECT version_num FROM alembic_version").scalars()
    monkeypatch.setattr(ScriptDirectory, "get_current_head", lambda _: "a later one")
    assert found in {revision.revision for revision in ScriptDirectory.from_config(alembic_config()).walk_revisions()}
    with pytest.raises(ServiceUnavailable, match=f"is at {found}, this version needs a later one"):
        database.require_current_schema()


BEFORE_TOTALS = """
    INSERT INTO feeds (id, document) VALUES ('f', '{"name": "f"}');
    INSERT INTO connections (id, document) VALUES ('c', '{"name": "c"}');
    INSERT INTO data_models (id, document) VALUES ('m', '{"name": "m"}');
    INSERT INTO pipelines (id, document, connection_id, data_model_id, feed_id) VALUES ('p', '{}', 'c', 'm', 'f');
    INSERT INTO runs (id, pipeline_id, generation, kind, lane, mode, state, logical_at, extracted, accepted, rejected,
        snapshot) SELECT gen_random_uuid(), 'p', 1, 'manual', 'live', 'full', state, now(), 5, 3, 2, '{}'
        FROM unnest('{settled,settled,abandoned}'::text[]) AS state;
"""


def test_what_was_done_before_there_were_totals_is_counted_in_them(empty: Database) -> None:
    config = alembic_config()
    with empty.transaction() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "0005")
        connection.exec_driver_sql(BEFORE_TOTALS)
    empty.migrate()
    with empty.transaction() as connection:
        found = {row.name: row.value for row in connection.exec_driver_sql("SELECT name, value FROM totals")}
    assert found == {"extracted": 15, "accepted": 9, "rejected": 6, "ended_settled": 2, "ended_abandoned": 1}
