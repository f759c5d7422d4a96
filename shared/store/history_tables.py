"""The tables of history: backfills and their parts' order, and what keeps old rows from overwriting newer ones."""

from typing import Final

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    ForeignKey,
    Index,
    Integer,
    Table,
    Text,
    Uuid,
    func,
    text,
)

from shared.store.ground import INSTANT, metadata

backfills: Final = Table(
    "backfills",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("pipeline_id", ForeignKey("pipelines.id"), nullable=False),
    Column("generation", Integer, nullable=False),
    Column("kind", Text, nullable=False),
    Column("parts", Integer, nullable=False, server_default="1", comment="wanted; fewer where its time cannot be cut"),
    Column("newest_first", Boolean, nullable=False, server_default=text("false")),
    Column("low", INSTANT, comment="asked for; null: from the beginning"),
    Column("high", INSTANT, comment="asked for; null: up to T0"),
    Column("expected_rows", BigInteger, comment="counted before it began; null: not counted"),
    Column("paused_at", INSTANT),
    Column("cancelled_at", INSTANT),
    Column("created_at", INSTANT, nullable=False, server_default=func.now()),
    CheckConstraint("kind IN ('initial','backfill')", name="kind_known"),
    CheckConstraint("parts > 0", name="parts_positive"),
    CheckConstraint("low IS NULL OR high IS NULL OR low < high", name="begins_before_it_ends"),
    Index("backfills_by_pipeline", "pipeline_id", "created_at"),
)

newer_rows: Final = Table(
    "newer_rows",
    metadata,
    Column("pipeline_id", ForeignKey("pipelines.id"), primary_key=True),
    Column("user_key", Uuid, primary_key=True, comment="a hash of what identifies the user; no value can be read back"),
    Column("iterator_at", INSTANT, nullable=False, comment="the newest row of the user that the live lane sent"),
)

newer_counts: Final = Table(
    "newer_counts",
    metadata,
    Column("pipeline_id", ForeignKey("pipelines.id"), primary_key=True),
    Column("rows", BigInteger, nullable=False, comment="of newer_rows; locked by whoever adds or removes some"),
    CheckConstraint("rows >= 0", name="counts_not_negative"),
)

accepted_keys: Final = Table(
    "accepted_keys",
    metadata,
    Column("pipeline_id", ForeignKey("pipelines.id"), primary_key=True),
    Column("row_key", Uuid, primary_key=True, comment="a hash of the row key; no value can be read back"),
    Column("iterator_at", INSTANT, nullable=False),
    Index("accepted_keys_by_time", "pipeline_id", "iterator_at"),
)
