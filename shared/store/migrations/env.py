"""Alembic's entry: run the migrations inside the transaction that ``Database.migrate`` opened."""

from alembic import context

# With them the metadata knows every table.
from shared.store import alert_tables, life_tables, reject_tables  # noqa: F401
from shared.store.ground import metadata

context.configure(connection=context.config.attributes["connection"], target_metadata=metadata)
context.run_migrations()
