"""Events: field transformations, what runs count besides rows, and the names of events in a workspace."""

from typing import Final

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision: Final = "0004"
down_revision: Final = "0003"
branch_labels: Final = None
depends_on: Final = None

_INSTANT = sa.DateTime(timezone=True)
_NOW = sa.text("now()")


def upgrade() -> None:
    _keep_field_transformations()
    _count_batches()
    _keep_findings()
    _keep_event_names()


def _keep_field_transformations() -> None:
    op.create_table(
        "field_transformations",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("document", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("modified_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("field_transformations_pkey")),
    )
    op.add_column(
        "pipelines",
        sa.Column("field_transformation_id", sa.Text(), nullable=True, comment="null: its rows are users"),
    )
    op.create_foreign_key(
        op.f("pipelines_field_transformation_id_fkey"),
        "pipelines",
        "field_transformations",
        ["field_transformation_id"],
        ["id"],
    )


def _count_batches() -> None:
    op.add_column(
        "runs",
        sa.Column(
            "batches",
            sa.BigInteger(),
            server_default="0",
            nullable=False,
            comment="what its accepted rows were sent in",
        ),
    )


def _keep_findings() -> None:
    op.add_column(
        "runs",
        sa.Column(
            "findings",
            postgresql.JSONB(),
            server_default=sa.text("'{}'"),
            nullable=False,
            comment="rows by what was found out about them beside where they ended",
        ),
    )


def _keep_event_names() -> None:
    op.create_table(
        "event_names",
        sa.Column("workspace", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False, comment="the type of the events that have the name"),
        sa.Column("name", sa.Text(), nullable=False, comment="as rows have it: it is told nowhere else"),
        sa.Column("ordinal", sa.Integer(), nullable=False, comment="its place in its workspace, from 1; never changes"),
        sa.Column("first_seen_at", _INSTANT, server_default=_NOW, nullable=False),
        sa.CheckConstraint("ordinal > 0", name=op.f("event_names_ordinal_from_one")),
        sa.PrimaryKeyConstraint("workspace", "kind", "name", name=op.f("event_names_pkey")),
        sa.UniqueConstraint("workspace", "ordinal", name=op.f("event_names_workspace_ordinal_key")),
    )
