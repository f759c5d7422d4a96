"""Field transformations, what runs count besides rows, names of events, replays and purged rejects."""

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
    _let_rejects_be_replayed()
    _let_rejects_be_purged()


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


def _let_rejects_be_replayed() -> None:
    op.add_column(
        "runs",
        sa.Column("replays", sa.Uuid(), nullable=True, comment="the run whose rejected rows it sends anew"),
    )
    op.add_column(
        "runs",
        sa.Column(
            "accepts_rejects",
            sa.Boolean(),
            server_default=sa.text("false"),
            nullable=False,
            comment="an operator takes its rejected rows as they are, however many",
        ),
    )
    op.create_foreign_key(op.f("runs_replays_fkey"), "runs", "runs", ["replays"], ["id"])
    op.create_check_constraint(op.f("runs_only_a_replay_replays"), "runs", "(kind = 'replay') = (replays IS NOT NULL)")
    op.create_index(
        "runs_by_replayed", "runs", ["replays"], unique=False, postgresql_where=sa.text("replays IS NOT NULL")
    )
    op.create_table(
        "replayed_rejects",
        sa.Column("reject_file_id", sa.BigInteger(), nullable=False),
        sa.Column("code", sa.Text(), nullable=False),
        sa.Column(
            "run_id",
            sa.Uuid(),
            nullable=False,
            comment="the replay that took the file's rows of this code; free again once that is abandoned",
        ),
        sa.ForeignKeyConstraint(
            ["reject_file_id"],
            ["reject_files.id"],
            name=op.f("replayed_rejects_reject_file_id_fkey"),
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(["run_id"], ["runs.id"], name=op.f("replayed_rejects_run_id_fkey"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("reject_file_id", "code", name=op.f("replayed_rejects_pkey")),
    )
    op.create_index("replayed_rejects_by_run", "replayed_rejects", ["run_id"], unique=False)

    op.create_table(
        "rejected_users",
        sa.Column("pipeline_id", sa.Text(), nullable=False),
        sa.Column(
            "user_key",
            sa.Uuid(),
            nullable=False,
            comment="a hash of what identifies the user; no value can be read back",
        ),
        sa.Column(
            "iterator_at",
            _INSTANT,
            nullable=True,
            comment="the newest row of the user that was sent since; null: none",
        ),
        sa.Column("rejected_at", _INSTANT, server_default=_NOW, nullable=False, comment="the last rejected row"),
        sa.ForeignKeyConstraint(["pipeline_id"], ["pipelines.id"], name=op.f("rejected_users_pipeline_id_fkey")),
        sa.PrimaryKeyConstraint("pipeline_id", "user_key", name=op.f("rejected_users_pkey")),
    )
    op.create_index("rejected_users_by_age", "rejected_users", ["pipeline_id", "rejected_at"], unique=False)


def _let_rejects_be_purged() -> None:
    op.add_column(
        "reject_files",
        sa.Column(
            "purged", sa.BigInteger(), server_default="0", nullable=False, comment="rows that an operator had removed"
        ),
    )
    op.create_check_constraint(op.f("reject_files_purged_not_negative"), "reject_files", "purged >= 0")
    op.create_table(
        "leftovers",
        sa.Column("path", sa.Text(), nullable=False, comment="a file in the spool that no other table names"),
        sa.Column(
            "is_dead",
            sa.Boolean(),
            server_default=sa.text("false"),
            nullable=False,
            comment="nobody will name it any more",
        ),
        sa.Column("recorded_at", _INSTANT, server_default=_NOW, nullable=False),
        sa.PrimaryKeyConstraint("path", name=op.f("leftovers_pkey")),
    )
