"""The revisions of the schema: which one the database has, and how it comes to this version's.

All of Alembic is here, and :class:`shared.store.database.Database` imports it where something is migrated or checked:
few processes do either, and none often.
"""

from typing import Final

import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory

from shared.errors import ServiceUnavailable
from shared.store import locks, rights
from shared.store.locks import Lock

_MIGRATIONS: Final = "shared.store:migrations"
_TABLES: Final = sa.text(
    "SELECT quote_ident(relname) FROM pg_class"
    " WHERE relnamespace = current_schema()::regnamespace AND relkind = 'r' ORDER BY relname"
)


def upgrade(connection: sa.Connection, *, wait_s: int) -> None:
    """Bring the schema to this version's in one transaction, after every table was locked, within ``wait_s`` each."""
    # A migration may rewrite a large table, and another one wait for it.
    connection.execute(sa.text("SET LOCAL statement_timeout = 0"))
    locks.take(connection, Lock.MIGRATING)
    config = alembic_config()
    config.attributes["connection"] = connection
    behind = MigrationContext.configure(connection).get_current_revision()
    head = ScriptDirectory.from_config(config).get_current_head()
    if behind is not None and behind != head:
        tables = connection.scalars(_TABLES).all()
        connection.execute(sa.text(f"SET LOCAL lock_timeout = '{wait_s}s'"))
        connection.exec_driver_sql(f"LOCK TABLE {', '.join(tables)} IN ACCESS EXCLUSIVE MODE")
        connection.execute(sa.text("SET LOCAL lock_timeout = 0"))
    command.upgrade(config, "head")
    rights.withhold(connection)


def require_current(connection: sa.Connection) -> None:
    """Raise ``ServiceUnavailable`` unless the schema is the one this version was written for, or newer."""
    found = MigrationContext.configure(connection).get_current_revision()
    script = ScriptDirectory.from_config(alembic_config())
    known = {revision.revision for revision in script.walk_revisions()}
    if found is None or (found in known and found != script.get_current_head()):
        raise ServiceUnavailable(
            f"the database's schema is at {found or 'nothing'}, this version needs {script.get_current_head()}: "
            "run `warehouse-sync migrate` first"
        )


def alembic_config() -> Config:
    """Give what Alembic needs to find the revisions, wherever this package is installed."""
    config = Config()
    config.set_main_option("script_location", _MIGRATIONS)
    config.set_main_option("path_separator", "os")
    return config
