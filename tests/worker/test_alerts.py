"""Each change of what is the matter is told once, whoever looks how often; flapping is told not at all."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

from hypothesis import given
from hypothesis import strategies as st

from shared.alerts import AlertName, Change, Condition, OpenAlert
from worker.alerts import decide

NOW = datetime(2026, 5, 4, 12, tzinfo=UTC)
CALM = timedelta(minutes=5)
MINUTE = timedelta(minutes=1)


def failed(subject: str = "17", kind: str = "FeedRefused", **more: bool) -> Condition:
    return Condition(
        AlertName.RUN_FAILED,
        subject,
        "people",
        "People",
        "it failed",
        NOW,
        kind=kind,
        is_muted=more.get("muted", False),
    )


class Book:
    """What a store keeps of alerts, without one."""

    def __init__(self) -> None:
        self.open: dict[UUID, OpenAlert] = {}
        self.told: list[tuple[Change, str]] = []
        self.events: set[tuple[AlertName, str]] = set()

    def look(self, conditions: Iterable[Condition], now: datetime, calm: timedelta = CALM) -> list[Change]:
        news = [one for one in conditions if one.key not in self.events]
        decision = decide(news, list(self.open.values()), now=now, calm=calm)
        for one in decision.changes:
            self.told.append((one.change, one.condition.subject))
            match one.change:
                case Change.OPENED:
                    alert_id = uuid4()
                    self.open[alert_id] = OpenAlert(alert_id, one.condition, now)
                case Change.CHANGED:
                    assert one.alert_id
                    self.open[one.alert_id] = replace(self.open[one.alert_id], condition=one.condition, told_at=now)
                case Change.RECOVERED:
                    assert one.alert_id
                    del self.open[one.alert_id]
                case Change.HAPPENED:
                    self.events.add(one.condition.key)
        for alert_id in decision.absent:
            self.open[alert_id] = replace(self.open[alert_id], absent_since=now)
        for alert_id in decision.back:
            self.open[alert_id] = replace(self.open[alert_id], absent_since=None)
        for alert_id in decision.hushed:
            del self.open[alert_id]
        return [one.change for one in decision.changes]


def test_what_lasts_is_told_once_however_often_somebody_looks() -> None:
    book = Book()
    assert book.look([failed()], NOW) == [Change.OPENED]
    assert [book.look([failed()], NOW + no * MINUTE) for no in range(1, 20)] == [[]] * 19


def test_an_alert_recovers_once_its_condition_was_gone_for_as_long_as_calm_takes() -> None:
    book = Book()
    book.look([failed()], NOW)
    assert book.look([], NOW + 1 * MINUTE) == []
    assert book.look([], NOW + 5 * MINUTE) == []
    assert book.look([], NOW + 6 * MINUTE) == [Change.RECOVERED]
    assert book.look([], NOW + 7 * MINUTE) == []
    assert book.look([failed()], NOW + 8 * MINUTE) == [Change.OPENED]


def test_what_comes_back_before_that_is_the_same_alert_and_nobody_is_told() -> None:
    book = Book()
    book.look([failed()], NOW)
    for no in range(1, 30):
        assert book.look([] if no % 2 else [failed()], NOW + no * 2 * MINUTE) == []
    assert len(book.open) == 1


def test_without_calm_an_alert_recovers_at_once() -> None:
    book = Book()
    book.look([failed()], NOW, calm=timedelta(0))
    assert book.look([], NOW + MINUTE, calm=timedelta(0)) == [Change.RECOVERED]


def test_another_kind_is_told_but_no_sooner_than_calm_after_the_last_message() -> None:
    book = Book()
    book.look([failed()], NOW)
    assert book.look([failed(kind="QueryTimedOut")], NOW + MINUTE) == []
    assert book.look([failed(kind="QueryTimedOut")], NOW + 5 * MINUTE) == [Change.CHANGED]
    assert book.look([failed(kind="QueryTimedOut")], NOW + 6 * MINUTE) == []


def test_an_event_is_told_once_and_leaves_nothing_open() -> None:
    event = Condition(AlertName.BACKFILL_FINISHED, "b1", "people", "People", "complete", NOW)
    book = Book()
    assert book.look([event], NOW) == [Change.HAPPENED]
    assert book.look([event], NOW + MINUTE) == []
    assert book.open == {}


def test_nobody_is_told_what_is_muted_and_muting_closes_what_is_open_without_a_word() -> None:
    book = Book()
    assert book.look([failed(muted=True)], NOW) == []
    book.look([failed()], NOW)
    assert book.look([failed(muted=True)], NOW + MINUTE) == []
    assert book.open == {}


def test_one_look_opens_no_more_than_it_may_and_the_next_goes_on() -> None:
    many = [failed(str(no)) for no in range(7)]
    first = decide(many, [], now=NOW, calm=CALM, at_most=5)
    assert len(first.changes) == 5
    recorded = [OpenAlert(uuid4(), one.condition, NOW) for one in first.changes]
    second = decide(many, recorded, now=NOW, calm=CALM, at_most=5)
    assert {one.condition.subject for one in (*first.changes, *second.changes)} == {one.subject for one in many}


@given(st.lists(st.lists(st.sampled_from(["1", "2", "3"]), unique=True), max_size=40), st.data())
def test_whatever_happens_each_alert_opens_and_recovers_in_turns(
    looks: Sequence[Sequence[str]], data: st.DataObject
) -> None:
    book, now = Book(), NOW
    for subjects in looks:
        now += data.draw(st.integers(0, 400)) * timedelta(seconds=1)
        book.look([failed(subject) for subject in subjects], now)
    for subject in "123":
        changes = [change for change, of in book.told if of == subject]
        assert changes == [Change.OPENED, Change.RECOVERED] * (len(changes) // 2) + [Change.OPENED] * (len(changes) % 2)
