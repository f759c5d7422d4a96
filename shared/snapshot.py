"""What a run freezes when it is planned, so that every attempt and every re-send does the same.

Of the feed, everything that ids and content depend on is here; its secret is not, because it may be corrected while
the run is open.

During an upgrade workers of two releases take each other's runs. A release that adds a field which the one before may
leave out gives it a default, and the older one ignores it. A field that changes what is sent, and a new form of the
mapping or the checks, raise ``SNAPSHOT_VERSION``: the older one then leaves the run to the newer.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

from pydantic import BaseModel, ConfigDict

from shared.catalog import Environment, IteratorType
from shared.errors import ProcessOutdated

SNAPSHOT_VERSION: Final = 1


def read_snapshot(number: int, frozen: Mapping[str, Any] | None) -> "Snapshot":
    """Give the snapshot of run ``number``, whichever release planned it.

    Raises:
        ProcessOutdated: one did that this one must leave it to.
    """
    version = (frozen or {}).get("version")
    if isinstance(version, int) and version > SNAPSHOT_VERSION:
        raise ProcessOutdated(
            f"run {number} was planned by a newer version (snapshot {version}, this process reads up to "
            f"{SNAPSHOT_VERSION}); it waits for a worker of that version. Finish the upgrade of the workers"
        )
    return Snapshot.model_validate(frozen)


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class FrozenIterator(_Frozen):
    """The iterator as the warehouse has it: the column's own spelling and resolved type.

    ``ties`` are the other columns that rows can be ordered by where the iterator does not tell which is newer.
    """

    column: str
    type: IteratorType
    zone: str
    warehouse_type: str = ""
    ties: tuple[str, ...] = ()


class FrozenFeed(_Frozen):
    """Where a run's batches go."""

    id: str
    base_url: str
    api_key: str
    quota_group: str
    batches_per_s: float
    workspace: str = "default"
    gzip: bool = False


class Snapshot(_Frozen):
    """A run's frozen model, mapping, checks and limits.

    ``columns`` are the result's own, and the others are spelled as they are. With ``one_row_per``, whose values each
    user has of his own, exactly they are asked for, and rows that have a newer one of the same user below ``ranked_to``
    are left out. ``reads_from`` is where the query of a live run begins: its window's low, or ``lookback_s`` before it;
    ``row_key`` then tells which rows were sent before. No number of rejected rows stops a run without ``max_rejected``,
    and no number of rows that it reads holds one without ``max_volume`` and ``min_volume``.
    ``order_by`` puts rows of one user side by side; up to ``batch_max_events`` events share a batch, rows of one user
    do where ``merges_users``, and events before ``historical_before_ms`` go to the historical endpoint. ``data_plan``
    is the pipeline's own declaration of one. ``secret_columns`` are the data model's, by which its rows stay hidden,
    however it is edited later. The defaults are those of runs of an earlier release.
    """

    version: int = SNAPSHOT_VERSION
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
    columns: tuple[str, ...] = ()
    one_row_per: tuple[str, ...] = ()
    ranked_to: datetime | None = None
    reads_from: datetime | None = None
    row_key: str | None = None
    lookback_s: float = 0
    data_plan: dict[str, Any] | None = None
    order_by: tuple[str, ...] = ()
    batch_max_events: int = 1
    merges_users: bool = False
    historical_before_ms: int | None = None
    max_rejected_ratio: float | None = None
    max_rejected_rows: int | None = None
    is_replay: bool = False
    secret_columns: tuple[str, ...] = ()
    max_volume_rows: int | None = None
    max_volume_ratio: float | None = None
    min_volume_rows: int | None = None
    min_volume_ratio: float | None = None
