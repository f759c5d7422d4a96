from datetime import UTC, date, datetime, timedelta, timezone

import pytest

from shared.sql import Bound
from worker.warehouses.snowflake.binding import bind

INSTANT = datetime(2026, 3, 1, 1, 2, 3, 456_789, UTC)
NANOSECONDS = "1772326923456789000"


@pytest.mark.parametrize(
    ("warehouse_type", "bound"),
    [
        ("TIMESTAMP_LTZ(9)", ("TIMESTAMP_LTZ", NANOSECONDS)),
        ("TIMESTAMP_TZ(3)", ("TIMESTAMP_TZ", f"{NANOSECONDS} 1440")),
        ("", ("TIMESTAMP_LTZ", NANOSECONDS)),
    ],
)
def test_an_instant_is_bound_as_its_columns_type(warehouse_type: str, bound: tuple[str, str]) -> None:
    assert bind(Bound(INSTANT, warehouse_type)) == bound
    elsewhere = INSTANT.astimezone(timezone(timedelta(hours=5, minutes=30)))
    assert bind(Bound(elsewhere, warehouse_type)) == bound


@pytest.mark.parametrize("warehouse_type", ["TIMESTAMP_NTZ(9)", ""])
def test_a_local_time_is_bound_without_a_zone(warehouse_type: str) -> None:
    assert bind(Bound(INSTANT.replace(tzinfo=None), warehouse_type)) == ("TIMESTAMP_NTZ", NANOSECONDS)


@pytest.mark.parametrize(
    ("day", "milliseconds"),
    [(date(1970, 1, 2), "86400000"), (date(1969, 12, 31), "-86400000"), (date(9999, 12, 31), "253402214400000")],
)
def test_a_date_is_bound_as_its_midnight(day: date, milliseconds: str) -> None:
    assert bind(Bound(day, "DATE")) == ("DATE", milliseconds)


def test_a_number_is_bound_exactly() -> None:
    assert bind(Bound(2**62 + 1, "NUMBER(38,0)")) == ("FIXED", "4611686018427387905")


@pytest.mark.parametrize("year", [1, 1969, 2286, 9999])
def test_no_microsecond_is_lost_in_any_year(year: int) -> None:
    instant = datetime(year, 12, 31, 23, 59, 59, 999_999, UTC)
    _, text = bind(Bound(instant, "TIMESTAMP_LTZ(6)"))
    assert datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=int(text) // 1000) == instant
