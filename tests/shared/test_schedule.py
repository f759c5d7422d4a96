"""What may be declared of schedules, and when the named cases are due."""

import time
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from shared.catalog import Full, Pipeline
from shared.schedule import (
    Coverage,
    Cron,
    Frequency,
    Interval,
    Once,
    OnDemand,
    Schedule,
    cover,
    first_due,
    next_due,
)

DECLARED: TypeAdapter[Schedule] = TypeAdapter(Schedule)
MINUTE = timedelta(minutes=1)


def utc(*parts: int) -> datetime:
    return datetime(*parts, tzinfo=UTC)  # type: ignore[arg-type, misc]  # year, month, day and whatever follows


def interval(frequency: str, start: datetime, end: datetime | None = None) -> Interval:
    return Interval(frequency=Frequency(frequency), start=start, end=end)


def walked(schedule: Schedule, first: datetime, count: int) -> list[datetime]:
    found = [first]
    while len(found) < count and (following := next_due(schedule, found[-1])) is not None:
        found.append(following)
    return found


SEVEN_PM = utc(2023, 11, 15, 19)
NEW_YEAR = utc(2026, 1, 1)


# What may be declared


@pytest.mark.parametrize("said", ["Hourly", "HOURLY", "hourly"])
def test_a_frequency_is_understood_in_any_case(said: str) -> None:
    declared = Interval.model_validate({"frequency": said, "start": "2026-01-31T06:00:00Z"})
    assert declared.frequency is Frequency.HOURLY


@pytest.mark.parametrize(
    ("said", "meant"),
    [
        ("5m", timedelta(minutes=5)),
        ("90s", timedelta(seconds=90)),
        ("1h", timedelta(hours=1)),
        ("1d", timedelta(days=1)),
        ("0s", timedelta(0)),
        ("PT5M", timedelta(minutes=5)),
        ("00:05:00", timedelta(minutes=5)),
        (300, timedelta(minutes=5)),
        (timedelta(minutes=5), timedelta(minutes=5)),
    ],
)
def test_a_delay_may_be_short(said: Any, meant: timedelta) -> None:
    assert OnDemand.model_validate({"delay": said}).delay == meant


@pytest.mark.parametrize("kind", [OnDemand(), Once(), interval("daily", NEW_YEAR), Cron(expression="0 6 * * *")])
def test_a_delay_is_five_minutes_where_none_is_declared(kind: Schedule) -> None:
    assert kind.delay == timedelta(minutes=5)


@pytest.mark.parametrize("wrong", ["-PT1S", "-5m", "5 moments", "", "9999999999d", None, [], -1])
def test_a_delay_is_refused_with_what_was_expected(wrong: Any) -> None:
    with pytest.raises(ValidationError, match=r"delay\n.*expected a duration of zero or more, such as 5m"):
        OnDemand.model_validate({"delay": wrong})


@pytest.mark.parametrize(
    "kind", [{"type": "interval", "frequency": "daily"}, {"type": "cron", "expression": "* * * * *"}]
)
@pytest.mark.parametrize("end", ["2026-01-01T00:00:00Z", "2025-12-31T23:00:00Z", "2026-01-01T01:00:00+01:00"])
def test_an_end_at_or_before_the_start_is_refused(kind: dict[str, str], end: str) -> None:
    with pytest.raises(ValidationError, match="end: expected an instant after start"):
        DECLARED.validate_python({**kind, "start": "2026-01-01T00:00:00Z", "end": end})


@pytest.mark.parametrize("wrong", ["2026-01-31T06:00:00", "2026-01-31", "1926-01-31T06:00:00Z", "3000-01-01T00:00:00Z"])
def test_an_instant_is_refused_without_a_zone_or_far_from_today(wrong: str) -> None:
    with pytest.raises(ValidationError, match="start"):
        Once.model_validate({"start": wrong})


def test_an_interval_has_a_start() -> None:
    with pytest.raises(ValidationError, match=r"start\n"):
        Interval.model_validate({"frequency": "daily"})


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ("", "0 fields"),
        ("* * * *", "4 fields"),
        ("0 0 6 * * *", "6 fields"),
        ("@daily", "1 fields"),
        ("60 * * * *", "bad minute"),
        ("0 24 * * *", "bad hour"),
        ("0 6 32 * *", "bad day-of-month"),
        ("0 6 * 13 *", "bad month"),
        ("0 6 * * MONDAY", "bad day-of-week"),
        ("*/0 * * * *", "bad minute"),
        ("9-5 * * * *", "bad minute"),
        ("0 0 30 2 *", "none of its months has that day"),
        ("0 0 31 4,6,9,11 *", "none of its months has that day"),
        ("0 0 */40 * MON#2", "never fires"),
    ],
)
def test_an_expression_is_refused_with_what_was_expected_and_an_example(wrong: str, said: str) -> None:
    with pytest.raises(ValidationError) as refusal:
        Cron(expression=wrong)
    (found,) = refusal.value.errors()
    assert found["loc"] == ("expression",)
    assert "expected five fields" in found["msg"]
    assert "'30 6 * * MON-FRI'" in found["msg"]
    assert repr(wrong) in found["msg"]
    assert said in found["msg"]


@given(expression=st.text("0123456789 *,-/#LWMONFEB@", max_size=40) | st.text(max_size=300))
def test_whatever_is_declared_as_an_expression_fires_or_is_refused(expression: str) -> None:
    try:
        declared = Cron(expression=expression)
    except ValidationError:
        return
    assert first_due(declared, NEW_YEAR) is not None


@pytest.mark.parametrize(
    "rare", ["0 0 29 2 *", "0 0 */28 2 MON#5", "0 0 L * *", "0 0 LW * *", "0 0 * * FRI#5", "0 0 * * 7L", "0 0 31 2 MON"]
)
def test_a_rare_expression_is_accepted(rare: str) -> None:
    assert first_due(Cron(expression=rare), utc(2089, 1, 1)) is not None


def test_a_cron_that_ends_before_it_could_fire_is_refused() -> None:
    with pytest.raises(ValidationError, match=r"end: expected one that leaves time for '0 0 1 \* \*' to fire"):
        Cron(expression="0 0 1 * *", start=utc(2026, 1, 2), end=utc(2026, 1, 31))
    Cron(expression="0 0 1 * *", start=utc(2026, 1, 2), end=utc(2026, 2, 1))
    Cron(expression="0 0 1 * *", start=utc(2026, 1, 1), end=utc(2026, 1, 2))


SCHEDULES = [
    interval("monthly", utc(2026, 1, 31, 6, 30), utc(2027, 1, 31)),
    Interval(frequency=Frequency.HOURLY, start=SEVEN_PM, delay=timedelta(0)),
    Cron(expression="30 6 * * MON-FRI", start=NEW_YEAR, delay=timedelta(days=1)),
    Cron(expression="*/5 * * * *"),
    Once(start=SEVEN_PM),
    Once(),
    OnDemand(delay=timedelta(seconds=90)),
]


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_a_schedule_survives_the_store_as_part_of_its_pipeline(schedule: Schedule) -> None:
    pipeline = Pipeline(
        id="users",
        name="Users",
        connection_id="lake",
        data_model_id="users",
        feed_id="main",
        sync_mode=Full(),
        schedule=schedule,
    )
    assert Pipeline.model_validate(pipeline.model_dump(mode="json")) == pipeline
    assert Pipeline.model_validate_json(pipeline.model_dump_json()) == pipeline
    assert Pipeline.model_validate(pipeline.model_dump()) == pipeline


def test_the_json_schema_tells_schedules_apart_by_type() -> None:
    declared = Pipeline.model_json_schema()["properties"]["schedule"]
    assert set(declared["discriminator"]["mapping"]) == {"interval", "cron", "once", "on_demand"}
    assert declared["default"] == {"type": "on_demand", "delay": "PT5M"}


def test_a_start_of_another_offset_is_anchored_where_utc_has_it() -> None:
    declared = Interval.model_validate({"frequency": "monthly", "start": "2026-01-31T22:00:00-05:00"})
    assert declared.start == utc(2026, 2, 1, 3)
    assert next_due(declared, declared.start) == utc(2026, 3, 1, 3)


# When it is first due


def test_the_guides_hourly_example_from_7_pm_is_next_due_at_8_pm() -> None:
    hourly = interval("Hourly", SEVEN_PM)
    assert first_due(hourly, SEVEN_PM - MINUTE) == SEVEN_PM
    assert next_due(hourly, SEVEN_PM) == utc(2023, 11, 15, 20)


@pytest.mark.parametrize("schedule", [interval("daily", NEW_YEAR), Once(start=NEW_YEAR)])
def test_a_start_in_the_future_is_waited_for(schedule: Schedule) -> None:
    assert first_due(schedule, NEW_YEAR - timedelta(days=40)) == NEW_YEAR
    assert first_due(schedule, NEW_YEAR) == NEW_YEAR


@pytest.mark.parametrize("schedule", [interval("daily", NEW_YEAR), Once(start=NEW_YEAR), Once()])
def test_without_a_start_to_wait_for_the_first_sync_begins_at_activation(schedule: Schedule) -> None:
    activated = NEW_YEAR + timedelta(days=3, minutes=7)
    assert first_due(schedule, activated) == activated


def test_after_a_late_activation_an_interval_goes_on_from_its_anchor() -> None:
    weekly = interval("weekly", NEW_YEAR)
    activated = NEW_YEAR + timedelta(days=8)
    assert cover(weekly, activated, activated) == Coverage(activated, 0, NEW_YEAR + timedelta(days=14))


def test_a_cron_begins_with_its_first_match_after_activation_and_not_before_its_start() -> None:
    six = "0 6 * * *"
    assert first_due(Cron(expression=six), utc(2026, 1, 1, 6)) == utc(2026, 1, 2, 6)
    assert first_due(Cron(expression=six), utc(2026, 1, 1, 5, 59, 59)) == utc(2026, 1, 1, 6)
    assert first_due(Cron(expression=six, start=utc(2026, 3, 1, 6)), NEW_YEAR) == utc(2026, 3, 1, 6)
    assert first_due(Cron(expression=six, start=utc(2026, 3, 1, 6, 0, 0, 1)), NEW_YEAR) == utc(2026, 3, 2, 6)
    assert first_due(Cron(expression=six, start=utc(2025, 3, 1)), NEW_YEAR) == utc(2026, 1, 1, 6)


def test_what_runs_on_demand_is_never_due_by_itself() -> None:
    assert first_due(OnDemand(), NEW_YEAR) is None
    assert next_due(OnDemand(), NEW_YEAR) is None


def test_once_is_due_one_time() -> None:
    once = Once(start=NEW_YEAR)
    assert next_due(once, NEW_YEAR - MINUTE) == NEW_YEAR
    assert next_due(once, NEW_YEAR) is None
    assert cover(once, NEW_YEAR, NEW_YEAR + timedelta(days=900)) == Coverage(NEW_YEAR, 0, None)
    assert cover(Once(), NEW_YEAR, NEW_YEAR + timedelta(days=900)) == Coverage(NEW_YEAR, 0, None)


@pytest.mark.parametrize(
    "schedule",
    [
        interval("hourly", NEW_YEAR, NEW_YEAR + timedelta(hours=2)),
        Cron(expression="0 * * * *", end=NEW_YEAR + timedelta(hours=2)),
    ],
)
def test_an_occurrence_exactly_at_the_end_still_happens_and_none_after(schedule: Schedule) -> None:
    one, two = NEW_YEAR + timedelta(hours=1), NEW_YEAR + timedelta(hours=2)
    assert next_due(schedule, one) == two
    assert next_due(schedule, two) is None
    assert first_due(schedule, two + MINUTE) is None
    assert cover(schedule, one, two + timedelta(days=900)) == Coverage(two, 1, None)
    assert cover(schedule, one, two - MINUTE) == Coverage(one, 0, two)


def test_an_activation_at_the_end_still_begins() -> None:
    daily = interval("daily", NEW_YEAR, NEW_YEAR + timedelta(hours=30))
    activated = NEW_YEAR + timedelta(hours=30)
    assert first_due(daily, activated) == activated
    assert cover(daily, activated, activated + timedelta(days=3)) == Coverage(activated, 0, None)


# How months and years go


def test_monthly_from_the_31st_falls_on_the_last_day_of_short_months_for_thirty_years() -> None:
    monthly = interval("monthly", utc(2026, 1, 31, 6))
    found = walked(monthly, monthly.start, 361)
    assert found[-1] == utc(2056, 1, 31, 6)
    assert [(one.year, one.month) for one in found[:360]] == [
        (year, month) for year in range(2026, 2056) for month in range(1, 13)
    ]
    assert {(one + timedelta(days=1)).day for one in found} == {1}
    assert {one.timetz() for one in found} == {monthly.start.timetz()}
    assert found[1:3] == [utc(2026, 2, 28, 6), utc(2026, 3, 31, 6)]
    assert found[25] == utc(2028, 2, 29, 6)


def test_monthly_from_29_february_is_on_the_29th_but_in_short_februaries() -> None:
    monthly = interval("monthly", utc(2024, 2, 29))
    found = walked(monthly, monthly.start, 49)
    assert [one for one in found if one.day != 29] == [utc(2025, 2, 28), utc(2026, 2, 28), utc(2027, 2, 28)]
    assert found[48] == utc(2028, 2, 29)
    assert next_due(monthly, utc(2100, 2, 1)) == utc(2100, 2, 28)


@pytest.mark.parametrize("zone", ["UTC", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe"])
@pytest.mark.parametrize("schedule", [interval("hourly", utc(2025, 1, 1)), Cron(expression="0 * * * *")])
def test_daylight_saving_has_no_effect(zone: str, schedule: Schedule) -> None:
    for hour in range(365 * 24):
        asked = utc(2025, 1, 1) + timedelta(hours=hour)
        found = next_due(schedule, asked.astimezone(ZoneInfo(zone)))
        assert found == asked + timedelta(hours=1)
        assert found is not None
        assert found.tzinfo is UTC


def test_a_naive_instant_is_refused() -> None:
    naive = datetime(2026, 1, 1)  # noqa: DTZ001 - that is the point
    for ask in (
        lambda: first_due(OnDemand(), naive),
        lambda: next_due(OnDemand(), naive),
        lambda: cover(OnDemand(), naive, NEW_YEAR),
        lambda: cover(OnDemand(), NEW_YEAR, naive),
    ):
        with pytest.raises(ValueError, match="this one is naive"):
            ask()


# What was missed


def test_ten_missed_years_of_hours_are_covered_at_once() -> None:
    hourly, began = interval("hourly", utc(2016, 1, 1)), time.perf_counter()
    for _ in range(100):
        covered = cover(hourly, hourly.start, utc(2026, 1, 1, 0, 30))
        assert covered == Coverage(NEW_YEAR, 3653 * 24, utc(2026, 1, 1, 1))
    assert time.perf_counter() - began < 1


def test_ten_missed_years_of_minutes_of_a_cron_are_counted_by_days() -> None:
    cron, began = Cron(expression="* * * * *"), time.perf_counter()
    covered = cover(cron, utc(2016, 1, 1), utc(2026, 1, 1, 0, 0, 30))
    assert covered == Coverage(NEW_YEAR, 3653 * 24 * 60, utc(2026, 1, 1, 0, 1))
    assert time.perf_counter() - began < 1


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_nothing_is_due_while_the_clock_stands_before(schedule: Schedule) -> None:
    assert cover(schedule, NEW_YEAR, NEW_YEAR - timedelta(microseconds=1)) is None


def test_a_due_time_off_the_grid_counts_as_an_occurrence() -> None:
    hourly, activated = interval("hourly", NEW_YEAR), NEW_YEAR + timedelta(minutes=50)
    assert cover(hourly, activated, NEW_YEAR + timedelta(minutes=59)) == Coverage(activated, 0, utc(2026, 1, 1, 1))
    assert cover(hourly, activated, utc(2026, 1, 1, 1)) == Coverage(utc(2026, 1, 1, 1), 1, utc(2026, 1, 1, 2))
    assert cover(hourly, activated, utc(2026, 1, 1, 5, 1)) == Coverage(utc(2026, 1, 1, 5), 5, utc(2026, 1, 1, 6))


@pytest.mark.parametrize(
    "schedule", [interval("hourly", NEW_YEAR), Cron(expression="0 * * * *", start=NEW_YEAR), Once(start=NEW_YEAR)]
)
def test_nothing_before_the_start_counts_where_an_edit_moved_it_beyond_what_was_waited_for(schedule: Schedule) -> None:
    due = NEW_YEAR - timedelta(hours=5)
    assert cover(schedule, due, NEW_YEAR - MINUTE) == Coverage(due, 0, NEW_YEAR)
    assert cover(schedule, due, NEW_YEAR) == Coverage(NEW_YEAR, 1, next_due(schedule, NEW_YEAR))
