"""What many tests need: real servers, one of each a session and one database a test, and mParticle's own schema."""

import json
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import psycopg
import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, settings
from jsonschema import Draft7Validator

from console.terminal import screen
from sandbox.services import Services, services_for
from shared.store.database import Database
from tests.shared.store.stage import Stage
from tests.standins.starting import Standins, standins_in
from tests.together import scheduling

_SCHEMA_VARIABLE = "WAREHOUSE_SYNC_MPARTICLE_SCHEMA"
_SCHEMA = Path(__file__).parents[2] / "shared" / "reference" / "mparticle.inbound.eventsapi.schema.json"
_DROP_TRIES = 100
_DROP_PAUSE_S = 0.1
_OWN = ("WAREHOUSE_SYNC_DATABASE_URL", "WAREHOUSE_SYNC_BROKER_URL")

# How long one example takes says how busy the machine is, and nothing of what is tested.
settings.register_profile("any-machine", settings.default, deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("any-machine")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--warehouses",
        default="duckdb,continuable,redshift",
        help="which warehouses are tested against a running server; `make test-warehouses` runs the others",
    )
    parser.addoption(
        "--seeds",
        default=8,
        type=int,
        help="at how many moments processes are killed, messages lost and services stopped; 20 takes minutes more",
    )


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Leave out the tests of stand-ins that were not asked for: each has a folder under ``tests/warehouses``."""
    is_of_one = collection_path.parent == Path(__file__).parent / "warehouses" and collection_path.is_dir()
    return True if is_of_one and collection_path.name not in config.getoption("--warehouses").split(",") else None


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Hand the tests out to several processes, where they are asked for by ``--dist loadscope``."""
    return scheduling(config, log) if config.option.dist == "loadscope" else None


@pytest.fixture(autouse=True)
def _wide_screen(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever starts the tests may say that the terminal is narrow, as pytest-xdist does."""
    monkeypatch.setattr(screen, "width", 160)


@pytest.fixture(scope="session")
def standins(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Standins]:
    """The servers that vendors' clients talk to, each started when a test first asks for it."""
    with standins_in(tmp_path_factory.mktemp("standins")) as found:
        yield found


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
    _drop(services, name)


@pytest.fixture(scope="session")
def common_database(services: Services, template: str) -> Iterator[Database]:
    """A migrated database that tests share one after the other."""
    name = "common_to_many_tests"
    _create(services, name, template=template)
    # Nobody pulls the plug on a test's database.
    _administer(services, f'ALTER DATABASE "{name}" SET synchronous_commit = off')
    database = Database(_url(services, name), pool_size=10)
    yield database
    database.close()


@pytest.fixture
def stage(common_database: Database) -> Stage:
    """An empty database, and everybody who works on it."""
    found = Stage(common_database)
    found.clear()
    return found


@pytest.fixture(scope="session")
def batch_schema() -> Draft7Validator:
    """The schema mParticle publishes for checking batches before sending; it is not ours to copy."""
    path = Path(os.environ.get(_SCHEMA_VARIABLE, _SCHEMA))
    if not path.is_file():
        missing = (
            f"{path} is not there; download mparticle.inbound.eventsapi.schema.json from docs.mparticle.com/schema/ "
            f"and name its path in {_SCHEMA_VARIABLE}"
        )
        if os.environ.get("CI"):
            pytest.fail(missing)
        pytest.skip(missing)
    return Draft7Validator(json.loads(path.read_text()), format_checker=Draft7Validator.FORMAT_CHECKER)


def _create(services: Services, name: str, *, template: str = "template0") -> None:
    _administer(services, f'CREATE DATABASE "{name}" TEMPLATE "{template}"')


def _drop(services: Services, name: str) -> None:
    """Drop a database; while autovacuum looks at it nobody may, and only a superuser may end that."""
    for _ in range(_DROP_TRIES):
        try:
            _administer(services, f'DROP DATABASE "{name}" WITH (FORCE)')
        except sa.exc.ProgrammingError as error:
            if not isinstance(error.orig, psycopg.errors.InsufficientPrivilege):
                raise
            time.sleep(_DROP_PAUSE_S)
        else:
            return
    pytest.fail(f"database {name} was held by autovacuum for {_DROP_TRIES * _DROP_PAUSE_S:g} s")


def _administer(services: Services, statement: str) -> None:
    engine = sa.create_engine(services.database_url, isolation_level="AUTOCOMMIT", poolclass=sa.NullPool)
    with engine.connect() as connection:
        connection.execute(sa.text(statement))
    engine.dispose()


def _url(services: Services, name: str) -> str:
    return sa.make_url(services.database_url).set(database=name).render_as_string(hide_password=False)
