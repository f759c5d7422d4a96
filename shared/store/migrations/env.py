"""Alembic's entry: run the migrations inside the transaction that ``Database.migrate`` opened."""

from alembic import context

from shared.store.tables import pipelines

context.configure(connection=context.config.attributes["connection"], target_metadata=pipelines.metadata)
context.run_migrations()
