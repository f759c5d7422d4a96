"""Events: field transformations, the pipelines whose rows are events, and what runs count besides rows."""

from typing import Final

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision: Final = "0004"
down_revision: Final = "0003"
branch_labels: Final = None
depends_on: Final = None


def upgrade() -> None:
    _keep_field_transformations()
    _count_batches()


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
