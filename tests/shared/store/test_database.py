import re
import socket
import time
from collections.abc import Callable, Iterator

import pytest
import sqlalchemy as sa

from sandbox.services import Services
from shared.errors import ServiceUnavailable, StoreUnavailable
from shared.store.database import Database, after_commit
from tests.shared.store.stage import Stage

SECRET = "s3cr3t"


@pytest.fixture
def nobody() -> Iterator[int]:
    """A port that nobody listens on."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield taken.getsockname()[1]


def test_a_postgresql_that_is_down_is_named_with_what_to_do_and_without_its_password(nobody: int) -> None:
    database = Database(f"postgresql://warehouse_sync:{SECRET}@127.0.0.1:{nobody}/warehouse_sync")
    began = time.monotonic()
    with pytest.raises(StoreUnavailable) as caught, database.transaction():
        pass
    assert time.monotonic() - began < 5
    message = str(caught.value)
    assert f"127.0.0.1:{nobody}" in message
    assert "check that PostgreSQL runs" in message
    assert "WAREHOUSE_SYNC_DATABASE_URL" in message
    assert SECRET not in repr(caught.value)
    assert SECRET not in repr(caught.value.__cause__)


def test_migrating_and_checking_say_so_too(nobody: int) -> None:
    database = Database(f"postgresql://warehouse_sync:{SECRET}@127.0.0.1:{nobody}/warehouse_sync")
    with pytest.raises(StoreUnavailable, match=str(nobody)):
        database.require_current_schema()
    with pytest.raises(StoreUnavailable, match=str(nobody)):
        database.migrate()


def test_a_wrong_password_is_refused_without_being_repeated(services: Services) -> None:
    url = sa.make_url(services.database_url).set(password=SECRET).render_as_string(hide_password=False)
    database = Database(url)
    with pytest.raises(StoreUnavailable, match="password authentication failed") as caught, database.transaction():
        pass
    assert SECRET not in repr(caught.value)


@pytest.mark.parametrize(
    "url",
    [
        f"warehouse_sync:{SECRET}",
        f"postgresql://warehouse_sync:{SECRET}@host:port/name",
        f"postgresql://warehouse_sync:one@{SECRET}@host/name",
        "",
    ],
)
def test_what_is_no_url_is_refused_without_being_repeated(url: str) -> None:
    with pytest.raises(ServiceUnavailable, match="WAREHOUSE_SYNC_DATABASE_URL") as caught:
        Database(url)
    assert SECRET not in repr(caught.value)
    assert SECRET not in repr(caught.value.__cause__)


def test_a_socket_is_named_by_its_folder() -> None:
    database = Database("postgresql:///warehouse_sync?host=/nowhere")
    with pytest.raises(StoreUnavailable, match=re.escape("/nowhere:5432")), database.transaction():
        pass


def test_a_connection_that_breaks_off_is_a_transient_failure_and_the_next_one_works(stage: Stage) -> None:
    with pytest.raises(StoreUnavailable), stage.database.transaction() as connection:
        connection.exec_driver_sql("SELECT pg_terminate_backend(pg_backend_pid())")
    assert stage.rows("SELECT 1")


def test_a_process_whose_connections_are_all_taken_waits_and_then_says_so(stage: Stage) -> None:
    database = Database(stage.database.url.render_as_string(hide_password=False), pool_size=1)
    vars(database._engine.pool)["_timeout"] = 0.05
    try:
        with database.transaction(), database.transaction():  # noqa: SIM117 - the third is the one that fails
            with pytest.raises(StoreUnavailable, match="no connection of this process"), database.transaction():
                pass
    finally:
        database.close()


def test_a_block_that_raises_writes_nothing(stage: Stage) -> None:
    class Stop(Exception):
        pass

    def write_and_raise() -> None:
        with stage.database.transaction() as connection:
            connection.exec_driver_sql("INSERT INTO markers (name, value) VALUES ('a', 'b')")
            raise Stop

    with pytest.raises(Stop):
        write_and_raise()
    assert not stage.rows("SELECT * FROM markers")


def test_what_is_to_be_done_after_the_commit_is_done_then_and_never_after_a_rollback(stage: Stage) -> None:
    done: list[str] = []

    def fail() -> None:
        raise ZeroDivisionError

    def write(value: str, *, then: Callable[[], None]) -> None:
        with stage.database.transaction() as connection:
            connection.exec_driver_sql(f"INSERT INTO markers (name, value) VALUES ('a', '{value}')")
            after_commit(connection, lambda: done.extend(row.value for row in stage.rows("SELECT value FROM markers")))
            then()

    with pytest.raises(ZeroDivisionError):
        write("rolled back", then=fail)
    with stage.database.transaction() as connection:
        connection.exec_driver_sql("SELECT 1")
    assert not done, "the next transaction over the same connection does nothing of it"
    write("committed", then=lambda: None)
    assert done == ["committed"]


def test_every_transaction_reads_what_is_committed_in_utc_and_plans_for_its_own_parameters(stage: Stage) -> None:
    settings = {
        name: stage.rows("SELECT current_setting(:name) AS value", name=name)[0].value
        for name in ("transaction_isolation", "TimeZone", "plan_cache_mode", "statement_timeout")
    }
    assert settings == {
        "transaction_isolation": "read committed",
        "TimeZone": "UTC",
        "plan_cache_mode": "force_custom_plan",
        "statement_timeout": "1min",
    }
