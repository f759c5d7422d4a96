"""A pipeline is stale when it has not read on as its schedule promised, and only then."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from shared.alerts import Mark
from worker.staleness import stale, stale_at

HOUR, DAY = timedelta(hours=1), timedelta(days=1)
FRIDAY = datetime(2026, 5, 1, 6, 30, tzinfo=UTC)
HOURLY = {"type": "interval", "frequency": "hourly", "start": "2026-01-01T00:30:00Z", "delay": "PT5M"}
DAILY = {**HOURLY, "frequency": "daily", "start": "2026-01-01T06:30:00Z"}
QUARTERS = {"type": "cron", "expression": "*/15 * * * *", "delay": "PT5M"}
WEEKDAYS = {"type": "cron", "expression": "30 6 * * MON-FRI", "delay": "PT5M"}
ON_DEMAND = {"type": "on_demand", "delay": "PT5M"}
FULL = {"type": "full"}
INCREMENTAL = {"type": "incremental", "iterator_field": "changed_at", "iterator_data_type": "timestamp_tz"}


def mark(schedule: dict[str, Any], read_to: datetime | None = FRIDAY, **more: Any) -> Mark:
    usual: dict[str, Any] = {"sync_mode": FULL, "begun_at": FRIDAY - 30 * DAY, "next_due_at": FRIDAY + HOUR}
    return Mark("people", "People", schedule, **(usual | more | {"read_to": read_to}))


@pytest.mark.parametrize(
    ("schedule", "later"), [(HOURLY, 3 * HOUR), (DAILY, 3 * DAY), (QUARTERS, HOUR), (WEEKDAYS, 5 * DAY)]
)
def test_three_occurrences_may_pass_and_at_least_an_hour(schedule: dict[str, Any], later: timedelta) -> None:
    assert stale_at(mark(schedule)) == FRIDAY + later


def test_a_watermark_lies_a_delay_before_the_occurrence_that_it_stands_for() -> None:
    watermark = FRIDAY - timedelta(minutes=5)
    assert stale_at(mark(HOURLY, watermark, sync_mode=INCREMENTAL)) == FRIDAY + 3 * HOUR


def test_a_date_iterator_may_lie_a_day_further_back() -> None:
    dates = {**INCREMENTAL, "iterator_data_type": "date"}
    midnight = FRIDAY.replace(hour=0, minute=0)
    assert stale_at(mark(DAILY, midnight, sync_mode=dates)) == FRIDAY + 3 * DAY


def test_a_limit_of_its_own_takes_the_place_of_its_schedules() -> None:
    assert stale_at(mark(DAILY, stale_after="PT10M")) == FRIDAY + timedelta(minutes=10)
    assert stale_at(mark(ON_DEMAND, stale_after="P7D")) == FRIDAY + 7 * DAY


def test_what_is_triggered_or_over_is_never_stale() -> None:
    assert stale_at(mark(ON_DEMAND)) is None
    assert stale_at(mark(HOURLY, next_due_at=None)) is None
    assert stale_at(mark(HOURLY, sync_mode={**INCREMENTAL, "until": FRIDAY.isoformat()})) is None


def test_a_pause_does_not_count() -> None:
    resumed = FRIDAY + 10 * DAY
    assert stale_at(mark(DAILY, begun_at=resumed)) == resumed + 3 * DAY
    assert stale_at(mark(DAILY, None, begun_at=resumed)) == resumed + 3 * DAY


def test_what_cannot_be_read_keeps_no_other_from_being_judged() -> None:
    found = stale([mark({"type": "of the future"}), mark(HOURLY)], FRIDAY + 3 * HOUR)
    assert [one.subject for one in found] == ["people"]
    assert "read up to 2026-05-01 06:30:00 UTC; it should have read on by 2026-05-01 09:30:00 UTC" in found[0].sentence
    assert stale([mark(HOURLY)], FRIDAY + 3 * HOUR - timedelta(seconds=1)) == []
