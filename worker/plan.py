"""Pipeline, standing and clocks to the window of a run (pure).

A window ends ``delay`` before the run's logical time, because rows commit later than they say; it ends on a whole unit
of the iterator, because a later row may still carry the same value; and it never ends ahead of what the warehouse's
own clock allows. What it leaves out, the next window reads.
"""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from itertools import pairwise

from shared.catalog import Incremental
from shared.errors import DeclarationInvalid
from shared.iterator import floor_to_unit
from shared.moments import told_exactly
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
    run reads from the watermark. A window that would end before it begins is empty. A backfill, and a part of history
    that is read again, has its window already; it is moved down to whole units.

    Raises:
        DeclarationInvalid: ``track_from`` lies after the end of the first window.
    """
    if run.window.high is not None:
        return on_whole_units(run.window, iterator)
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


def reads_from(window: Window, mode: Incremental, iterator: FrozenIterator) -> datetime | None:
    """Give where the query of a live run really begins: ``lookback`` before its window, for rows that committed late.

    Never before ``track_from`` and never after the window's own beginning, which stays where it is: it alone decides
    where the watermark moves. On a whole unit also without a lookback: a watermark that was kept when the iterator was
    edited need not be one of the new iterator's.
    """
    if window.low is None:
        return None
    if mode.lookback is None:
        return floor_to_unit(window.low, iterator.type, iterator.zone)
    begins_at = floor_to_unit(window.low - mode.lookback, iterator.type, iterator.zone)
    if mode.track_from is not None:
        begins_at = max(begins_at, floor_to_unit(mode.track_from, iterator.type, iterator.zone))
    return min(begins_at, window.low)


def cut(
    window: Window,
    parts: int,
    iterator: FrozenIterator,
    *,
    begins_at: datetime | None,
    newest_first: bool = False,
) -> tuple[Window, ...]:
    """Cut a window by time into at most ``parts`` that together are exactly it; oldest first, unless said otherwise.

    The parts are about equally long, from the later of ``begins_at`` and the window's own beginning. Each ends on a
    whole unit of the iterator and none is empty, so there are fewer where the time is too short; where it is not known
    or there is none, the window is the only part. The oldest begins where the window does and has the rows without a
    time.

    Args:
        window: What is cut.
        parts: How many there may be, at least 1.
        iterator: Whose units count.
        begins_at: The time of the window's first row; unset where there is none.
        newest_first: Turns the order round.
    """
    ends = [window.high] if window.high is None else _ends(window, window.high, parts, iterator, begins_at)
    bounds = pairwise([window.low, *ends])
    oldest, *others = (replace(window, low=low, high=high) for low, high in bounds)
    in_order = (oldest, *(replace(other, includes_null=False) for other in others))
    return in_order[::-1] if newest_first else in_order


def _ends(
    window: Window, high: datetime, parts: int, iterator: FrozenIterator, begins_at: datetime | None
) -> Sequence[datetime]:
    """Give where the parts end, in order; the last where the window does."""
    known = [instant for instant in (window.low, begins_at) if instant is not None]
    start = max(known, default=high)
    if start >= high:
        return [high]
    wanted = (start + (high - start) * part / parts for part in range(1, parts))
    whole = {floor_to_unit(instant, iterator.type, iterator.zone) for instant in wanted}
    return [*sorted(end for end in whole if start < end < high), high]


def on_whole_units(window: Window, iterator: FrozenIterator) -> Window:
    """Move a window's bounds down to where the iterator can say them."""
    low, high = (
        None if bound is None else floor_to_unit(bound, iterator.type, iterator.zone)
        for bound in (window.low, window.high)
    )
    return Window(low, high, includes_null=window.includes_null)


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
            declared = told_exactly(mode.track_from or low)
            raise DeclarationInvalid(
                f"pipeline {pipeline_id!r}: track_from ({declared}) lies after {told_exactly(high)}, "
                "where the initial sync ends; set it to an instant in the past"
            )
        return Window(low, high, includes_null=True)
    if standing.watermark is None:
        raise DeclarationInvalid(f"pipeline {pipeline_id!r} has no watermark; its initial sync comes first")
    return Window(standing.watermark, max(standing.watermark, high))
