"""Every kind of iterator that a warehouse may have: how it says an instant, and a table of changes that has it."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pyarrow as pa

from shared.catalog import IteratorType
from shared.columns import warehouse_type
from shared.iterator import find_iterator
from shared.sql import Iterator, columns_query
from worker.warehouses.base import Warehouse

HOUR = timedelta(hours=1)
KINDS = {
    "timestamp_tz": (pa.timestamp("us", "UTC"), IteratorType.TIMESTAMP_TZ, "UTC"),
    "timestamp_ntz": (pa.timestamp("us"), IteratorType.TIMESTAMP_NTZ, "America/New_York"),
    "nanoseconds": (pa.timestamp("ns"), IteratorType.TIMESTAMP_NTZ, "UTC"),
    "seconds": (pa.timestamp("s"), IteratorType.TIMESTAMP_NTZ, "UTC"),
    "date": (pa.date32(), IteratorType.DATE, "UTC"),
    "unixtime_s": (pa.int64(), IteratorType.UNIXTIME_S, "UTC"),
    "unixtime_ms": (pa.int64(), IteratorType.UNIXTIME_MS, "UTC"),
    "short_unixtime_s": (pa.int32(), IteratorType.UNIXTIME_S, "UTC"),
    "decimal_unixtime_ms": (pa.decimal128(20, 0), IteratorType.UNIXTIME_MS, "UTC"),
}


def value_of(instant: datetime, kind: str) -> object:
    """Say an instant as a column of this kind does, without the code under test."""
    since_1970 = instant - datetime(1970, 1, 1, tzinfo=UTC)
    match kind:
        case "timestamp_tz":
            return instant
        case "timestamp_ntz":
            return instant.replace(tzinfo=None) - 5 * HOUR  # New York, in winter
        case "nanoseconds" | "seconds":
            return instant.replace(tzinfo=None)
        case "date":
            return instant.date()
        case "unixtime_s" | "short_unixtime_s":
            return since_1970 // timedelta(seconds=1)
        case "unixtime_ms":
            return since_1970 // timedelta(milliseconds=1)
        case _:
            return Decimal(since_1970 // timedelta(milliseconds=1))


def load_changes(subject: Any, kind: str, times: list[Any], **columns: pa.Array) -> None:
    """Make the table ``changes``: ``id`` from 0, ``changed_at`` of the kind, and further columns."""
    at = pa.array(times, KINDS[kind][0])
    subject.load("changes", pa.table({"id": pa.array(range(len(times)), pa.int64()), "changed_at": at, **columns}))


def iterator_of(warehouse: Warehouse, model: str, kind: str, *, ties: tuple[str, ...] = ()) -> Iterator:
    """Find ``changed_at`` in a model as a run does."""
    _, declared, zone = KINDS[kind]
    schema = warehouse.describe(columns_query(model, warehouse.dialect))
    column, found = find_iterator(schema, "changed_at", declared)
    return Iterator(column, found, zone, warehouse_type(schema.field(column)), ties)
