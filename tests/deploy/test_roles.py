"""Three roles of the state database: who may change tables, who rows, who only looks."""

from collections.abc import Iterator

import psycopg
import pytest
import sqlalchemy as sa

from shared.store import recovering
from shared.store.access_tables import audit
from shared.store.database import Database
from shared.store.ground import metadata
from shared.store.rights import CONFIDENTIAL, FORBIDDEN
from tests.deploy.servers import PASSWORDS, ListedValkey, RolesPostgres, refused

Servers = tuple[RolesPostgres, ListedValkey]


@pytest.fixture(scope="module")
def postgres(servers: Servers) -> RolesPostgres:
    found, _ = servers
    database = Database(found.as_role("owner"), pool_size=1)
    database.migrate()
    database.close()
    return found


@pytest.fixture(params=["app", "reader"])
def limited(postgres: RolesPostgres, request: pytest.FixtureRequest) -> Iterator[psycopg.Connection]:
    """Somebody who may not change tables; what else they try is rolled back."""
    with psycopg.connect(postgres.as_role(request.param)) as connection:
        yield connection
        connection.rollback()


@pytest.fixture
def app(postgres: RolesPostgres) -> Iterator[psycopg.Connection]:
    with psycopg.connect(postgres.as_role("app")) as connection:
        yield connection
        connection.rollback()


def test_a_restored_backup_is_recovered_without_the_owner(postgres: RolesPostgres) -> None:
    database = Database(postgres.as_role("app"), pool_size=1)
    with database.transaction() as connection:
        assert recovering.hold_open(connection, lambda _: "restored") == []
        last = recovering.skip_numbers(connection, since=None)
        assert last >= 1000
        assert recovering.skip_numbers(connection, since=None) == last
    database.close()


@pytest.mark.parametrize(
    "statement",
    [
        "CREATE TABLE theirs (id integer)",
        "CREATE TEMPORARY TABLE theirs (id integer)",
        "CREATE FUNCTION theirs() RETURNS integer LANGUAGE sql AS 'SELECT 1'",
        "ALTER TABLE runs ADD COLUMN theirs integer",
        "ALTER TABLE audit DISABLE TRIGGER ALL",
        "DROP TABLE chunks",
        "TRUNCATE runs CASCADE",
        "CREATE INDEX theirs ON runs (id)",
        "CREATE SCHEMA theirs",
        "UPDATE alembic_version SET version_num = 'theirs'",
    ],
)
def test_only_the_owner_changes_tables(limited: psycopg.Connection, statement: str) -> None:
    limited.read_only = False  # The reader's default, which any session may change: its rights are the limit.
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        limited.execute(statement)


@pytest.mark.parametrize("table", sorted(metadata.tables.keys() - FORBIDDEN.keys()))
def test_the_app_reads_and_writes_the_rows_of_every_table(app: psycopg.Connection, table: str) -> None:
    for right in ("SELECT", "INSERT", "UPDATE", "DELETE"):
        may = app.execute("SELECT has_table_privilege(%s, %s)", (table, right)).fetchone()
        assert may == (True,), right


def test_the_app_finds_the_schema_current_and_writes_where_numbers_are_drawn(postgres: RolesPostgres) -> None:
    database = Database(postgres.as_role("app"), pool_size=1)
    database.require_current_schema()
    with database.transaction() as connection:
        noted = sa.insert(audit).values(action="tried", kind="test", subject="it", fields=[]).returning(audit.c.id)
        assert connection.execute(noted).scalar_one() > 0
    database.close()


@pytest.mark.parametrize("statement", ["UPDATE audit SET actor = 'somebody else'", "DELETE FROM audit"])
def test_the_app_can_not_rewrite_the_audit_log(app: psycopg.Connection, statement: str) -> None:
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        app.execute(statement)


def test_the_reader_reads_everything_but_what_is_confidential(postgres: RolesPostgres) -> None:
    with psycopg.connect(postgres.as_role("reader")) as connection:
        refused_to_it = set()
        for table in metadata.tables:
            may = connection.execute("SELECT has_table_privilege(%s, 'SELECT')", (table,)).fetchone()
            refused_to_it |= set() if may == (True,) else {table}
        assert refused_to_it == CONFIDENTIAL
        with pytest.raises(psycopg.errors.ReadOnlySqlTransaction):
            connection.execute("DELETE FROM runs")


def test_the_reader_writes_nothing_even_in_a_transaction_that_may(postgres: RolesPostgres) -> None:
    with psycopg.connect(postgres.as_role("reader")) as connection:
        connection.read_only = False
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute("DELETE FROM runs")


def test_nobody_else_gets_into_the_database(postgres: RolesPostgres) -> None:
    with psycopg.connect(postgres.as_role("postgres", "postgres"), autocommit=True) as connection:
        connection.execute("DROP ROLE IF EXISTS stranger")
        connection.execute("CREATE ROLE stranger LOGIN PASSWORD 'stranger'")
    url = postgres.as_role("app").replace(
        f"warehouse_sync_app:{PASSWORDS['DATABASE_APP_PASSWORD']}", "stranger:stranger"
    )
    with pytest.raises(psycopg.OperationalError, match="permission denied for database"):
        psycopg.connect(url)


def test_the_roles_can_be_made_again_and_a_migration_withholds_again(postgres: RolesPostgres) -> None:
    """Making them again grants everything, so the next migration has to take it back."""
    made = postgres.make_roles()
    assert (made.returncode, made.stderr) == (0, "")
    database = Database(postgres.as_role("owner"), pool_size=1)
    database.migrate()
    database.close()
    with psycopg.connect(postgres.as_role("app")) as connection:
        may = connection.execute("SELECT has_table_privilege('audit', 'DELETE')").fetchone()
        assert may == (False,)


@pytest.mark.parametrize("name", ["DATABASE_OWNER_PASSWORD", "DATABASE_APP_PASSWORD", "DATABASE_READER_PASSWORD"])
def test_no_role_is_made_without_a_password(postgres: RolesPostgres, name: str) -> None:
    made = postgres.make_roles(PASSWORDS | {name: ""})
    assert made.returncode != 0
    assert "set DATABASE_OWNER_PASSWORD" in made.stderr


def test_the_broker_takes_its_one_user_and_nobody_else(servers: Servers) -> None:
    _, valkey = servers
    assert not refused(valkey, "warehouse_sync", PASSWORDS["BROKER_PASSWORD"])
    assert refused(valkey, None, None)
    assert refused(valkey, "default", PASSWORDS["BROKER_PASSWORD"])
    assert refused(valkey, "warehouse_sync", "guessed")
