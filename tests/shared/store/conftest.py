"""What tests of the store need besides a migrated database."""

from collections.abc import Iterator
from uuid import uuid4

import pytest
import sqlalchemy as sa

from sandbox.services import Services
from shared.store.database import Database


@pytest.fixture
def empty(services: Services) -> Iterator[Database]:
    """A database without tables."""
    name = f"empty_{uuid4().hex}"
    engine = sa.create_engine(services.database_url, isolation_level="AUTOCOMMIT", poolclass=sa.NullPool)
    with engine.connect() as connection:
        connection.exec_driver_sql(f"CREATE DATABASE {name} TEMPLATE template0")
    database = Database(sa.make_url(services.database_url).set(database=name).render_as_string(hide_password=False))
    yield database
    database.close()
    with engine.connect() as connection:
        connection.exec_driver_sql(f"DROP DATABASE {name} WITH (FORCE)")
    engine.dispose()
