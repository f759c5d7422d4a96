"""Windows: half-open, contiguous, late enough, and whole units of the iterator."""

from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.catalog import Incremental, IteratorType
from shared.errors import DeclarationInvalid
from shared.iterator import bound_value, floor_to_unit
from shared.ledger import Ledger
from shared.run import Lane, Run, RunId, RunKind, RunState, Standing, Window
from shared.snapshot import FrozenIterator
from worker.plan import cut, freeze_window, reads_from

NOON = datetime(2026, 3, 10, 12, tzinfo=UTC)
INSTANTS = st.datetimes(datetime(2024, 1, 1), datetime(2027, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001 - Hypothesis adds the zone
TYPES = [
    IteratorType.TIMESTAMP_TZ,
    IteratorType.TIMESTAMP_NTZ,
    IteratorType.DATE,
    IteratorType.UNIXTIME_MS,
    IteratorType.UNIXTIME_S,
]
ZONES = ["UTC", "America/New_York", "Australia/Lord_Howe"]
CUT_ZONES = [*ZONES, "Europe/Berlin", "Africa/Cairo", "America/Havana", "Pacific/Apia"]


def _run(logical_at: datetime, kind: RunKind = RunKind.MANUAL) -> Run:
    return Run(
        id=RunId(UUID(int=1)),
        pipeline_id="users",
        generation=1,
        kind=kind,
        lane=Lane.LIVE,
        mode="incremental",
        state=RunState.CREATED,
        logical_at=logical_at,
        window=Window(),
        snapshot=None,
        ledger=Ledger(),
        slices_total=0,
        slices_published=0,
        chunks_total=0,
        chunks_done=0,
        reopenings=0,
        error_kind=None,
        error=None,
        created_at=logical_at,
        started_at=None,
        ended_at=None,
    )


def _mode(track_from: datetime | None = None, until: datetime | None = None) -> Incremental:
    return Incremental(
        iterator_field="at", iterator_data_type=IteratorType.TIMESTAMP_TZ, track_from=track_from, until=until
    )


def _freeze(
    logical_at: datetime,
    *,
    kind: RunKind = RunKind.MANUAL,
    standing: Standing | None = None,
    delay: timedelta = timedelta(0),
    warehouse_now: datetime | None = None,
    iterator: FrozenIterator | None = None,
    mode: Incremental | None = None,
) -> Window:
    return freeze_window(
        _run(logical_at, kind),
        mode or _mode(),
        iterator or FrozenIterator(column="at", type=IteratorType.TIMESTAMP_TZ, zone="UTC"),
        standing=standing or Standing(1, watermark=NOON - timedelta(days=1)),
        delay=delay,
        warehouse_now=warehouse_now or logical_at,
    )


def test_a_window_ends_its_delay_before_now() -> None:
    assert _freeze(NOON, delay=timedelta(minutes=5)).high == NOON - timedelta(minutes=5)


def test_a_warehouse_whose_clock_is_behind_ends_the_window_earlier() -> None:
    behind = NOON - timedelta(minutes=10)
    assert _freeze(NOON, delay=timedelta(minutes=5), warehouse_now=behind).high == behind - timedelta(minutes=5)


def test_a_date_iterator_never_reads_today() -> None:
    window = _freeze(NOON, iterator=FrozenIterator(column="at", type=IteratorType.DATE, zone="UTC"))
    assert window.high == datetime(2026, 3, 10, tzinfo=UTC)


def test_the_initial_sync_reads_everything_and_what_has_no_time() -> None:
    assert _freeze(NOON, kind=RunKind.INITIAL, standing=Standing(1)) == Window(None, NOON, includes_null=True)


def test_the_initial_sync_begins_at_track_from_inclusive() -> None:
    begin = NOON - timedelta(days=30)
    assert _freeze(NOON, kind=RunKind.INITIAL, standing=Standing(1), mode=_mode(track_from=begin)).low == begin


def test_an_initial_sync_that_is_planned_again_keeps_t0() -> None:
    standing = Standing(1, watermark=NOON, history_to=NOON - timedelta(hours=2))
    assert _freeze(NOON, kind=RunKind.INITIAL, standing=standing).high == NOON - timedelta(hours=2)


def test_a_track_from_in_the_future_is_refused_by_name() -> None:
    with pytest.raises(DeclarationInvalid, match="track_from"):
        _freeze(NOON, kind=RunKind.INITIAL, standing=Standing(1), mode=_mode(track_from=NOON + timedelta(days=1)))


def test_no_row_at_or_after_until_is_read() -> None:
    until = NOON - timedelta(hours=3)
    assert _freeze(NOON, mode=_mode(until=until)).high == until


def test_later_runs_leave_out_what_has_no_time() -> None:
    assert not _freeze(NOON).includes_null


def test_a_clock_that_went_back_gives_an_empty_window() -> None:
    window = _freeze(NOON - timedelta(days=2))
    assert window.is_empty
    assert window.low == NOON - timedelta(days=1)


@given(
    st.lists(st.tuples(INSTANTS, INSTANTS), min_size=1, max_size=8),
    st.timedeltas(timedelta(0), timedelta(hours=2)),
    st.sampled_from(TYPES),
    st.sampled_from(ZONES),
    INSTANTS,
)
def test_every_instant_is_in_exactly_one_window_whatever_the_clocks_do(
    clocks: list[tuple[datetime, datetime]], delay: timedelta, kind: IteratorType, zone: str, instant: datetime
) -> None:
    iterator = FrozenIterator(column="at", type=kind, zone=zone)
    (first, first_warehouse), *later = clocks
    initial = _freeze(
        first, kind=RunKind.INITIAL, standing=Standing(1), delay=delay, warehouse_now=first_warehouse, iterator=iterator
    )
    windows, watermark = [initial], initial.high
    for logical_at, warehouse_now in later:
        standing = Standing(1, watermark=watermark, history_to=initial.high)
        window = _freeze(logical_at, standing=standing, delay=delay, warehouse_now=warehouse_now, iterator=iterator)
        assert window.low == watermark
        assert window.high is not None
        assert watermark is not None
        assert window.high >= watermark
        assert window.is_empty or window.high <= min(logical_at, warehouse_now) - delay
        windows.append(window)
        watermark = window.high
    assert watermark is not None
    inside = [w for w in windows if (w.low is None or w.low <= instant) and w.high is not None and instant < w.high]
    assert len(inside) == (1 if instant < watermark else 0)


@given(INSTANTS, INSTANTS, st.sampled_from(ZONES), st.timedeltas(timedelta(0), timedelta(hours=30)))
def test_a_date_iterator_never_reads_the_day_that_its_zone_still_lives_through(
    logical_at: datetime, warehouse_now: datetime, zone: str, delay: timedelta
) -> None:
    iterator = FrozenIterator(column="at", type=IteratorType.DATE, zone=zone)
    window = _freeze(
        logical_at,
        kind=RunKind.INITIAL,
        standing=Standing(1),
        delay=delay,
        warehouse_now=warehouse_now,
        iterator=iterator,
    )
    assert window.high is not None
    first_day_not_read = bound_value(window.high, IteratorType.DATE, zone)
    assert isinstance(first_day_not_read, date)
    assert first_day_not_read <= (min(logical_at, warehouse_now) - delay).astimezone(ZoneInfo(zone)).date()


@given(st.lists(INSTANTS, min_size=1, max_size=8), INSTANTS, st.sampled_from(TYPES), st.sampled_from(ZONES))
def test_whatever_the_clocks_do_nothing_at_or_after_until_is_read_and_then_windows_are_empty(
    clocks: list[datetime], until: datetime, kind: IteratorType, zone: str
) -> None:
    iterator = FrozenIterator(column="at", type=kind, zone=zone)
    standing = Standing(1)
    for logical_at in clocks:
        run_kind = RunKind.MANUAL if standing.watermark else RunKind.INITIAL
        window = _freeze(logical_at, kind=run_kind, standing=standing, iterator=iterator, mode=_mode(until=until))
        assert window.high is not None
        assert window.high <= until
        if standing.watermark == floor_to_unit(until, kind, zone):
            assert window.is_empty
        standing = Standing(1, watermark=window.high, history_to=standing.history_to or window.high)


@given(INSTANTS, st.sampled_from(TYPES), st.sampled_from(ZONES))
def test_track_from_is_read_itself_and_no_more_than_its_unit_before_it(
    track_from: datetime, kind: IteratorType, zone: str
) -> None:
    window = _freeze(
        track_from + timedelta(days=3),
        kind=RunKind.INITIAL,
        standing=Standing(1),
        iterator=FrozenIterator(column="at", type=kind, zone=zone),
        mode=_mode(track_from=track_from),
    )
    assert window.low is not None
    assert timedelta(0) <= track_from - window.low <= timedelta(hours=26)


def test_a_live_run_without_a_watermark_is_refused() -> None:
    with pytest.raises(DeclarationInvalid, match="its initial sync comes first"):
        _freeze(NOON, standing=Standing(1))


def _iterator(kind: IteratorType = IteratorType.TIMESTAMP_TZ, zone: str = "UTC") -> FrozenIterator:
    return FrozenIterator(column="at", type=kind, zone=zone)


def _looking_back(lookback: timedelta | None, track_from: datetime | None = None) -> Incremental:
    return _mode(track_from).model_copy(update={"lookback": lookback})


def test_a_query_begins_its_lookback_below_the_window() -> None:
    window, day = Window(NOON, NOON + timedelta(hours=1)), timedelta(days=1)
    assert reads_from(window, _looking_back(day), _iterator()) == NOON - day
    assert reads_from(window, _looking_back(None), _iterator()) == NOON
    assert reads_from(Window(high=NOON), _looking_back(day), _iterator()) is None


def test_looking_back_ends_at_track_from() -> None:
    window, track_from = Window(NOON, NOON), NOON - timedelta(hours=3)
    assert reads_from(window, _looking_back(timedelta(days=1), track_from), _iterator()) == track_from
    beyond = NOON + timedelta(days=1)
    assert reads_from(window, _looking_back(timedelta(days=1), beyond), _iterator()) == NOON


def test_looking_back_over_dates_begins_with_a_whole_day() -> None:
    midnight = datetime(2026, 3, 10, tzinfo=UTC)
    begins_at = reads_from(Window(midnight, NOON), _looking_back(timedelta(hours=1)), _iterator(IteratorType.DATE))
    assert begins_at == midnight - timedelta(days=1)


@given(
    st.sampled_from(TYPES),
    st.sampled_from(CUT_ZONES),
    INSTANTS,
    st.timedeltas(timedelta(microseconds=1), timedelta(days=30)),
    st.none() | INSTANTS,
)
def test_a_query_never_begins_after_its_window_nor_later_than_the_lookback_asks(
    kind: IteratorType, zone: str, instant: datetime, lookback: timedelta, track_from: datetime | None
) -> None:
    low = floor_to_unit(instant, kind, zone)
    begins_at = reads_from(Window(low, low), _looking_back(lookback, track_from), _iterator(kind, zone))
    assert begins_at is not None
    assert begins_at <= low
    assert begins_at <= max(low - lookback, track_from or low - lookback)
    assert begins_at == low or track_from is None or begins_at >= floor_to_unit(track_from, kind, zone)
    assert floor_to_unit(begins_at, kind, zone) == begins_at


def _inside(window: Window, value: Any, iterator: FrozenIterator) -> bool:
    """Say whether a query over the window reads a value, as the warehouse compares them."""
    if value is None:
        return window.includes_null
    low, high = (
        None if bound is None else bound_value(bound, iterator.type, iterator.zone)
        for bound in (window.low, window.high)
    )
    return (low is None or low <= value) and (high is None or value < high)


def _said(instant: datetime, iterator: FrozenIterator) -> Any:
    """Give the value that a row written at an instant has, which may be no whole unit."""
    local = instant.astimezone(ZoneInfo(iterator.zone))
    match iterator.type:
        case IteratorType.DATE:
            return local.date()
        case IteratorType.TIMESTAMP_NTZ:
            return local.replace(tzinfo=None, fold=0)
        case IteratorType.UNIXTIME_S:
            return int(instant.timestamp() // 1)
        case IteratorType.UNIXTIME_MS:
            return (instant - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(milliseconds=1)
        case _:
            return instant


LENGTHS = st.one_of(
    st.timedeltas(timedelta(0), timedelta(seconds=2)),
    st.timedeltas(timedelta(0), timedelta(days=3)),
    st.timedeltas(timedelta(0), timedelta(days=800)),
)


@given(st.data(), st.sampled_from(TYPES), st.sampled_from(CUT_ZONES), st.integers(1, 30), st.booleans())
def test_every_row_of_a_window_is_in_exactly_one_of_its_parts(
    data: st.DataObject, kind: IteratorType, zone: str, parts: int, includes_null: bool
) -> None:
    iterator = _iterator(kind, zone)
    first, length = data.draw(INSTANTS), data.draw(LENGTHS)
    low, high = (floor_to_unit(instant, kind, zone) for instant in (first, first + length))
    window = Window(data.draw(st.sampled_from([None, low])), high, includes_null=includes_null)
    begins_at = data.draw(st.none() | st.just(first) | INSTANTS)

    found = cut(window, parts, iterator, begins_at=begins_at)

    assert 1 <= len(found) <= parts
    assert (found[0].low, found[-1].high) == (window.low, window.high)
    assert all(earlier.high == later.low for earlier, later in pairwise(found))
    assert [part.includes_null for part in found] == [includes_null] + [False] * (len(found) - 1)
    assert len(found) == 1 or not any(part.low == part.high for part in found)
    values = [_said(first + length * data.draw(st.floats(-0.5, 1.5)), iterator) for _ in range(5)]
    bounds = [bound_value(part.high, kind, zone) for part in found if part.high is not None]
    for value in (None, *values, *bounds):
        inside = [part for part in found if _inside(part, value, iterator)]
        assert len(inside) == (1 if _inside(window, value, iterator) else 0)
    assert cut(window, parts, iterator, begins_at=begins_at, newest_first=True) == found[::-1]


def test_a_window_is_cut_into_parts_of_one_length() -> None:
    begins_at = NOON - timedelta(days=10)
    parts = cut(Window(high=NOON, includes_null=True), 5, _iterator(), begins_at=begins_at)
    ends = [begins_at + timedelta(days=days) for days in (2, 4, 6, 8, 10)]
    assert [part.high for part in parts] == ends
    assert [part.low for part in parts] == [None, *ends[:-1]]


def test_time_before_the_first_row_is_no_part_of_its_own() -> None:
    begins_at, low = NOON - timedelta(days=10), NOON - timedelta(days=4000)
    parts = cut(Window(low, NOON), 2, _iterator(), begins_at=begins_at)
    middle = NOON - timedelta(days=5)
    assert parts == (Window(low, middle), Window(middle, NOON))


def test_days_are_not_cut() -> None:
    midnight = datetime(2026, 3, 10, tzinfo=UTC)
    window = Window(midnight - timedelta(days=3), midnight)
    parts = cut(window, 1000, _iterator(IteratorType.DATE), begins_at=None)
    assert [part.high for part in parts] == [midnight - timedelta(days=days) for days in (2, 1, 0)]


@pytest.mark.parametrize(
    "window", [Window(), Window(low=NOON), Window(high=NOON, includes_null=True), Window(NOON, NOON)]
)
def test_what_has_no_time_to_be_cut_by_is_one_part(window: Window) -> None:
    assert cut(window, 7, _iterator(), begins_at=None) == (window,)
    assert cut(window, 7, _iterator(), begins_at=NOON + timedelta(days=1)) == (window,)


def test_a_query_begins_on_a_whole_unit_of_an_iterator_that_was_edited() -> None:
    day = datetime(2024, 5, 3, tzinfo=UTC)
    window = Window(day + timedelta(hours=4, minutes=5), day + timedelta(days=1))
    mode = Incremental(iterator_field="day", iterator_data_type=IteratorType.DATE)
    iterator = FrozenIterator(column="day", type=IteratorType.DATE, zone="UTC")
    assert reads_from(window, mode, iterator) == day
