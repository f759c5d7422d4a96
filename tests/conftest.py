"""Real servers for the tests that need them: one PostgreSQL and one Valkey a session, one database a test."""

import os
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest
import sqlalchemy as sa

from sandbox.services import Services, services_for
from shared.store.database import Database

_OWN = ("WAREHOUSE_SYNC_DATABASE_URL", "WAREHOUSE_SYNC_BROKER_URL")


@pytest.fixture(scope="session")
def services(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Services]:
    """A PostgreSQL and a Valkey of this session's own, whatever the environment names."""
    home: Path = tmp_path_factory.mktemp("services")
    environment = {name: value for name, value in os.environ.items() if name not in _OWN}
    with services_for(home, environment) as found:
        yield found


@pytest.fixture(scope="session")
def template(services: Services) -> str:
    """The name of a migrated, empty database that tests copy."""
    name = "template_of_tests"
    _create(services, name)
    database = Database(_url(services, name))
    database.migrate()
    database.close()
    return name


@pytest.fixture
def database(services: Services, template: str) -> Iterator[Database]:
    """A migrated, empty database of the test's own."""
    name = f"test_{uuid4().hex}"
    _create(services, name, template=template)
    database = Database(_url(services, name))
    yield database
    database.close()
    _administer(services, f'DROP DATABASE "{name}" WITH (FORCE)')


def _create(services: Services, name: str, *, template: str = "template0") -> None:
    _administer(services, f'CREATE DATABASE "{name}" TEMPLATE "{template}"')


def _administer(services: Services, statement: str) -> None:
    engine = sa.create_engine(services.database_url, isolation_level="AUTOCOMMIT", poolclass=sa.NullPool)
    with engine.connect() as connection:
        connection.execute(sa.text(statement))
    engine.dispose()


def _url(services: Services, name: str) -> str:
    return sa.make_url(services.database_url).set(database=name).render_as_string(hide_password=False)
