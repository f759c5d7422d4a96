"""The tables of alerts: what is the matter since when, what of it is to be told, and who was told.

``SELECT name, count(*) FROM alerts WHERE recovered_at IS NULL GROUP BY name`` counts what is the matter now.
"""

from typing import Final

from sqlalchemy import (
    CheckConstraint,
    Column,
    ForeignKey,
    Index,
    Integer,
    Table,
    Text,
    UniqueConstraint,
    Uuid,
    func,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB

from shared.store.ground import INSTANT, claim, metadata

_EVENTS: Final = "name IN ('full_resync','backfill_finished')"

alerts: Final = Table(
    "alerts",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("name", Text, nullable=False),
    Column("subject", Text, nullable=False, comment="what it is about: a pipeline, a run, a generation, a backfill"),
    Column("pipeline_id", ForeignKey("pipelines.id"), nullable=False),
    Column("condition", JSONB, nullable=False, comment="as it was last told; never a row's value"),
    Column("message", JSONB, nullable=False, comment="of its last change"),
    Column("opened_at", INSTANT, nullable=False, server_default=func.now()),
    Column("told_at", INSTANT, nullable=False, server_default=func.now(), comment="when it changed last"),
    Column("absent_since", INSTANT, comment="when its condition was first not seen any more; it may come back"),
    Column("recovered_at", INSTANT, comment="null: it is open"),
    CheckConstraint(f"recovered_at IS NOT NULL OR NOT {_EVENTS}", name="events_are_over"),
    Index("alerts_one_open", "name", "subject", unique=True, postgresql_where=text("recovered_at IS NULL")),
    Index("alerts_one_event", "name", "subject", unique=True, postgresql_where=text(_EVENTS)),
    Index("alerts_newest", "opened_at", "id"),
    Index("alerts_recovered", "recovered_at", postgresql_where=text("recovered_at IS NOT NULL")),
)

alert_changes: Final = Table(
    "alert_changes",
    metadata,
    Column("id", Uuid, primary_key=True, comment="what tells a repeat from another message"),
    Column("alert_id", ForeignKey(alerts.c.id, ondelete="CASCADE"), nullable=False),
    Column("change", Text, nullable=False),
    Column("message", JSONB, nullable=False, comment="what every channel is told"),
    Column("changed_at", INSTANT, nullable=False, server_default=func.now()),
    CheckConstraint("change IN ('opened','changed','recovered','happened')", name="change_known"),
    Index("alert_changes_by_alert", "alert_id", "changed_at"),
)

alert_deliveries: Final = Table(
    "alert_deliveries",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("change_id", ForeignKey(alert_changes.c.id, ondelete="CASCADE"), nullable=False),
    Column("channel", Text, nullable=False),
    Column("queued_at", INSTANT, nullable=False, server_default=func.now()),
    Column("attempts", Integer, nullable=False, server_default="0", comment="begun"),
    Column("failed_at", INSTANT, comment="the last attempt that failed"),
    Column("error", Text, comment="what that one said"),
    Column("delivered_at", INSTANT),
    Column("given_up_at", INSTANT),
    *claim(),
    UniqueConstraint("change_id", "channel"),
    CheckConstraint("channel IN ('webhook','slack','email')", name="channel_known"),
    CheckConstraint("delivered_at IS NULL OR given_up_at IS NULL", name="delivered_or_given_up"),
    Index(
        "alert_deliveries_pending",
        "channel",
        "queued_at",
        postgresql_where=text("delivered_at IS NULL AND given_up_at IS NULL"),
    ),
    Index("alert_deliveries_newest", "channel", "queued_at"),
)
