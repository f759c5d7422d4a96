"""The tables of runs, of what they are made of and of what is noted beside them, and the promises that they keep.

What is written as a constraint here holds whatever a process does: a settled run balances, a pipeline has at most one
open run on its live lane, a chunk's rows below its position are accounted for.
"""

from typing import Final

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    ForeignKey,
    Identity,
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

from shared.store import access_tables, declared_tables, name_tables, total_tables  # noqa: F401 - whoever knows these tables knows the whole schema
from shared.store.ground import INSTANT, claim, metadata
from shared.store.history_tables import backfills


def _rows(name: str) -> Column[int]:
    return Column(name, BigInteger, nullable=False, server_default="0")


runs: Final = Table(
    "runs",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("pipeline_id", ForeignKey("pipelines.id"), nullable=False),
    Column("generation", Integer, nullable=False),
    Column("kind", Text, nullable=False),
    Column("lane", Text, nullable=False),
    Column("mode", Text, nullable=False),
    Column("state", Text, nullable=False, server_default="created"),
    Column("scheduled_for", INSTANT),
    Column("logical_at", INSTANT, nullable=False, comment="the run's time; windows end this much or more before it"),
    Column("low", INSTANT),
    Column("high", INSTANT),
    Column("includes_null", Boolean, nullable=False, server_default=text("false")),
    Column("snapshot", JSONB, comment="model, mapping, checks and limits as frozen when the run was planned"),
    _rows("extracted"),
    _rows("accepted"),
    _rows("rejected"),
    _rows("unchanged"),
    _rows("superseded"),
    _rows("unsent"),
    Column("slices_total", Integer, nullable=False, server_default="0"),
    Column("slices_published", Integer, nullable=False, server_default="0"),
    Column("chunks_total", Integer, nullable=False, server_default="0"),
    Column("chunks_done", Integer, nullable=False, server_default="0"),
    Column("reopenings", Integer, nullable=False, server_default="0"),
    Column("error_kind", Text),
    Column("error", Text),
    Column("spool_freed_at", INSTANT),
    Column("rejects_freed_at", INSTANT),
    Column("created_at", INSTANT, nullable=False, server_default=func.now()),
    Column("started_at", INSTANT),
    Column("ended_at", INSTANT),
    *claim(),
    Column("missed", Integer, nullable=False, server_default="0", comment="earlier occurrences that it also covers"),
    Column("paused_at", INSTANT, comment="nothing of it is claimed until its pipeline, or its backfill, is resumed"),
    Column(
        "silences", Integer, nullable=False, server_default="0", comment="attempts without an answer since the last"
    ),
    Column("backfill_id", ForeignKey(backfills.c.id)),
    Column("part", Integer, nullable=False, server_default="0", comment="its place in its backfill's order, from 0"),
    Column("batches", BigInteger, nullable=False, server_default="0", comment="what its accepted rows were sent in"),
    Column(
        "findings",
        JSONB,
        nullable=False,
        server_default=text("'{}'"),
        comment="rows by what was found out about them beside where they ended",
    ),
    Column("replays", ForeignKey("runs.id"), comment="the run whose rejected rows it sends anew"),
    Column(
        "accepts_rejects",
        Boolean,
        nullable=False,
        server_default=text("false"),
        comment="an operator takes its rejected rows as they are, however many",
    ),
    Column("number", BigInteger, Identity(), nullable=False, unique=True, comment="what people call it"),
    Column("held_at", INSTANT, comment="since when an operator is asked; null: it is not held"),
    Column("held_for", Text, comment="what is asked, as a fixed name"),
    Column("held_reason", Text, comment="what is asked, for operators"),
    Column(
        "accepts_volume",
        Boolean,
        nullable=False,
        server_default=text("false"),
        comment="an operator takes its rows, however many",
    ),
    UniqueConstraint("pipeline_id", "scheduled_for"),
    CheckConstraint(
        "state IN ('waiting','created','extracting','uploading','failed','cancelled','settled','abandoned')",
        name="state_known",
    ),
    CheckConstraint("missed >= 0", name="missed_not_negative"),
    CheckConstraint("kind IN ('scheduled','manual','initial','backfill','replay')", name="kind_known"),
    CheckConstraint("lane IN ('live','backfill')", name="lane_known"),
    CheckConstraint("(kind = 'replay') = (replays IS NOT NULL)", name="only_a_replay_replays"),
    CheckConstraint("held_for IN ('volume_unusual','restored')", name="hold_known"),
    CheckConstraint("num_nulls(held_at, held_for, held_reason) IN (0, 3)", name="hold_is_whole"),
    CheckConstraint("held_at IS NULL OR state = 'cancelled'", name="held_is_cancelled"),
    CheckConstraint(
        "least(extracted, accepted, rejected, unchanged, superseded, unsent) >= 0", name="counts_not_negative"
    ),
    CheckConstraint("slices_published BETWEEN 0 AND slices_total", name="slices_within_total"),
    CheckConstraint("chunks_done BETWEEN 0 AND chunks_total", name="chunks_within_total"),
    CheckConstraint(
        # A NULL passes a check, and most runs have no error: no plain comparison with error_kind may decide here.
        "state NOT IN ('settled','abandoned','failed','cancelled') OR coalesce(error_kind, '') = 'LedgerUnbalanced'"
        " OR extracted = accepted + rejected + unchanged + superseded + unsent",
        name="ledger_balances",
    ),
    CheckConstraint(
        "state <> 'settled' OR (unsent = 0 AND error_kind IS NULL AND snapshot IS NOT NULL"
        " AND chunks_done = chunks_total AND slices_published = slices_total)",
        name="settled_is_complete",
    ),
    CheckConstraint("low IS NULL OR high IS NULL OR low <= high", name="window_ends_after_it_begins"),
    Index(
        "runs_one_open_live_run",
        "pipeline_id",
        unique=True,
        postgresql_where=text("lane = 'live' AND state IN ('created','extracting','uploading','failed','cancelled')"),
    ),
    Index(
        "runs_one_waiting_live_run",
        "pipeline_id",
        unique=True,
        postgresql_where=text("lane = 'live' AND state = 'waiting'"),
    ),
    Index(
        "runs_one_initial_sync",
        "pipeline_id",
        "generation",
        "part",
        unique=True,
        postgresql_where=text("kind = 'initial' AND state <> 'abandoned'"),
    ),
    Index(
        "runs_open",
        "pipeline_id",
        "state",
        postgresql_where=text("state IN ('created','extracting','uploading','failed','cancelled')"),
    ),
    Index("runs_waiting", "pipeline_id", postgresql_where=text("state = 'waiting'")),
    Index("runs_by_backfill", "backfill_id", "part", postgresql_where=text("backfill_id IS NOT NULL")),
    Index("runs_by_replayed", "replays", postgresql_where=text("replays IS NOT NULL")),
    Index("runs_by_pipeline", "pipeline_id", "created_at"),
    Index("runs_newest", "created_at"),
    Index("runs_settled", "pipeline_id", "lane", "ended_at", postgresql_where=text("state = 'settled'")),
    Index("runs_with_spool", "ended_at", postgresql_where=text("spool_freed_at IS NULL")),
    Index("runs_with_rejects", "ended_at", postgresql_where=text("rejects_freed_at IS NULL")),
)

slices: Final = Table(
    "slices",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("run_id", ForeignKey("runs.id", ondelete="CASCADE"), nullable=False),
    Column("no", Integer, nullable=False),
    Column("state", Text, nullable=False, server_default="pending"),
    Column("rows_read", BigInteger, nullable=False, server_default="0", comment="progress; final once published"),
    Column("bytes_spooled", BigInteger, nullable=False, server_default="0", comment="progress, counted as room taken"),
    Column("held_reason", Text, comment="why it does not start, for operators"),
    *claim(),
    Column(
        "position", JSONB(none_as_null=True), comment="where it begins in the warehouse's result; null: run the query"
    ),
    UniqueConstraint("run_id", "no"),
    CheckConstraint("state IN ('pending','extracting','published')", name="state_known"),
    CheckConstraint("least(rows_read, bytes_spooled) >= 0", name="counts_not_negative"),
    Index("slices_unpublished", "run_id", postgresql_where=text("state <> 'published'")),
)

chunks: Final = Table(
    "chunks",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("run_id", ForeignKey("runs.id", ondelete="CASCADE"), nullable=False),
    Column("slice_id", ForeignKey("slices.id", ondelete="CASCADE"), nullable=False),
    Column("no", Integer, nullable=False),
    Column("state", Text, nullable=False, server_default="ready"),
    Column("path", Text, nullable=False),
    Column("checksum", Text, nullable=False),
    Column("rows", BigInteger, nullable=False),
    Column("bytes", BigInteger, nullable=False),
    Column("position", BigInteger, nullable=False, server_default="0", comment="all rows below it are final"),
    _rows("accepted"),
    _rows("rejected"),
    _rows("unchanged"),
    _rows("superseded"),
    Column("attempts", Integer, nullable=False, server_default="0"),
    Column("in_doubt_since", INSTANT, comment="first claim, or the first after an operator accepted the doubt"),
    Column("error", Text, comment="what the last attempt that did not finish said"),
    Column("published_at", INSTANT, nullable=False, server_default=func.now()),
    Column("done_at", INSTANT),
    *claim(),
    Column("ready_at", INSTANT, server_default=func.now(), comment="since when it could be claimed; null: claimed"),
    Column("claimed_at", INSTANT, comment="null: nobody works on it"),
    Column("queue_ms", BigInteger, comment="waited, over all attempts"),
    Column("run_ms", BigInteger, comment="claimed, over all attempts"),
    UniqueConstraint("slice_id", "no"),
    CheckConstraint("state IN ('ready','uploading','done','failed')", name="state_known"),
    CheckConstraint("least(rows, bytes, accepted, rejected, unchanged, superseded) >= 0", name="counts_not_negative"),
    CheckConstraint("position BETWEEN 0 AND rows", name="position_inside"),
    CheckConstraint("position = accepted + rejected + unchanged + superseded", name="rows_accounted_for"),
    CheckConstraint("state <> 'done' OR position = rows", name="done_is_complete"),
    Index("chunks_unfinished", "run_id", "published_at", "no", postgresql_where=text("state <> 'done'")),
    Index(
        "chunks_under_way",
        "run_id",
        postgresql_where=text("state = 'uploading' OR (state = 'ready' AND sent_at IS NOT NULL)"),
    ),
    Index(
        "chunks_in_doubt",
        "in_doubt_since",
        postgresql_where=text("state <> 'done' AND in_doubt_since IS NOT NULL"),
    ),
)

probes: Final = Table(
    "probes",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("question", JSONB, nullable=False),
    Column("answer", JSONB(none_as_null=True), comment="may hold rows' values: removed when read, or when it expires"),
    Column("error_kind", Text),
    Column("error", Text),
    Column("asked_at", INSTANT, nullable=False, server_default=func.now()),
    Column("taken_at", INSTANT),
    Column("answered_at", INSTANT),
    Index("probes_by_age", "asked_at"),
)

markers: Final = Table(
    "markers",
    metadata,
    Column("name", Text, primary_key=True),
    Column("value", Text, nullable=False),
    Column("recorded_at", INSTANT, nullable=False, server_default=func.now()),
)

notices: Final = Table(
    "notices",
    metadata,
    Column("id", BigInteger, primary_key=True, autoincrement=True),
    Column("pipeline_id", ForeignKey("pipelines.id"), nullable=False),
    Column("name", Text, nullable=False, comment="what happened, as a fixed name"),
    Column("message", Text, nullable=False),
    Column("noticed_at", INSTANT, nullable=False, server_default=func.now()),
    Index("notices_by_pipeline", "pipeline_id", "noticed_at"),
)
