"""A stage for the store's tests."""

import pytest

from shared.store.database import Database
from tests.shared.store.stage import Stage


@pytest.fixture
def stage(database: Database) -> Stage:
    """An empty database, and everybody who works on it."""
    with database.transaction() as connection:
        name = connection.exec_driver_sql("SELECT current_database()").scalar_one()
        # Nobody pulls the plug on a test's database.
        connection.exec_driver_sql(f'ALTER DATABASE "{name}" SET synchronous_commit = off')
    database.close()  # The setting holds for new connections.
    return Stage(database)
