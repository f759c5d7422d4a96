"""What a run freezes when it is planned, so that every attempt and every re-send does the same.

Of the feed, everything that ids and content depend on is here; its secret is not, because it may be corrected while
the run is open.
"""

from typing import Any, Final, Literal

from pydantic import BaseModel, ConfigDict

from shared.catalog import Environment, IteratorType

SNAPSHOT_VERSION: Final = 1


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class FrozenIterator(_Frozen):
    """The iterator as the warehouse has it: the column's own spelling and resolved type."""

    column: str
    type: IteratorType
    zone: str
    warehouse_type: str = ""


class FrozenFeed(_Frozen):
    """Where a run's batches go."""

    id: str
    base_url: str
    api_key: str
    quota_group: str
    batches_per_s: float


class Snapshot(_Frozen):
    """A run's frozen model, mapping, checks and limits.

    Each user has values of his own of the columns ``one_row_per``, each row one of ``row_key``; the columns are spelled
    as the result spells them. A live run also reads ``lookback_s`` below its window once more.
    """

    version: Literal[1] = SNAPSHOT_VERSION
    pipeline_id: str
    connection_id: str
    environment: Environment
    sql_query: str
    iterator: FrozenIterator | None
    mapping: dict[str, Any]
    checks: dict[str, Any]
    feed: FrozenFeed
    chunk_max_rows: int
    chunk_max_bytes: int
    body_max_batches: int
    body_max_bytes: int
    one_row_per: tuple[str, ...] = ()
    row_key: str | None = None
    lookback_s: float = 0
