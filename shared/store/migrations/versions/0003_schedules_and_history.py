"""schedules, the lives of pipelines, backfills in parts, and what keeps old rows from overwriting newer ones."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

_INSTANT = sa.DateTime(timezone=True)
_NOW = sa.text("now()")
_STATES = ("waiting", "created", "extracting", "uploading", "failed", "cancelled", "settled", "abandoned")


def upgrade() -> None:
    _give_pipelines_a_life()
    _create_history()
    _let_runs_wait()
    op.create_table(
        "notices",
        sa.Column("id", sa.BigInteger(), autoincrement=True, nullable=False),
        sa.Column("pipeline_id", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False, comment="what happened, as a fixed name"),
        sa.Column("message", sa.Text(), nullable=False),
        sa.Column("noticed_at", _INSTANT, server_default=_NOW, nullable=False),
        sa.ForeignKeyConstraint(["pipeline_id"], ["pipelines.id"], name=op.f("notices_pipeline_id_fkey")),
        sa.PrimaryKeyConstraint("id", name=op.f("notices_pkey")),
    )
    op.create_index("notices_by_pipeline", "notices", ["pipeline_id", "noticed_at"], unique=False)


def _give_pipelines_a_life() -> None:
    # Until now a pipeline that was declared could be triggered, so those that exist are active.
    op.add_column("pipelines", sa.Column("state", sa.Text(), server_default="active", nullable=False))
    op.alter_column("pipelines", "state", server_default="draft")
    op.add_column(
        "pipelines",
        sa.Column(
            "next_due_at",
            _INSTANT,
            nullable=True,
            comment="the occurrence that beat waits for; null: only triggers start a run",
        ),
    )
    op.create_check_constraint(
        op.f("pipelines_state_known"), "pipelines", "state IN ('draft','active','paused','deleted')"
    )
    op.create_check_constraint(
        op.f("pipelines_only_active_is_due"), "pipelines", "next_due_at IS NULL OR state = 'active'"
    )
    op.create_index(
        "pipelines_due",
        "pipelines",
        ["next_due_at"],
        unique=False,
        postgresql_where=sa.text("next_due_at IS NOT NULL"),
    )


def _create_history() -> None:
    op.create_table(
        "backfills",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("pipeline_id", sa.Text(), nullable=False),
        sa.Column("generation", sa.Integer(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column(
            "parts",
            sa.Integer(),
            server_default="1",
            nullable=False,
            comment="wanted; fewer where its time cannot be cut",
        ),
        sa.Column("newest_first", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("low", _INSTANT, nullable=True, comment="asked for; null: from the beginning"),
        sa.Column("high", _INSTANT, nullable=True, comment="asked for; null: up to T0"),
        sa.Column(
            "expected_rows", sa.BigInteger(), nullable=True, comment="counted before it began; null: not counted"
        ),
        sa.Column("paused_at", _INSTANT, nullable=True),
        sa.Column("cancelled_at", _INSTANT, nullable=True),
        sa.Column("created_at", _INSTANT, server_default=_NOW, nullable=False),
        sa.CheckConstraint("kind IN ('initial','backfill')", name=op.f("backfills_kind_known")),
        sa.CheckConstraint("parts > 0", name=op.f("backfills_parts_positive")),
        sa.CheckConstraint("low IS NULL OR high IS NULL OR low < high", name=op.f("backfills_begins_before_it_ends")),
        sa.ForeignKeyConstraint(["pipeline_id"], ["pipelines.id"], name=op.f("backfills_pipeline_id_fkey")),
        sa.PrimaryKeyConstraint("id", name=op.f("backfills_pkey")),
    )
    op.create_index("backfills_by_pipeline", "backfills", ["pipeline_id", "created_at"], unique=False)
    op.create_table(
        "newer_rows",
        sa.Column("pipeline_id", sa.Text(), nullable=False),
        sa.Column(
            "user_key",
            sa.Uuid(),
            nullable=False,
            comment="a hash of what identifies the user; no value can be read back",
        ),
        sa.Column(
            "iterator_at", _INSTANT, nullable=False, comment="the newest row of the user that the live lane sent"
        ),
        sa.ForeignKeyConstraint(["pipeline_id"], ["pipelines.id"], name=op.f("newer_rows_pipeline_id_fkey")),
        sa.PrimaryKeyConstraint("pipeline_id", "user_key", name=op.f("newer_rows_pkey")),
    )
    op.create_table(
        "newer_counts",
        sa.Column("pipeline_id", sa.Text(), nullable=False),
        sa.Column(
            "rows",
            sa.BigInteger(),
            nullable=False,
            comment="of newer_rows; locked by whoever adds or removes some",
        ),
        sa.CheckConstraint("rows >= 0", name=op.f("newer_counts_counts_not_negative")),
        sa.ForeignKeyConstraint(["pipeline_id"], ["pipelines.id"], name=op.f("newer_counts_pipeline_id_fkey")),
        sa.PrimaryKeyConstraint("pipeline_id", name=op.f("newer_counts_pkey")),
    )
    op.create_table(
        "accepted_keys",
        sa.Column("pipeline_id", sa.Text(), nullable=False),
        sa.Column("row_key", sa.Uuid(), nullable=False, comment="a hash of the row key; no value can be read back"),
        sa.Column("iterator_at", _INSTANT, nullable=False),
        sa.ForeignKeyConstraint(["pipeline_id"], ["pipelines.id"], name=op.f("accepted_keys_pipeline_id_fkey")),
        sa.PrimaryKeyConstraint("pipeline_id", "row_key", name=op.f("accepted_keys_pkey")),
    )
    op.create_index("accepted_keys_by_time", "accepted_keys", ["pipeline_id", "iterator_at"], unique=False)


def _let_runs_wait() -> None:
    for column in (
        sa.Column(
            "missed",
            sa.Integer(),
            server_default="0",
            nullable=False,
            comment="earlier occurrences that it also covers",
        ),
        sa.Column(
            "paused_at",
            _INSTANT,
            nullable=True,
            comment="nothing of it is claimed until its pipeline, or its backfill, is resumed",
        ),
        sa.Column(
            "silences",
            sa.Integer(),
            server_default="0",
            nullable=False,
            comment="attempts without an answer since the last",
        ),
        sa.Column("backfill_id", sa.Uuid(), nullable=True),
        sa.Column(
            "part",
            sa.Integer(),
            server_default="0",
            nullable=False,
            comment="its place in its backfill's order, from 0",
        ),
    ):
        op.add_column("runs", column)
    op.create_foreign_key(op.f("runs_backfill_id_fkey"), "runs", "backfills", ["backfill_id"], ["id"])
    op.drop_constraint(op.f("runs_state_known"), "runs", type_="check")
    op.create_check_constraint(op.f("runs_state_known"), "runs", f"state IN {_STATES}")
    op.create_check_constraint(op.f("runs_missed_not_negative"), "runs", "missed >= 0")
    op.create_index(
        "runs_one_waiting_live_run",
        "runs",
        ["pipeline_id"],
        unique=True,
        postgresql_where=sa.text("lane = 'live' AND state = 'waiting'"),
    )
    op.drop_index("runs_one_initial_sync", table_name="runs")
    op.create_index(
        "runs_one_initial_sync",
        "runs",
        ["pipeline_id", "generation", "part"],
        unique=True,
        postgresql_where=sa.text("kind = 'initial' AND state <> 'abandoned'"),
    )
    op.create_index(
        "runs_waiting", "runs", ["pipeline_id"], unique=False, postgresql_where=sa.text("state = 'waiting'")
    )
    op.create_index(
        "runs_by_backfill",
        "runs",
        ["backfill_id", "part"],
        unique=False,
        postgresql_where=sa.text("backfill_id IS NOT NULL"),
    )
