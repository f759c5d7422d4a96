"""Migrations expand first and contract a release later: what runs on the old schema goes on running on the new one."""

import time
from concurrent.futures import ThreadPoolExecutor
from typing import Final

import pytest
import sqlalchemy as sa
from alembic import command

from shared.errors import ServiceUnavailable
from shared.store import database as store
from shared.store.database import Database
from shared.store.revisions import alembic_config

LIMIT_S: Final = 60
RELEASED: Final = "0005"
"""Where the schema of the release before this one ends; set anew with each release."""
CONTRACTED: Final[frozenset[str]] = frozenset()
"""What this release takes away because the release before no longer uses it: ``table.column`` or ``table``."""

_COLUMNS: Final = sa.text(
    "SELECT table_name || '.' || column_name AS place, data_type, is_nullable = 'YES' AS is_nullable,"
    " column_default IS NOT NULL OR is_identity = 'YES' AS has_default, table_name"
    " FROM information_schema.columns WHERE table_schema = 'public' AND table_name <> 'alembic_version'"
)


def test_a_process_of_the_release_before_finds_and_may_write_what_it_knows(empty: Database) -> None:
    bring_to(empty, RELEASED)
    before = columns(empty)
    bring_to(empty, "head")
    after = columns(empty)
    gone = {place for place in before if place not in after and not {place, place.partition(".")[0]} & CONTRACTED}
    assert not gone
    assert {place: after[place].data_type for place in before if place in after} == {
        place: row.data_type for place, row in before.items() if place in after
    }
    stricter = {place for place, row in before.items() if place in after and row.is_nullable > after[place].is_nullable}
    assert not stricter
    tables = {row.table_name for row in before.values()}
    demanded = {
        place
        for place, row in after.items()
        if place not in before and row.table_name in tables and not (row.is_nullable or row.has_default)
    }
    assert not demanded, "whoever does not know the column inserts rows without it"


def test_a_migration_beside_a_worker_waits_in_no_circle_with_it(empty: Database) -> None:
    """A worker writes slices and then chunks; a migration that changed them in another order would be given up."""
    bring_to(empty, RELEASED)
    with ThreadPoolExecutor(1) as pool:
        with empty.transaction() as connection:
            connection.execute(sa.text("LOCK TABLE slices IN ROW EXCLUSIVE MODE"))
            migrating = pool.submit(empty.migrate)
            wait_until(
                empty, "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query ~ '^LOCK'"
            )
            connection.execute(sa.text("LOCK TABLE chunks, runs IN ROW EXCLUSIVE MODE"))
        migrating.result(timeout=LIMIT_S)
    empty.require_current_schema()


def test_a_table_that_somebody_keeps_for_good_is_told_and_nothing_is_changed(
    empty: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store, "_LOCK_WAITS_S", (1,))
    bring_to(empty, RELEASED)
    with empty.transaction() as connection:
        connection.execute(sa.text("LOCK TABLE runs IN ACCESS SHARE MODE"))
        with pytest.raises(ServiceUnavailable, match="pg_stat_activity"):
            empty.migrate()
    with pytest.raises(ServiceUnavailable, match=RELEASED):
        empty.require_current_schema()


def wait_until(database: Database, query: str) -> None:
    deadline = time.monotonic() + LIMIT_S
    while time.monotonic() < deadline:
        with database.transaction() as connection:
            if connection.scalar(sa.text(query)):
                return
    raise AssertionError(query)


def bring_to(database: Database, revision: str) -> None:
    with database.transaction() as connection:
        config = alembic_config()
        config.attributes["connection"] = connection
        command.upgrade(config, revision)


def columns(database: Database) -> dict[str, sa.Row[tuple[object, ...]]]:
    with database.transaction() as connection:
        return {row.place: row for row in connection.execute(_COLUMNS)}
