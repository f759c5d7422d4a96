"""Values as they are sent, against Python's own idea of them."""

from datetime import UTC, date, datetime, time, timedelta
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.warehouses.redshift import values

SINCE = datetime(2000, 1, 1, tzinfo=UTC)


@given(st.lists(st.none() | st.dates()))
def test_a_date_is_what_its_text_says(dates: list[date | None]) -> None:
    texts = [None if day is None else day.isoformat() for day in dates]
    assert values.dates(texts, pa.date32()).to_pylist() == dates
    # Beside a date that Arrow cannot read, all of them take the long way.
    assert values.dates([*texts, "10000-01-01"], pa.date32())[:-1].to_pylist() == dates


@pytest.mark.parametrize(
    ("text", "days"),
    [("0001-01-01", -719_162), ("0001-12-31 BC", -719_163), ("0001-01-01 BC", -719_528), ("4713-01-01 BC", -2_440_550)],
)
def test_dates_before_the_first_year_go_on_counting(text: str, days: int) -> None:
    assert values.dates([text, "10000-01-01"], pa.date32()).cast(pa.int32()).to_pylist() == [days, 2_932_897]


@given(st.lists(st.none() | st.times()))
def test_a_time_is_what_its_text_says(times: list[time | None]) -> None:
    texts = [None if at is None else at.isoformat() for at in times]
    assert values.times(texts, pa.time64("us")).to_pylist() == times


@given(st.lists(st.none() | st.datetimes(timezones=st.just(UTC))))
def test_a_timestamp_is_what_its_count_says(instants: list[datetime | None]) -> None:
    counts = [None if at is None else (at - SINCE) // timedelta(microseconds=1) for at in instants]
    assert values.timestamps(counts, pa.timestamp("us", "UTC")).to_pylist() == instants


@pytest.mark.parametrize(
    ("make", "received", "arrow_type"),
    [
        (values.numbers, "NaN", pa.decimal128(18, 4)),
        (values.numbers, "12345", pa.decimal128(4, 0)),
        (values.dates, "tomorrow", pa.date32()),
        (values.times, "noon", pa.time64("us")),
        (values.bytes_of_hex, "xy", pa.binary()),
    ],
)
def test_what_does_not_fit_is_an_error_of_a_kind_that_is_translated(make: Any, received: str, arrow_type: Any) -> None:
    with pytest.raises((pa.ArrowException, ValueError, LookupError)):
        make([received], arrow_type)
