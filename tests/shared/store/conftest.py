"""A stage for the store's tests: one database for all of them, emptied before each."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import sqlalchemy as sa

from sandbox.services import Services
from shared.store.database import Database
from tests.shared.store.stage import Stage


@contextmanager
def database_in_common(services: Services, template: str, name: str) -> Iterator[Database]:
    """Give a migrated database that tests share one after the other."""
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


@pytest.fixture(scope="session")
def common_database(services: Services, template: str) -> Iterator[Database]:
    """The one of the store's tests."""
    with database_in_common(services, template, "common_to_store_tests") as database:
        yield database


@pytest.fixture
def stage(common_database: Database) -> Stage:
    """An empty database, and everybody who works on it."""
    found = Stage(common_database)
    found.clear()
    return found
