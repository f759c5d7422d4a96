from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

import pyarrow as pa
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from shared.catalog import IteratorType
from shared.columns import JSON, column
from shared.errors import ColumnMissing, IteratorInvalid
from shared.iterator import (
    bound_value,
    find_iterator,
    find_user_columns,
    floor_to_unit,
    instant_of,
    tie_breakers,
)

RESOLVED = [kind for kind in IteratorType if kind is not IteratorType.TIMESTAMP]
ZONES = [
    "UTC",
    "Europe/Berlin",
    "America/New_York",
    "America/Havana",  # repeats the hour after midnight
    "America/St_Johns",  # until 2011, went back at one minute past midnight, into the day before
    "America/Sao_Paulo",  # skipped midnight
    "Australia/Lord_Howe",  # repeats half an hour
    "Pacific/Apia",  # skipped a day
    "Asia/Kathmandu",
    "Africa/Monrovia",  # an offset with seconds
]
instants = st.datetimes(datetime(1971, 1, 1), datetime(2037, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001 - UTC
steps = st.one_of(st.timedeltas(timedelta(0), timedelta(minutes=90)), st.timedeltas(timedelta(0), timedelta(days=400)))
st_johns = datetime(2010, 11, 7, 2, 31, tzinfo=UTC)


@pytest.mark.parametrize("kind", RESOLVED)
@given(instant=instants, step=steps, zone=st.sampled_from(ZONES))
@example(instant=st_johns - timedelta(seconds=30), step=timedelta(minutes=5), zone="America/St_Johns")
@example(instant=datetime(2025, 11, 2, 4, 30, tzinfo=UTC), step=timedelta(minutes=45), zone="America/Havana")
@example(instant=datetime(2025, 10, 26, 0, 30, tzinfo=UTC), step=timedelta(minutes=45), zone="Europe/Berlin")
def test_flooring_goes_down_repeats_as_nothing_and_keeps_the_order(
    kind: IteratorType, instant: datetime, step: timedelta, zone: str
) -> None:
    floored = floor_to_unit(instant, kind, zone)
    assert floored <= instant
    assert floor_to_unit(floored, kind, zone) == floored
    later = floor_to_unit(instant + step, kind, zone)
    assert later >= floored
    assert bound_value(later, kind, zone) >= bound_value(floored, kind, zone)  # type: ignore[operator]  # of one type, as the kind is the same


@given(instant=instants, after=steps, zone=st.sampled_from(ZONES))
@example(instant=datetime(2025, 10, 26, 0, 30, tzinfo=UTC), after=timedelta(minutes=45), zone="Europe/Berlin")
@example(instant=st_johns - timedelta(seconds=30), after=timedelta(minutes=5), zone="America/St_Johns")
def test_no_row_written_later_says_a_local_time_below_the_bound(instant: datetime, after: timedelta, zone: str) -> None:
    kind = IteratorType.TIMESTAMP_NTZ
    bound = bound_value(floor_to_unit(instant, kind, zone), kind, zone)
    written = (instant + after).astimezone(ZoneInfo(zone)).replace(tzinfo=None)
    assert isinstance(bound, datetime)
    assert written >= bound


@given(instant=instants, after=steps, zone=st.sampled_from(ZONES))
@example(instant=st_johns - timedelta(seconds=30), after=timedelta(minutes=5), zone="America/St_Johns")
def test_no_row_written_later_is_dated_below_the_bound(instant: datetime, after: timedelta, zone: str) -> None:
    bound = bound_value(floor_to_unit(instant, IteratorType.DATE, zone), IteratorType.DATE, zone)
    assert isinstance(bound, date)
    assert (instant + after).astimezone(ZoneInfo(zone)).date() >= bound


@pytest.mark.parametrize(
    ("zone", "moment", "today"),
    [
        ("Africa/Cairo", datetime(2026, 4, 23, 21, 30, tzinfo=UTC), date(2026, 4, 23)),  # Midnight is skipped.
        ("America/Sao_Paulo", datetime(2018, 11, 4, 2, 30, tzinfo=UTC), date(2018, 11, 3)),
        ("Pacific/Apia", datetime(2011, 12, 29, 12, tzinfo=UTC), date(2011, 12, 29)),  # The 30th is skipped.
    ],
)
def test_the_day_before_a_skipped_midnight_is_lived_to_its_end(zone: str, moment: datetime, today: date) -> None:
    assert moment.astimezone(ZoneInfo(zone)).date() == today
    assert bound_value(floor_to_unit(moment, IteratorType.DATE, zone), IteratorType.DATE, zone) == today


def test_a_date_window_never_reads_today() -> None:
    noon = datetime(2026, 3, 4, 12, tzinfo=UTC)
    assert bound_value(floor_to_unit(noon, IteratorType.DATE, "UTC"), IteratorType.DATE, "UTC") == date(2026, 3, 4)
    early = datetime(2026, 3, 4, 3, tzinfo=UTC)
    new_york = floor_to_unit(early, IteratorType.DATE, "America/New_York")
    assert new_york == datetime(2026, 3, 3, 5, tzinfo=UTC)
    assert bound_value(new_york, IteratorType.DATE, "America/New_York") == date(2026, 3, 3)


def test_a_bound_inside_a_repeated_hour_moves_to_where_it_first_begins() -> None:
    # Berlin's clocks go from 03:00 back to 02:00 at 01:00 UTC.
    begins = datetime(2025, 10, 26, 0, 0, tzinfo=UTC)
    for minute in (0, 1, 59, 60, 119):
        inside = begins + timedelta(minutes=minute)
        assert floor_to_unit(inside, IteratorType.TIMESTAMP_NTZ, "Europe/Berlin") == begins
    for outside in (begins - timedelta(microseconds=1), begins + timedelta(hours=2)):
        assert floor_to_unit(outside, IteratorType.TIMESTAMP_NTZ, "Europe/Berlin") == outside


def test_a_repeated_hour_does_not_matter_to_a_column_of_instants() -> None:
    inside = datetime(2025, 10, 26, 0, 30, tzinfo=UTC)
    assert floor_to_unit(inside, IteratorType.TIMESTAMP_TZ, "Europe/Berlin") == inside


def test_bounds_are_values_of_the_columns_own_kind() -> None:
    instant = datetime(2026, 7, 1, 12, 0, 0, 5000, tzinfo=UTC)
    assert bound_value(instant, IteratorType.TIMESTAMP_TZ, "Asia/Tokyo") == instant
    assert bound_value(instant, IteratorType.TIMESTAMP_NTZ, "Asia/Tokyo") == datetime(2026, 7, 1, 21, 0, 0, 5000)  # noqa: DTZ001 - local
    assert bound_value(instant, IteratorType.UNIXTIME_MS, "Asia/Tokyo") == 1782907200005
    assert bound_value(instant.replace(microsecond=0), IteratorType.UNIXTIME_S, "Asia/Tokyo") == 1782907200


@pytest.mark.parametrize("kind", [IteratorType.UNIXTIME_S, IteratorType.DATE])
def test_a_bound_that_was_not_floored_is_refused(kind: IteratorType) -> None:
    with pytest.raises(ValueError, match="floor it"):
        bound_value(datetime(2026, 7, 1, 12, 0, 0, 5000, tzinfo=UTC), kind, "UTC")


def test_a_naive_instant_and_an_undecided_type_are_refused() -> None:
    with pytest.raises(ValueError, match="naive"):
        floor_to_unit(datetime(2026, 7, 1), IteratorType.DATE, "UTC")  # noqa: DTZ001 - the point
    with pytest.raises(ValueError, match="decide"):
        floor_to_unit(datetime(2026, 7, 1, tzinfo=UTC), IteratorType.TIMESTAMP, "UTC")


@pytest.mark.parametrize(
    ("arrow_type", "declared", "found"),
    [
        (pa.timestamp("us", "UTC"), IteratorType.TIMESTAMP, IteratorType.TIMESTAMP_TZ),
        (pa.timestamp("ns"), IteratorType.TIMESTAMP, IteratorType.TIMESTAMP_NTZ),
        (pa.timestamp("s"), IteratorType.TIMESTAMP_NTZ, IteratorType.TIMESTAMP_NTZ),
        (pa.date32(), IteratorType.DATE, IteratorType.DATE),
        (pa.date64(), IteratorType.DATE, IteratorType.DATE),
        (pa.int32(), IteratorType.UNIXTIME_S, IteratorType.UNIXTIME_S),
        (pa.uint64(), IteratorType.UNIXTIME_MS, IteratorType.UNIXTIME_MS),
        (pa.decimal128(38, 0), IteratorType.UNIXTIME_MS, IteratorType.UNIXTIME_MS),
    ],
)
def test_a_column_of_the_declared_type_is_found(
    arrow_type: pa.DataType, declared: IteratorType, found: IteratorType
) -> None:
    assert find_iterator(pa.schema([("at", arrow_type)]), "at", declared) == ("at", found)


@pytest.mark.parametrize(
    ("arrow_type", "declared", "cure"),
    [
        (pa.timestamp("us", "UTC"), IteratorType.TIMESTAMP_NTZ, "declare 'timestamp_tz'"),
        (pa.timestamp("us"), IteratorType.TIMESTAMP_TZ, "declare 'timestamp_ntz'"),
        (pa.date32(), IteratorType.TIMESTAMP, "declare 'date'"),
        (pa.timestamp("us"), IteratorType.DATE, "declare 'timestamp_ntz'"),
        (pa.int64(), IteratorType.TIMESTAMP, "declare 'timestamp_unixtime_ms' or 'timestamp_unixtime_s'"),
        (pa.string(), IteratorType.TIMESTAMP, "cast it"),
        (pa.float64(), IteratorType.UNIXTIME_S, "cast it"),
        (pa.decimal128(20, 3), IteratorType.UNIXTIME_S, "cast it"),
    ],
)
def test_a_column_of_another_type_is_refused_with_the_cure(
    arrow_type: pa.DataType, declared: IteratorType, cure: str
) -> None:
    with pytest.raises(IteratorInvalid) as refused:
        find_iterator(pa.schema([("at", arrow_type)]), "at", declared)
    for part in ("'at'", declared.value, str(arrow_type), cure):
        assert part in str(refused.value)


def test_case_is_ignored_where_one_column_is_meant_and_the_exact_spelling_wins() -> None:
    instant = pa.timestamp("us", "UTC")
    assert find_iterator(pa.schema([("UPDATED_AT", instant)]), "updated_at", IteratorType.TIMESTAMP)[0] == "UPDATED_AT"
    both = pa.schema([("At", instant), ("at", instant)])
    assert find_iterator(both, "at", IteratorType.TIMESTAMP)[0] == "at"
    with pytest.raises(ColumnMissing, match="any of At, at"):
        find_iterator(both, "AT", IteratorType.TIMESTAMP)


def test_a_missing_column_is_told_with_the_columns_there_are() -> None:
    with pytest.raises(ColumnMissing, match=r"'updated'.*id, email"):
        find_iterator(pa.schema([("id", pa.int64()), ("email", pa.string())]), "updated", IteratorType.TIMESTAMP)


@pytest.mark.parametrize("kind", RESOLVED)
@given(instant=instants, zone=st.sampled_from(ZONES))
@example(instant=datetime(2025, 10, 26, 0, 30, tzinfo=UTC), zone="Europe/Berlin")
@example(instant=datetime(2026, 4, 24, 5, tzinfo=UTC), zone="Africa/Cairo")
@example(instant=datetime(2011, 12, 30, 12, tzinfo=UTC), zone="Pacific/Apia")
def test_a_bound_means_the_instant_that_it_was_made_of(kind: IteratorType, instant: datetime, zone: str) -> None:
    floored = floor_to_unit(instant, kind, zone)
    assert instant_of(bound_value(floored, kind, zone), kind, zone) == floored


naive = st.datetimes(datetime(1971, 1, 1), datetime(2037, 1, 1))  # noqa: DTZ001 - local
SKIPPED = datetime(2026, 3, 29, 2, 30)  # noqa: DTZ001 - what Berlin's clocks skip
REPEATED = datetime(2025, 10, 26, 2, 30)  # noqa: DTZ001 - what they say twice


@given(local=naive, later=steps, zone=st.sampled_from(ZONES))
@example(local=SKIPPED, later=timedelta(minutes=29), zone="Europe/Berlin")
@example(local=SKIPPED - timedelta(minutes=45), later=timedelta(hours=1), zone="Europe/Berlin")
@example(local=REPEATED, later=timedelta(minutes=45), zone="Europe/Berlin")
@example(local=datetime(2011, 12, 30, 12), later=timedelta(days=1), zone="Pacific/Apia")  # noqa: DTZ001 - local
def test_a_later_value_never_means_an_earlier_instant_nor_one_whose_window_leaves_it_out(
    local: datetime, later: timedelta, zone: str
) -> None:
    for kind, value, next_value in (
        (IteratorType.TIMESTAMP_NTZ, local, local + later),
        (IteratorType.DATE, local.date(), (local + later).date()),
    ):
        instant = instant_of(value, kind, zone)
        assert instant <= instant_of(next_value, kind, zone)
        low = bound_value(floor_to_unit(instant, kind, zone), kind, zone)
        assert low <= value or (kind is IteratorType.DATE and _is_skipped(local.date(), zone))  # type: ignore[operator]  # of one type


def _is_skipped(day: date, zone: str) -> bool:
    noon = datetime.combine(day, time(12), ZoneInfo(zone))
    return noon.astimezone(UTC).astimezone(ZoneInfo(zone)).date() != day


def test_a_local_time_that_comes_twice_is_the_first_and_one_that_is_skipped_is_before_the_change() -> None:
    ntz, berlin = IteratorType.TIMESTAMP_NTZ, "Europe/Berlin"
    assert instant_of(REPEATED, ntz, berlin) == datetime(2025, 10, 26, 0, 30, tzinfo=UTC)
    assert instant_of(SKIPPED, ntz, berlin) == datetime(2026, 3, 29, 1, tzinfo=UTC) - timedelta(microseconds=1)


@pytest.mark.parametrize(
    ("value", "kind", "instant"),
    [
        (datetime(2026, 7, 1, 14, tzinfo=ZoneInfo("Asia/Tokyo")), IteratorType.TIMESTAMP_TZ, "2026-07-01T05:00:00Z"),
        (datetime(2026, 7, 1, 14), IteratorType.TIMESTAMP_NTZ, "2026-07-01T12:00:00Z"),  # noqa: DTZ001 - local
        (date(2026, 7, 1), IteratorType.DATE, "2026-06-30T22:00:00Z"),
        (1782907200, IteratorType.UNIXTIME_S, "2026-07-01T12:00:00Z"),
        (Decimal(1782907200005), IteratorType.UNIXTIME_MS, "2026-07-01T12:00:00.005Z"),
        (-1, IteratorType.UNIXTIME_MS, "1969-12-31T23:59:59.999Z"),
    ],
)
def test_every_kind_of_value_means_an_instant(value: Any, kind: IteratorType, instant: str) -> None:
    assert instant_of(value, kind, "Europe/Berlin") == datetime.fromisoformat(instant)


@pytest.mark.parametrize(
    ("value", "kind", "zone", "year"),
    [
        (date(1, 1, 1), IteratorType.DATE, "Asia/Tokyo", 1),
        (datetime(1, 1, 1), IteratorType.TIMESTAMP_NTZ, "Asia/Tokyo", 1),  # noqa: DTZ001 - local
        (datetime.max, IteratorType.TIMESTAMP_NTZ, "America/New_York", 9999),  # noqa: DTZ901 - local
        (10**15, IteratorType.UNIXTIME_S, "UTC", 9999),
        (Decimal(10) ** 37, IteratorType.UNIXTIME_MS, "UTC", 9999),
        (-(10**15), IteratorType.UNIXTIME_S, "UTC", 1),
    ],
)
def test_what_is_outside_of_the_calendar_is_the_nearest_instant_inside(
    value: Any, kind: IteratorType, zone: str, year: int
) -> None:
    assert instant_of(value, kind, zone).year == year


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        (datetime(2026, 7, 1), IteratorType.TIMESTAMP_TZ),  # noqa: DTZ001 - the point
        (datetime(2026, 7, 1, tzinfo=UTC), IteratorType.TIMESTAMP_NTZ),
        (datetime(2026, 7, 1, tzinfo=UTC), IteratorType.DATE),
        (date(2026, 7, 1), IteratorType.UNIXTIME_S),
        (1.5, IteratorType.UNIXTIME_S),
        (datetime(2026, 7, 1, tzinfo=UTC), IteratorType.TIMESTAMP),
    ],
)
def test_a_value_of_another_kind_is_our_mistake(value: Any, kind: IteratorType) -> None:
    with pytest.raises(ValueError, match=f"a {kind.value} column does not hold"):
        instant_of(value, kind, "UTC")


def test_user_columns_are_found_like_the_iterator_and_each_once() -> None:
    schema = pa.schema([("CUSTOMER_ID", pa.string()), ("Email", pa.string()), ("email", pa.string())])
    assert find_user_columns(schema, ("customer_id", "email", "Customer_Id")) == ("CUSTOMER_ID", "email")
    assert find_user_columns(schema, ()) == ()
    with pytest.raises(ColumnMissing, match=r"one_row_per: column 'mpid' is not in .*CUSTOMER_ID, Email, email"):
        find_user_columns(schema, ("customer_id", "mpid"))
    with pytest.raises(ColumnMissing, match="one_row_per: column 'EMAIL' could be any of Email, email"):
        find_user_columns(schema, ("EMAIL",))


def test_ties_are_broken_by_what_every_warehouse_can_order() -> None:
    schema = pa.schema(
        [
            column("id", pa.int64(), "bigint"),
            column("at", pa.timestamp("us"), "timestamp"),
            column("name", pa.string(), "character varying(20)"),
            column("place", pa.string(), "GEOGRAPHY"),
            column("span", pa.string(), "interval day to second"),
            column("traits", JSON, "VARIANT"),
            column("tags", pa.list_(pa.string()), "ARRAY<STRING>"),
            column("price", pa.decimal128(18, 4), "NUMBER(18,4)"),
            column("raw", pa.binary(), "BYTES"),
        ]
    )
    assert tie_breakers(schema, besides=("at",)) == ("id", "name", "price")
