"""The tables of what is declared, with who declared it, and where each pipeline stands."""

from typing import Any, Final

from sqlalchemy import CheckConstraint, Column, ForeignKey, Index, Integer, Table, Text, func, text
from sqlalchemy.dialects.postgresql import JSONB

from shared.store.ground import INSTANT, metadata

ACTOR: Final = text("NULLIF(current_setting('warehouse_sync.actor'::text, true), ''::text)")
"""Who a transaction acts for, by name; see :meth:`shared.store.database.Database.acting_as`."""
_NAME: Final = text("(document ->> 'name'::text)")


def _declared(name: str) -> Table:
    """Build the table of one kind of declared resource: its id, its document, and who changed it when."""
    return Table(
        name,
        metadata,
        Column("id", Text, primary_key=True),
        Column("document", JSONB, nullable=False),
        Column("created_at", INSTANT, nullable=False, server_default=func.now()),
        Column("modified_at", INSTANT),
        *_authors(),
        Index(f"{name}_name", _NAME, unique=True),
    )


def _authors() -> tuple[Column[Any], ...]:
    """Build the columns that say who changed a declaration, and how often."""
    return (
        Column("version", Integer, nullable=False, server_default="1", comment="counts the changes"),
        Column("created_by", Text, server_default=ACTOR),
        Column("modified_by", Text),
    )


feeds: Final = _declared("feeds")
connections: Final = _declared("connections")
data_models: Final = _declared("data_models")
field_transformations: Final = _declared("field_transformations")

pipelines: Final = Table(
    "pipelines",
    metadata,
    Column("id", Text, primary_key=True),
    Column("document", JSONB, nullable=False),
    Column("connection_id", ForeignKey("connections.id"), nullable=False),
    Column("data_model_id", ForeignKey("data_models.id"), nullable=False),
    Column("feed_id", ForeignKey("feeds.id"), nullable=False),
    Column("generation", Integer, nullable=False, server_default="1"),
    Column("watermark", INSTANT, comment="the next live window's low; null until an initial window is frozen"),
    Column("history_to", INSTANT, comment="T0: where the initial sync ends and the live lane begins"),
    Column("history_settled_to", INSTANT, comment="everything below is settled by the initial sync"),
    Column("faulted_reason", Text),
    Column("created_at", INSTANT, nullable=False, server_default=func.now()),
    Column("modified_at", INSTANT),
    Column("state", Text, nullable=False, server_default="draft"),
    Column("next_due_at", INSTANT, comment="the occurrence that beat waits for; null: only triggers start a run"),
    Column("field_transformation_id", ForeignKey("field_transformations.id"), comment="null: its rows are users"),
    *_authors(),
    CheckConstraint("state IN ('draft','active','paused','deleted')", name="state_known"),
    CheckConstraint("next_due_at IS NULL OR state = 'active'", name="only_active_is_due"),
    Index("pipelines_due", "next_due_at", postgresql_where=text("next_due_at IS NOT NULL")),
    Index("pipelines_name", _NAME, unique=True, postgresql_where=text("state <> 'deleted'")),
)
