"""A stage for the store's tests: one database for all of them, emptied before each."""

from collections.abc import Iterator

import pytest
import sqlalchemy as sa

from sandbox.services import Services
from shared.store.database import Database
from tests.shared.store.stage import Stage


@pytest.fixture(scope="session")
def common_database(services: Services, template: str) -> Iterator[Database]:
    """A migrated database that tests share one after the other."""
    name = "common_to_store_tests"
    engine = sa.create_engine(services.database_url, isolation_level="AUTOCOMMIT", poolclass=sa.NullPool)
    with engine.connect() as connection:
        connection.exec_driver_sql(f"CREATE DATABASE {name} TEMPLATE {template}")
        # Nobody pulls the plug on a test's database.
        connection.exec_driver_sql(f"ALTER DATABASE {name} SET synchronous_commit = off")
    engine.dispose()
    url = sa.make_url(services.database_url).set(database=name).render_as_string(hide_password=False)
    database = Database(url, pool_size=10)
    yield database
    database.close()


@pytest.fixture
def stage(common_database: Database) -> Stage:
    """An empty database, and everybody who works on it."""
    found = Stage(common_database)
    found.clear()
    return found
