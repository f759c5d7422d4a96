"""Rejected rows with their values, codes and reasons, as the table that the spool keeps (pure)."""

from collections.abc import Sequence
from typing import Final

import pyarrow as pa

from shared.run import Reject

ROW: Final = "warehouse_sync_row"
CODE: Final = "warehouse_sync_code"
REASON: Final = "warehouse_sync_reason"


def reject_table(rows: pa.Table, rejects: Sequence[Reject]) -> pa.Table:
    """Give the rejected rows of a chunk: their own columns, then position in the chunk, code and reason."""
    kept = rows.take(pa.array([reject.row for reject in rejects], pa.int64()))
    return (
        kept.append_column(ROW, pa.array([reject.row for reject in rejects], pa.int64()))
        .append_column(CODE, pa.array([reject.code.value for reject in rejects], pa.string()))
        .append_column(REASON, pa.array([reject.reason for reject in rejects], pa.string()))
    )
