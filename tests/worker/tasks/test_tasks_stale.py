"""Old rows never follow newer ones, whatever meets, dies or comes twice; and nobody pays while no history is loaded."""

import threading
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from shared.errors import HistoryOvertaken, MoveNotAllowed
from shared.ledger import Ledger
from shared.messages import TaskName
from shared.run import Lane, RunId, RunKind, RunState
from shared.store import moves
from shared.store.history_tables import accepted_keys, newer_counts, newer_rows
from shared.store.tables import runs
from tests.worker.tasks.conftest import LIMITS
from tests.worker.tasks.desk import ROWS, Desk, Killed, When, fails_with
from tests.worker.tasks.past import Past, Points, assert_everything_is_newest, listen, points
from tests.worker.written import encoded_of
from worker.delivery import Delivery
from worker.tasks.turns import Turn
from worker.tasks.upkeep import upkeep

__all__ = ["points"]
DIE = fails_with(Killed())
COMMITS_BEFORE_A_REQUEST = 3
"""Of a run's first attempt: it claims its chunk, and reads the snapshot and the feed."""


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


def test_rows_that_a_check_refuses_are_rejected_on_both_lanes_and_mark_nobody(desk: Desk, points: Points) -> None:
    past = Past.of(desk, points, query="SELECT customer_id, firstname, changed_at FROM people")
    past.change(0, value="x" * 5_000)
    past.change(1)
    past.read_changes()
    for upload in past.uploads_of(Lane.LIVE):
        past.attempt(upload)
    assert marks(desk) == 1
    past.finish()
    assert desk.run(past.initial).ledger == Ledger(extracted=ROWS, accepted=ROWS - 1, superseded=1)
    past = Past.of(
        desk,
        points,
        query="SELECT nullif(customer_id, 'none') AS customer_id, firstname, "
        "CASE WHEN firstname = 'Zoë' THEN repeat('x', 5000) END AS bio, changed_at FROM people",
    )
    past.change(0, 1)
    past.finish()
    assert desk.run(past.initial).ledger == Ledger(extracted=ROWS, rejected=ROWS), "not superseded: they were refused"


def test_an_attempt_of_history_lets_newer_rows_go_first_and_goes_on_with_their_marks(
    desk: Desk, past: Past, monkeypatch: pytest.MonkeyPatch
) -> None:
    history, is_over = past.uploads_of(Lane.BACKFILL), threading.Event()
    end = Delivery.end

    def tell(self: Delivery) -> None:
        end(self)
        is_over.set()

    past.change(1, 2)
    past.read_changes()
    monkeypatch.setattr(Delivery, "end", tell)
    past.attempt_beside(
        history[0],
        strike_at=2 * COMMITS_BEFORE_A_REQUEST + 3,  # History tells replays in between.
        other=past.uploads_of(Lane.LIVE)[0],
        until=lambda: is_over.wait(20),
    )
    assert past.told == {past.user(0): ["Zoë"], past.user(1): ["v1"], past.user(2): ["v1"]}
    begun = desk.chunks(past.initial)[0]
    assert (begun["state"], begun["position"]) == ("ready", 1)
    past.finish()
    assert desk.run(past.initial).ledger == Ledger(extracted=ROWS, accepted=ROWS - 2, superseded=2)
    assert_everything_is_newest(past)


@pytest.mark.parametrize("commit", range(COMMITS_BEFORE_A_REQUEST, COMMITS_BEFORE_A_REQUEST + 3))
@pytest.mark.parametrize("when", When)
def test_a_live_attempt_that_died_around_its_marks_is_made_good(
    desk: Desk, past: Past, points: Points, commit: int, when: When
) -> None:
    """It asks whether history is loaded, marks, and waits for those who could not see that."""
    past.change(0, 1, 2)
    past.read_changes()
    past.attempt(past.uploads_of(Lane.LIVE)[0], strike_at=2 * commit + (1 if when is When.BEFORE else 2), act=DIE)
    assert points.act is None
    assert past.told == {}
    for upload in past.uploads_of(Lane.BACKFILL):
        past.attempt(upload)
    past.finish()
    assert_everything_is_newest(past)
    is_marked = commit > COMMITS_BEFORE_A_REQUEST + 1 or (commit, when) == (COMMITS_BEFORE_A_REQUEST + 1, When.AFTER)
    assert desk.run(past.initial).ledger.superseded == (3 if is_marked else 0)


def test_a_turn_that_cannot_see_whether_others_wait_starts_no_request(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr("worker.tasks.turns.time.monotonic", lambda: now)
    nothing = encoded_of([])
    history, live = Turn(nothing, None, lambda: False), Turn(nothing, None)
    seen = []
    for later_s in (5.0, 0.1):
        now += later_s
        seen.append((history.is_over, live.is_over))
    history.look()
    live.look()
    seen.append((history.is_over, live.is_over))
    assert seen == [(False, False), (True, False), (False, False)], "nobody waits for a live attempt"


@pytest.mark.parametrize("limits", [LIMITS | {"MAX_NEWER_ROWS": "2"}])
def test_history_that_too_many_users_overtake_stops_and_is_read_anew(
    desk: Desk, past: Past, limits: dict[str, str]
) -> None:
    assert desk.process.settings.max_newer_rows == int(limits["MAX_NEWER_ROWS"])
    past.change(0, 1, 2, 3)
    past.read_changes()
    for upload in past.uploads_of(Lane.LIVE):
        past.attempt(upload)
    stopped = desk.run(past.initial)
    assert stopped.state is RunState.FAILED
    assert stopped.error_kind == HistoryOvertaken.__name__
    assert marks(desk) == 0, "nobody asks for them any more"
    (live,) = [run for run in past.runs() if run.lane is Lane.LIVE]
    assert desk.finish(live.id).state is RunState.SETTLED, "the present goes on"
    with pytest.raises(MoveNotAllowed, match="read anew"):
        desk.retry(past.initial)
    for upload in past.uploads_of(Lane.BACKFILL):
        past.attempt(upload)
    with desk.process.database.transaction() as store:
        moves.abandon(store, past.initial)
    past.finish()
    (again,) = [run for run in past.runs() if run.kind is RunKind.INITIAL and run.id != past.initial]
    assert again.ledger == Ledger(extracted=ROWS - 4, accepted=ROWS - 4), (
        "who has changed is not in its window any more"
    )
    assert {user: values[-1] for user, values in past.told.items()} == past.newest()


def test_rows_read_again_are_sent_once_where_they_have_a_key(desk: Desk, past: Past) -> None:
    past.finish()
    past.change(0, 1)
    run_id = looks_back(past)
    assert desk.finish(run_id).ledger == Ledger(extracted=2, accepted=2)
    (run,) = desk.rows(sa.select(runs).where(runs.c.id == run_id))
    kept = desk.rows(sa.select(accepted_keys.c.iterator_at))
    assert len(kept) == 2

    past.change(1, 2, 3)
    read_again = looks_back(past, low=run["high"], reads_from=run["low"])
    assert desk.finish(read_again).ledger == Ledger(extracted=4, accepted=3, unchanged=1)
    assert past.told[past.user(0)] == ["Zoë", "v1"], "it was not sent again"
    upkeep()
    assert len(desk.rows(sa.select(accepted_keys))) == 4


def looks_back(past: Past, *, low: datetime | None = None, reads_from: datetime | None = None) -> RunId:
    """Have a live run look an hour back; its window begins at ``low`` and its rows at ``reads_from``."""
    run_id = past.desk.trigger(past.pipeline_id)
    extract = past.desk.take_until(TaskName.EXTRACT_SLICE)
    with past.desk.database.transaction() as store:
        lookback = {"row_key": "customer_id", "lookback_s": 3600, "reads_from": None}
        store.execute(
            sa.update(runs)
            .where(runs.c.id == run_id)
            .values(snapshot=runs.c.snapshot.concat(lookback), low=reads_from or runs.c.low)
        )
    past.desk.do(TaskName.EXTRACT_SLICE, extract)
    with past.desk.database.transaction() as store:
        store.execute(sa.update(runs).where(runs.c.id == run_id).values(low=low or runs.c.low))
    return run_id


COUNTING = "INSERT INTO totals"
"""What every attempt does at its end."""


def test_while_no_history_is_loaded_nothing_is_written_or_locked(desk: Desk, past: Past) -> None:
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
    written = {" ".join(one.split()[:2]) for one in statements if not one.lstrip().startswith(("SELECT", COUNTING))}
    assert written <= {"UPDATE chunks", "UPDATE runs", "WITH waiting"}
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
    is_repeated=st.sampled_from([False]),
)


@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
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
