"""Old rows never follow newer ones, whatever meets, dies or comes twice; and nobody pays while no history is loaded."""

from dataclasses import dataclass
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from shared.errors import HistoryOvertaken
from shared.run import Lane, Ledger, RunState
from shared.store.database import Database
from shared.store.history_tables import newer_counts, newer_rows
from tests.worker.tasks.conftest import LIMITS
from tests.worker.tasks.desk import ROWS, Desk, Killed, fails_with
from tests.worker.tasks.past import Past, Points, assert_everything_is_newest, listen, points
from worker.tasks.upkeep import upkeep

__all__ = ["points"]
DIE = fails_with(Killed())


@pytest.fixture
def past(desk: Desk, points: Points, monkeypatch: pytest.MonkeyPatch) -> Past:
    found = Past.of(desk, points)
    listen(found, monkeypatch)
    return found


def marks(desk: Desk) -> int:
    return len(desk.rows(sa.select(newer_rows)))


def test_rows_of_users_that_were_sent_newer_ones_are_superseded(desk: Desk, past: Past) -> None:
    past.change(0, 1, 2, 3)
    past.read_changes()
    for upload in past.uploads_of(Lane.LIVE):
        past.attempt(upload)
    assert marks(desk) == 4
    past.change(5)
    past.finish()
    initial = desk.run(past.initial)
    assert initial.ledger == Ledger(extracted=ROWS, accepted=ROWS - 4, superseded=4)
    assert [chunk["superseded"] for chunk in desk.chunks(past.initial)] == [3, 1, 0]
    assert_everything_is_newest(past)
    assert marks(desk) == 0, "they are forgotten once history is loaded"
    assert desk.rows(sa.select(newer_counts)) == []


def test_a_chunk_of_which_everything_is_superseded_sends_no_request(desk: Desk, past: Past) -> None:
    history = past.uploads_of(Lane.BACKFILL)
    past.change(0, 1, 2)
    past.read_changes()
    past.attempt(*past.uploads_of(Lane.LIVE))
    before = desk.stand_in.intake.counters.batches
    past.attempt(history[0])
    assert desk.stand_in.intake.counters.batches == before
    assert [chunk["state"] for chunk in desk.chunks(past.initial)] == ["done", "ready", "ready"]


def test_while_no_history_is_loaded_nothing_is_written_or_locked(
    desk: Desk, past: Past, monkeypatch: pytest.MonkeyPatch
) -> None:
    past.finish()
    past.change(0, 1)
    past.read_changes()
    (upload,) = past.uploads_of(Lane.LIVE)[-1:]
    statements: list[str] = []

    def note(*event: Any) -> None:
        statements.append(event[2])

    engine = desk.process.database._engine
    sa.event.listen(engine, "before_cursor_execute", note)
    past.attempt(upload)
    sa.event.remove(engine, "before_cursor_execute", note)
    assert [one for one in statements if "advisory" in one or "newer_" in one or "accepted_keys" in one] == []
    written = {" ".join(one.split()[:2]) for one in statements if not one.lstrip().startswith("SELECT")}
    assert written <= {"UPDATE chunks", "UPDATE runs"} | {one for one in written if one.startswith("WITH")}
    past.finish()
    assert_everything_is_newest(past)


@dataclass(frozen=True)
class Step:
    """Something that happens: users change, or an attempt is made, dies, or meets one of the other lane.

    ``message`` and ``other`` count among those at hand, ``point`` among the commits and requests of an attempt.
    """

    what: str
    users: frozenset[int]
    message: int
    other: int
    point: int
    is_repeated: bool

    def take(self, past: Past) -> None:
        match self.what:
            case "change":
                past.change(*self.users)
                past.read_changes()
            case "rescue":
                past.rescue()
            case "attempt":
                past.attempt(self._one_of(past, self.message))
            case "die":
                past.attempt(self._one_of(past, self.message), strike_at=self.point, act=DIE)
            case "meet":
                first = self._one_of(past, self.message)
                other_lane = Lane.BACKFILL if first in past.uploads_of(Lane.LIVE) else Lane.LIVE
                second = self._one_of(past, self.other, other_lane)
                past.attempt_beside(first, strike_at=self.point, other=second)
        past.read()

    def _one_of(self, past: Past, message: int, *lanes: Lane) -> tuple[Any, ...]:
        at_hand = past.uploads_of(*(lanes or Lane), even_done=self.is_repeated) or past.uploads
        return at_hand[message % len(at_hand)]


STEPS = st.builds(
    Step,
    what=st.sampled_from(["meet", "meet", "meet", "die", "attempt", "change", "rescue"]),
    users=st.frozensets(st.integers(0, ROWS - 1), min_size=1),
    message=st.integers(0, 5),
    other=st.integers(0, 5),
    point=st.integers(1, 16),
    is_repeated=st.sampled_from([False, False, False, True]),
)
FIRST = st.builds(
    Step,
    what=st.just("change"),
    users=st.frozensets(st.integers(0, ROWS - 1), min_size=2),
    message=st.just(0),
    other=st.just(0),
    point=st.just(1),
    is_repeated=st.just(False),
)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(first=FIRST, steps=st.lists(STEPS, min_size=1, max_size=7))
def test_any_interleaving_of_history_and_present_ends_with_the_newest_values(
    desk: Desk, points: Points, first: Step, steps: list[Step]
) -> None:
    with pytest.MonkeyPatch.context() as monkeypatch:
        past = Past.of(desk, points)
        listen(past, monkeypatch)
        for step in (first, *steps):
            step.take(past)
        past.finish()
        assert_everything_is_newest(past)
