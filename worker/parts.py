"""Into which parts history is cut: asked of the warehouse only where it takes more than one."""

import math
from dataclasses import dataclass

import pyarrow as pa

from shared import sql
from shared.catalog import MOST_PARTS, DataModel, Incremental
from shared.run import Window
from shared.snapshot import FrozenIterator
from shared.sql import Span
from worker import draft
from worker.plan import cut
from worker.warehouses.base import Warehouse


@dataclass(frozen=True, slots=True)
class Parts:
    """The windows, in the order in which they are read, and how many rows they hold if they were counted."""

    windows: tuple[Window, ...]
    expected_rows: int | None = None


def cut_history(
    model: DataModel,
    warehouse: Warehouse,
    mode: Incremental,
    iterator: FrozenIterator,
    window: Window,
    *,
    parts: int,
    newest_first: bool,
) -> Parts:
    """Cut a window by time into the parts that were asked for, or into as many as ``history_part_rows`` makes of it.

    Rows are counted, which a warehouse bills, where their number decides, or where nobody said when history begins.
    """
    if window.is_empty or (parts == 1 and mode.history_part_rows is None):
        return Parts((window,))
    if mode.history_part_rows is None and window.low is not None:
        return Parts(cut(window, parts, iterator, begins_at=None, newest_first=newest_first))
    span = measure(model, warehouse, iterator, window)
    if mode.history_part_rows is not None:
        parts = min(MOST_PARTS, max(parts, math.ceil(span.row_count / mode.history_part_rows)))
    windows = cut(window, parts, iterator, begins_at=span.first_at, newest_first=newest_first)
    return Parts(windows, span.row_count)


def measure(model: DataModel, warehouse: Warehouse, iterator: FrozenIterator, window: Window) -> Span:
    """Ask the warehouse how many rows a window holds, from when to when, and how many have no time."""
    asked = draft.asked_by(iterator)
    if asked is None:
        raise ValueError("a span needs an iterator")
    query = sql.span_query(model.sql_query, dialect=warehouse.dialect, iterator=asked, window=window)
    with warehouse.stream(query, batch_rows=1) as stream:
        return sql.span_of(pa.Table.from_batches(list(stream), stream.schema), asked)
