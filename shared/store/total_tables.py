"""The table of what was done so far, counted for ever."""

from typing import Final

from sqlalchemy import BigInteger, CheckConstraint, Column, Table, Text

from shared.store.ground import metadata

totals: Final = Table(
    "totals",
    metadata,
    # No foreign keys: each would be one more lock, and a pipeline's row is never removed.
    Column("pipeline_id", Text, primary_key=True),
    Column("lane", Text, primary_key=True),
    Column("name", Text, primary_key=True, comment="what is counted; shared/store/totals.py lists the names"),
    Column("value", BigInteger, nullable=False),
    CheckConstraint("value >= 0", name="value_not_negative"),
)
