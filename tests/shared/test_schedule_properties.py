"""What holds for every schedule, whenever it is activated and however the clock runs."""

from calendar import monthrange
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import pairwise

from hypothesis import example, given
from hypothesis import strategies as st

from shared.schedule import Cron, Frequency, Interval, Once, OnDemand, Schedule, cover, first_due, next_due

TICK = timedelta(microseconds=1)
DAY = timedelta(days=1)
ABOUT = {
    Frequency.HOURLY: timedelta(hours=1),
    Frequency.DAILY: DAY,
    Frequency.WEEKLY: timedelta(weeks=1),
    Frequency.MONTHLY: timedelta(days=28),
}


def instants(low: int = 1996, high: int = 2105) -> st.SearchStrategy[datetime]:
    """Any instant, and often a whole hour of a month's last days, where calendars are difficult."""
    anywhere = st.datetimes(datetime(low, 1, 1), datetime(high, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001 - UTC
    awkward = st.builds(
        lambda year, month, back, hour: datetime(year, month, monthrange(year, month)[1] - back, hour, tzinfo=UTC),
        st.integers(low, high - 1),
        st.integers(1, 12),
        st.integers(0, 3),
        st.integers(0, 23),
    )
    return anywhere | awkward


@dataclass(frozen=True)
class Field:
    """One field of an expression, and the numbers it means."""

    text: str
    means: tuple[int, ...]


def fields(low: int, high: int, named: int | None = None) -> st.SearchStrategy[Field]:
    def of(numbers: list[int]) -> Field:
        return Field(",".join(map(str, numbers)), tuple(sorted(numbers)))

    def stepping(step: int) -> Field:
        return Field("*" if step == 1 else f"*/{step}", tuple(range(low, high + 1, step)))

    some = st.lists(st.integers(low, named or high), min_size=1, max_size=4, unique=True).map(of)
    return some | st.integers(1, high // 2).map(stepping)


@dataclass(frozen=True)
class Said:
    """A cron expression and, said another way, when it fires."""

    minute: Field
    hour: Field
    day: Field
    month: Field
    weekday: Field

    @property
    def expression(self) -> str:
        return " ".join(part.text for part in (self.minute, self.hour, self.day, self.month, self.weekday))

    def fires_on(self, instant: datetime) -> bool:
        day, weekday = instant.day in self.day.means, instant.isoweekday() % 7 in self.weekday.means
        either = "*" not in self.day.text + self.weekday.text
        return instant.month in self.month.means and ((day or weekday) if either else (day and weekday))

    def between(self, after: datetime, until: datetime) -> list[datetime]:
        midnight = after.replace(hour=0, minute=0, second=0, microsecond=0)
        fired = [
            day + timedelta(hours=hour, minutes=minute)
            for days in range((until - midnight).days + 1)
            if self.fires_on(day := midnight + days * DAY)
            for hour in self.hour.means
            for minute in self.minute.means
        ]
        return [one for one in fired if after < one <= until]


# No day beyond the 28th is named, so that every expression fires.
said = st.builds(Said, fields(0, 59), fields(0, 23), fields(1, 31, named=28), fields(1, 12), fields(0, 6))


@st.composite
def intervals(draw: st.DrawFn) -> Interval:
    start, frequency = draw(instants()), draw(st.sampled_from(Frequency))
    whole = st.integers(1, 120).map(lambda times: times * ABOUT[frequency])
    length = draw(st.none() | whole | st.timedeltas(TICK, 200 * ABOUT[frequency]))
    return Interval(frequency=frequency, start=start, end=None if length is None else start + length)


@st.composite
def crons(draw: st.DrawFn) -> Cron:
    endless = Cron(expression=draw(said).expression, start=draw(st.none() | instants()))
    if endless.start is None or (fires := first_due(endless, endless.start - TICK)) is None:
        return endless
    length = draw(st.none() | st.integers(1, 4000).map(lambda days: days * DAY) | st.timedeltas(TICK, 4000 * DAY))
    end = None if length is None else fires + length
    return Cron(expression=endless.expression, start=endless.start, end=end)


schedules: st.SearchStrategy[Schedule] = (
    intervals() | crons() | st.builds(Once, start=st.none() | instants()) | st.builds(OnDemand)
)


def walk(schedule: Schedule, first: datetime | None, limit: int) -> list[datetime]:
    found: list[datetime] = []
    while first is not None and len(found) < limit:
        found.append(first)
        first = next_due(schedule, first)
    return found


def end_of(schedule: Schedule) -> datetime | None:
    return schedule.end if isinstance(schedule, Interval | Cron) else None


@given(schedule=schedules, activated=instants())
def test_occurrences_increase_strictly_begin_after_activation_and_respect_the_end(
    schedule: Schedule, activated: datetime
) -> None:
    found = walk(schedule, first_due(schedule, activated), 60)
    end = end_of(schedule)
    assert all(earlier < later for earlier, later in pairwise(found))
    assert all(one >= activated for one in found)
    assert all(end is None or one <= end for one in found)
    assert all(one.tzinfo is UTC for one in found)


@given(interval=intervals(), activated=instants())
@example(
    interval=Interval(frequency=Frequency.MONTHLY, start=datetime(2024, 2, 29, tzinfo=UTC)),
    activated=datetime(2099, 12, 31, tzinfo=UTC),
)
def test_every_occurrence_is_a_whole_number_of_periods_from_the_anchor(interval: Interval, activated: datetime) -> None:
    found = walk(interval, next_due(interval, activated), 60)
    for one in found:
        if interval.frequency is Frequency.MONTHLY:
            assert one.day == min(interval.start.day, monthrange(one.year, one.month)[1])
            assert one.timetz() == interval.start.timetz()
        else:
            assert (one - interval.start) % ABOUT[interval.frequency] == timedelta(0)
        assert one >= interval.start
    months = [one.year * 12 + one.month for one in found]
    steps = {later - earlier for earlier, later in pairwise(months)}
    assert interval.frequency is not Frequency.MONTHLY or steps <= {1}


@given(interval=intervals(), after=instants())
def test_no_occurrence_lies_between_an_instant_and_the_next(interval: Interval, after: datetime) -> None:
    following = next_due(interval, after)
    for before in (after, *(after + share * ABOUT[interval.frequency] for share in (0.2, 0.5, 0.9))):
        if following is not None and before < following:
            assert next_due(interval, before) == following
    if following is not None:
        assert next_due(interval, following - TICK) == following
        assert interval.start == following or following - after <= timedelta(days=31)


@given(cron=said, after=instants(), days=st.integers(0, 15), rest=st.timedeltas(timedelta(0), DAY))
def test_a_cron_fires_when_its_fields_say_and_at_no_other_minute(
    cron: Said, after: datetime, days: int, rest: timedelta
) -> None:
    until = after + days * DAY + rest
    expected, schedule = cron.between(after, until), Cron(expression=cron.expression)
    found = walk(schedule, next_due(schedule, after), 30)
    assert [one for one in found if one <= until] == expected[:30]
    covered = cover(schedule, after, until)
    assert covered is not None
    assert (covered.due_at, covered.missed) == (expected[-1] if expected else after, len(expected))


@given(data=st.data(), schedule=schedules, activated=instants())
def test_covering_in_any_jumps_of_the_clock_gives_every_occurrence_once(
    data: st.DataObject, schedule: Schedule, activated: datetime
) -> None:
    waited_for = first_due(schedule, activated)
    one_by_one = walk(schedule, waited_for, 400)
    position, clock = 0, activated
    for _ in range(8):
        if waited_for is None:
            break
        # Somewhere among the occurrences that were walked, the present one and those before it included.
        near = data.draw(st.sampled_from(one_by_one[max(0, position - 3) : -1] or one_by_one))
        clock = near + data.draw(st.sampled_from([-TICK, timedelta(0), TICK]) | st.timedeltas(-DAY, DAY))
        if len(one_by_one) == 400 and clock >= one_by_one[-1]:
            break
        covered = cover(schedule, waited_for, clock)
        if clock < waited_for:
            assert covered is None
            continue
        assert covered is not None
        passed = one_by_one[position : position + covered.missed + 1]
        assert len(passed) == covered.missed + 1
        assert passed[0] == waited_for
        assert passed[-1] == covered.due_at <= clock
        position += len(passed)
        waited_for = covered.next_due_at
        assert waited_for == (one_by_one[position] if position < len(one_by_one) else None)
        assert waited_for is None or waited_for > clock


@given(
    schedule=schedules,
    due=instants(),
    first=st.timedeltas(timedelta(0), 4000 * DAY),
    then=st.timedeltas(timedelta(0), 4000 * DAY),
)
def test_covering_in_two_jumps_counts_what_covering_in_one_does(
    schedule: Schedule, due: datetime, first: timedelta, then: timedelta
) -> None:
    at_once, one = cover(schedule, due, due + first + then), cover(schedule, due, due + first)
    assert at_once is not None
    assert one is not None
    if one.next_due_at is None or (two := cover(schedule, one.next_due_at, due + first + then)) is None:
        assert one == at_once
    else:
        assert two.due_at == at_once.due_at
        assert two.next_due_at == at_once.next_due_at
        assert one.missed + 1 + two.missed == at_once.missed
