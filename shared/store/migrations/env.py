"""Alembic's entry: run the migrations inside the transaction that ``Database.migrate`` opened."""

from alembic import context

from shared.store.reject_tables import reject_files

context.configure(connection=context.config.attributes["connection"], target_metadata=reject_files.metadata)
context.run_migrations()
