"""An iterator column says when each row changed, as windows understand it."""

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.catalog import IteratorType
from shared.iterator import bound_value, floor_to_unit, instant_of
from shared.snapshot import FrozenIterator
from worker.instants import UNKNOWN, instants_of, ticks, to_datetimes

ZONES = ("UTC", "Europe/Berlin", "America/St_Johns", "America/Santiago", "Asia/Kathmandu", "Pacific/Apia")
ARROW = {
    IteratorType.TIMESTAMP_TZ: pa.timestamp("us", "UTC"),
    IteratorType.TIMESTAMP_NTZ: pa.timestamp("us"),
    IteratorType.DATE: pa.date32(),
    IteratorType.UNIXTIME_MS: pa.int64(),
    IteratorType.UNIXTIME_S: pa.int64(),
}
MOMENTS = st.datetimes(datetime(1975, 1, 1), datetime(2100, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001 - Hypothesis


def iterator(kind: IteratorType, zone: str = "UTC") -> FrozenIterator:
    return FrozenIterator(column="changed_at", type=kind, zone=zone)


def column(values: list[Any], arrow_type: Any) -> Any:
    return pa.chunked_array([pa.array(values, arrow_type)])


@settings(deadline=None)
@given(st.lists(MOMENTS, min_size=1, max_size=8), st.sampled_from(sorted(ARROW)), st.sampled_from(ZONES))
def test_a_row_at_a_windows_bound_has_the_bounds_instant(
    moments: list[datetime], kind: IteratorType, zone: str
) -> None:
    bounds = [floor_to_unit(moment, kind, zone) for moment in moments]
    values = [bound_value(bound, kind, zone) for bound in bounds]
    found = instants_of(column([*values, None], ARROW[kind]), iterator(kind, zone))
    assert to_datetimes(found[:-1]) == bounds
    assert found[-1] == UNKNOWN


@pytest.mark.parametrize(
    ("arrow_type", "count", "expected"),
    [
        (pa.timestamp("s", "UTC"), 7, 7_000_000),
        (pa.timestamp("ms", "UTC"), 7_001, 7_001_000),
        (pa.timestamp("ns", "UTC"), 7_000_001_999, 7_000_001),
        (pa.timestamp("ns", "UTC"), -1, -1),
        (pa.timestamp("us", "Asia/Tokyo"), 7, 7),
    ],
)
def test_every_unit_of_a_timestamp_becomes_microseconds(arrow_type: Any, count: int, expected: int) -> None:
    values = pa.array([count], pa.int64()).cast(arrow_type)
    assert instants_of(pa.chunked_array([values]), iterator(IteratorType.TIMESTAMP_TZ)).tolist() == [expected]


@pytest.mark.parametrize("arrow_type", [pa.int32(), pa.uint64(), pa.decimal128(38, 0), pa.decimal256(60, 0)])
def test_every_type_of_a_number_counts_seconds(arrow_type: Any) -> None:
    values = [Decimal(7) if pa.types.is_decimal(arrow_type) else 7, None]
    found = instants_of(column(values, arrow_type), iterator(IteratorType.UNIXTIME_S))
    assert found.tolist() == [7_000_000, UNKNOWN]


@pytest.mark.parametrize(
    ("arrow_type", "value"),
    [
        (pa.int64(), 2**63 - 1),
        (pa.uint64(), 2**64 - 1),
        (pa.decimal128(38, 0), Decimal(10**37)),
        (pa.timestamp("s"), 2**55),
        (pa.date32(), 2**31 - 1),
    ],
)
def test_what_no_calendar_can_say_is_newer_than_all_that_one_can(arrow_type: Any, value: Any) -> None:
    kind = {"timestamp[s]": IteratorType.TIMESTAMP_NTZ, "date32[day]": IteratorType.DATE}
    found = instants_of(
        pa.chunked_array([pa.array([value], pa.int64()).cast(arrow_type)])
        if pa.types.is_temporal(arrow_type) and not pa.types.is_date(arrow_type)
        else pa.chunked_array([pa.array([value], pa.int32()).cast(arrow_type)])
        if pa.types.is_date(arrow_type)
        else column([value], arrow_type),
        iterator(kind.get(str(arrow_type), IteratorType.UNIXTIME_S), "Asia/Tokyo"),
    )
    assert to_datetimes(found)[0].year >= 9998


def test_a_repeated_hour_counts_as_its_first_time() -> None:
    walls = [datetime(2024, 10, 27, 2, 30), datetime(2024, 10, 27, 3, 0)]  # noqa: DTZ001 - local times
    found = instants_of(column(walls, pa.timestamp("us")), iterator(IteratorType.TIMESTAMP_NTZ, "Europe/Berlin"))
    assert to_datetimes(found) == [
        datetime(2024, 10, 27, 0, 30, tzinfo=UTC),
        datetime(2024, 10, 27, 2, 0, tzinfo=UTC),
    ]


def test_dictionaries_several_pieces_and_no_rows_are_read_alike() -> None:
    days = pa.array([date(2024, 5, 1), None, date(2024, 5, 2)], pa.date32())
    pieces = pa.chunked_array([days.dictionary_encode(), days.dictionary_encode().slice(0, 0)])
    found = instants_of(pieces, iterator(IteratorType.DATE))
    first = ticks(datetime(2024, 5, 1, tzinfo=UTC))
    assert found.tolist() == [first, UNKNOWN, first + timedelta(days=1) // timedelta(microseconds=1)]
    empty = instants_of(pa.chunked_array([], pa.date32()), iterator(IteratorType.DATE))
    assert empty.dtype == np.int64
    assert empty.size == 0


def test_an_iterator_that_is_not_decided_is_refused() -> None:
    with pytest.raises(ValueError, match="decided"):
        instants_of(column([1], pa.int64()), iterator(IteratorType.TIMESTAMP))


@pytest.mark.parametrize(
    ("day", "zone"),
    [
        (date(2026, 4, 24), "Africa/Cairo"),  # Its clocks skip midnight.
        (date(2018, 11, 4), "America/Sao_Paulo"),
        (date(2024, 11, 3), "America/Havana"),  # They say it twice.
        (date(2024, 5, 1), "Europe/Berlin"),
    ],
)
def test_a_date_is_where_a_window_over_dates_would_begin(day: date, zone: str) -> None:
    days = pa.chunked_array([pa.array([day], pa.date32())])
    found = instants_of(days, iterator(IteratorType.DATE, zone))
    assert found.tolist() == [ticks(instant_of(day, IteratorType.DATE, zone))]
