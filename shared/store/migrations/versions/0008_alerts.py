"""Alerts: what is the matter, since when, and who was told."""

from typing import Final

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision: Final = "0008"
down_revision: Final = "0007"
branch_labels: Final = None
depends_on: Final = None

_INSTANT = sa.DateTime(timezone=True)
_NOW = sa.text("now()")
_EVENTS = "name IN ('full_resync','backfill_finished')"


def upgrade() -> None:
    _keep_alerts()
    _keep_changes()
    _keep_deliveries()
    op.create_index(
        "runs_settled", "runs", ["pipeline_id", "lane", "ended_at"], postgresql_where=sa.text("state = 'settled'")
    )


def _keep_alerts() -> None:
    op.create_table(
        "alerts",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column(
            "subject",
            sa.Text(),
            nullable=False,
            comment="what it is about: a pipeline, a run, a generation, a backfill",
        ),
        sa.Column("pipeline_id", sa.Text(), nullable=False),
        sa.Column("condition", postgresql.JSONB(), nullable=False, comment="as it was last told; never a row's value"),
        sa.Column("message", postgresql.JSONB(), nullable=False, comment="of its last change"),
        sa.Column("opened_at", _INSTANT, server_default=_NOW, nullable=False),
        sa.Column("told_at", _INSTANT, server_default=_NOW, nullable=False, comment="when it changed last"),
        sa.Column(
            "absent_since",
            _INSTANT,
            nullable=True,
            comment="when its condition was first not seen any more; it may come back",
        ),
        sa.Column("recovered_at", _INSTANT, nullable=True, comment="null: it is open"),
        sa.CheckConstraint(f"recovered_at IS NOT NULL OR NOT {_EVENTS}", name=op.f("alerts_events_are_over")),
        sa.ForeignKeyConstraint(["pipeline_id"], ["pipelines.id"], name=op.f("alerts_pipeline_id_fkey")),
        sa.PrimaryKeyConstraint("id", name=op.f("alerts_pkey")),
    )
    op.create_index(
        "alerts_one_open", "alerts", ["name", "subject"], unique=True, postgresql_where=sa.text("recovered_at IS NULL")
    )
    op.create_index("alerts_one_event", "alerts", ["name", "subject"], unique=True, postgresql_where=sa.text(_EVENTS))
    op.create_index("alerts_newest", "alerts", ["opened_at", "id"])
    op.create_index(
        "alerts_recovered", "alerts", ["recovered_at"], postgresql_where=sa.text("recovered_at IS NOT NULL")
    )


def _keep_changes() -> None:
    op.create_table(
        "alert_changes",
        sa.Column("id", sa.Uuid(), nullable=False, comment="what tells a repeat from another message"),
        sa.Column("alert_id", sa.Uuid(), nullable=False),
        sa.Column("change", sa.Text(), nullable=False),
        sa.Column("message", postgresql.JSONB(), nullable=False, comment="what every channel is told"),
        sa.Column("changed_at", _INSTANT, server_default=_NOW, nullable=False),
        sa.CheckConstraint(
            "change IN ('opened','changed','recovered','happened')", name=op.f("alert_changes_change_known")
        ),
        sa.ForeignKeyConstraint(
            ["alert_id"], ["alerts.id"], name=op.f("alert_changes_alert_id_fkey"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("alert_changes_pkey")),
    )
    op.create_index("alert_changes_by_alert", "alert_changes", ["alert_id", "changed_at"])


def _keep_deliveries() -> None:
    op.create_table(
        "alert_deliveries",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("change_id", sa.Uuid(), nullable=False),
        sa.Column("channel", sa.Text(), nullable=False),
        sa.Column("queued_at", _INSTANT, server_default=_NOW, nullable=False),
        sa.Column("attempts", sa.Integer(), server_default="0", nullable=False, comment="begun"),
        sa.Column("failed_at", _INSTANT, nullable=True, comment="the last attempt that failed"),
        sa.Column("error", sa.Text(), nullable=True, comment="what that one said"),
        sa.Column("delivered_at", _INSTANT, nullable=True),
        sa.Column("given_up_at", _INSTANT, nullable=True),
        sa.Column("token", sa.Uuid(), nullable=True),
        sa.Column("lease_until", _INSTANT, nullable=True),
        sa.Column("claimant", sa.Text(), nullable=True, comment="host:pid of who claimed it last"),
        sa.Column("deaths", sa.Integer(), server_default="0", nullable=False),
        sa.Column("not_before", _INSTANT, nullable=True),
        sa.Column("sent_at", _INSTANT, nullable=True),
        sa.Column("resends", sa.Integer(), server_default="0", nullable=False),
        sa.CheckConstraint("channel IN ('webhook','slack','email')", name=op.f("alert_deliveries_channel_known")),
        sa.CheckConstraint(
            "delivered_at IS NULL OR given_up_at IS NULL", name=op.f("alert_deliveries_delivered_or_given_up")
        ),
        sa.ForeignKeyConstraint(
            ["change_id"], ["alert_changes.id"], name=op.f("alert_deliveries_change_id_fkey"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("alert_deliveries_pkey")),
        sa.UniqueConstraint("change_id", "channel", name=op.f("alert_deliveries_change_id_channel_key")),
    )
    op.create_index(
        "alert_deliveries_pending",
        "alert_deliveries",
        ["channel", "queued_at"],
        postgresql_where=sa.text("delivered_at IS NULL AND given_up_at IS NULL"),
    )
    op.create_index("alert_deliveries_newest", "alert_deliveries", ["channel", "queued_at"])
