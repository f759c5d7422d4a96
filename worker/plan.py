"""Pipeline, standing and clocks to the window of a run (pure).

A window ends ``delay`` before the run's logical time, because rows commit later than they say; it ends on a whole unit
of the iterator, because a later row may still carry the same value; and it never ends ahead of what the warehouse's
own clock allows. What it leaves out, the next window reads.
"""

from datetime import datetime, timedelta

from shared.catalog import Incremental
from shared.errors import DeclarationInvalid
from shared.iterator import floor_to_unit
from shared.run import Run, RunKind, Standing, Window
from shared.snapshot import FrozenIterator


def freeze_window(
    run: Run,
    mode: Incremental,
    iterator: FrozenIterator,
    *,
    standing: Standing,
    delay: timedelta,
    warehouse_now: datetime,
) -> Window:
    """Give the window that an incremental run reads.

    The initial sync reads from ``track_from`` (or everything) to T0, and the rows whose iterator is NULL; every later
    run reads from the watermark. A window that would end before it begins is empty.

    Raises:
        DeclarationInvalid: ``track_from`` lies after the end of the first window.
    """
    return _window(
        run.pipeline_id,
        mode,
        iterator,
        is_initial=run.kind is RunKind.INITIAL,
        ends_at=min(run.logical_at, warehouse_now) - delay,
        standing=standing,
    )


def next_window(
    pipeline_id: str,
    mode: Incremental,
    iterator: FrozenIterator,
    *,
    standing: Standing,
    delay: timedelta,
    now: datetime,
) -> Window:
    """Give the window that the next run would read if it were planned now: history first, then from the watermark.

    Raises:
        DeclarationInvalid: as ``freeze_window`` does.
    """
    is_initial = standing.watermark is None
    return _window(pipeline_id, mode, iterator, is_initial=is_initial, ends_at=now - delay, standing=standing)


def _window(
    pipeline_id: str,
    mode: Incremental,
    iterator: FrozenIterator,
    *,
    is_initial: bool,
    ends_at: datetime,
    standing: Standing,
) -> Window:
    high = floor_to_unit(ends_at, iterator.type, iterator.zone)
    if mode.until is not None:
        high = min(high, floor_to_unit(mode.until, iterator.type, iterator.zone))
    if is_initial:
        high = standing.history_to or high
        low = mode.track_from and floor_to_unit(mode.track_from, iterator.type, iterator.zone)
        if low is not None and low > high:
            raise DeclarationInvalid(
                f"pipeline {pipeline_id!r}: track_from ({mode.track_from}) lies after {high}, "
                "where the initial sync ends; set it to an instant in the past"
            )
        return Window(low, high, includes_null=True)
    if standing.watermark is None:
        raise DeclarationInvalid(f"pipeline {pipeline_id!r} has no watermark; its initial sync comes first")
    return Window(standing.watermark, max(standing.watermark, high))
