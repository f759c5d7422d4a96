"""The tables of rejected rows: the files that hold them, who replays and who is replayed, and files to be removed."""

from typing import Final

from sqlalchemy import BigInteger, Boolean, CheckConstraint, Column, ForeignKey, Index, Table, Text, Uuid, func, text
from sqlalchemy.dialects.postgresql import JSONB

from shared.store.declared_tables import pipelines
from shared.store.ground import INSTANT, metadata
from shared.store.tables import chunks, runs

reject_files: Final = Table(
    "reject_files",
    metadata,
    Column("id", BigInteger, primary_key=True, autoincrement=True),
    Column("run_id", ForeignKey(runs.c.id, ondelete="CASCADE"), nullable=False),
    Column("chunk_id", ForeignKey(chunks.c.id, ondelete="CASCADE"), nullable=False),
    Column("path", Text, nullable=False),
    Column("checksum", Text, nullable=False),
    Column("rows", BigInteger, nullable=False),
    Column("bytes", BigInteger, nullable=False),
    Column("counts", JSONB, nullable=False, comment="rows by reject code"),
    Column("created_at", INSTANT, nullable=False, server_default=func.now()),
    Column("purged", BigInteger, nullable=False, server_default="0", comment="rows that an operator had removed"),
    CheckConstraint("purged >= 0", name="purged_not_negative"),
    Index("reject_files_by_run", "run_id"),
)

replayed_rejects: Final = Table(
    "replayed_rejects",
    metadata,
    Column("reject_file_id", ForeignKey(reject_files.c.id, ondelete="CASCADE"), primary_key=True),
    Column("code", Text, primary_key=True),
    Column(
        "run_id",
        ForeignKey(runs.c.id, ondelete="CASCADE"),
        nullable=False,
        comment="the replay that took the file's rows of this code; free again once that is abandoned",
    ),
    Index("replayed_rejects_by_run", "run_id"),
)

rejected_users: Final = Table(
    "rejected_users",
    metadata,
    Column("pipeline_id", ForeignKey(pipelines.c.id), primary_key=True),
    Column("user_key", Uuid, primary_key=True, comment="a hash of what identifies the user; no value can be read back"),
    Column("iterator_at", INSTANT, comment="the newest row of the user that was sent since; null: none"),
    Column("rejected_at", INSTANT, nullable=False, server_default=func.now(), comment="the last rejected row"),
    Index("rejected_users_by_age", "pipeline_id", "rejected_at"),
)

leftovers: Final = Table(
    "leftovers",
    metadata,
    Column("path", Text, primary_key=True, comment="a file in the spool that no other table names"),
    Column("is_dead", Boolean, nullable=False, server_default=text("false"), comment="nobody will name it any more"),
    Column("recorded_at", INSTANT, nullable=False, server_default=func.now()),
)
