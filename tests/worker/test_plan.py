"""Windows: half-open, contiguous, late enough, and whole units of the iterator."""

from datetime import UTC, date, datetime, timedelta
from uuid import UUID
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.catalog import Incremental, IteratorType
from shared.errors import DeclarationInvalid
from shared.iterator import bound_value, floor_to_unit
from shared.run import Lane, Ledger, Run, RunId, RunKind, RunState, Standing, Window
from shared.snapshot import FrozenIterator
from worker.plan import freeze_window

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
