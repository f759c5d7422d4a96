"""Whatever replays and live attempts meet, die or come twice: no user's old values follow newer ones."""

from contextlib import suppress

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from shared.errors import MoveNotAllowed
from shared.ledger import Ledger
from shared.run import RunKind
from shared.store import replays
from tests.worker.tasks.desk import ROWS, Desk
from tests.worker.tasks.past import Past, Points, listen, points
from tests.worker.tasks.test_tasks_replay import edit
from tests.worker.tasks.test_tasks_stale import FIRST, STEPS, Step

__all__ = ["points"]
QUERY = "SELECT customer_id, firstname, CASE WHEN firstname = 'Zoë' THEN 'none' END AS ios_idfv, changed_at FROM people"
"""Everybody has a device identity that is none, until he changes."""


def begin_replay(past: Past) -> None:
    with suppress(MoveNotAllowed), past.desk.database.transaction() as store:
        past.desk.send(*replays.begin(store, past.initial).messages)
    past.read()


@settings(
    max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(first=FIRST, steps=st.lists(STEPS, min_size=1, max_size=7), begins_at=st.integers(0, 4))
def test_any_interleaving_of_replays_and_present_ends_with_the_newest_values(
    desk: Desk, points: Points, first: Step, steps: list[Step], begins_at: int
) -> None:
    with pytest.MonkeyPatch.context() as monkeypatch:
        past = Past.of(desk, points, query=QUERY)
        listen(past, monkeypatch)
        past.finish()
        assert desk.run(past.initial).ledger == Ledger(extracted=ROWS, rejected=ROWS)
        edit(desk, past.pipeline_id, rename={"ios_idfv": "vendor"})
        past.uploads.clear()
        for number, step in enumerate((first, *steps)):
            if number >= begins_at:
                begin_replay(past)
            if past.uploads or step.what in {"change", "rescue"}:
                step.take(past)
        begin_replay(past)
        past.finish()
        assert_nobody_was_set_back(past)


def assert_nobody_was_set_back(past: Past) -> None:
    """See that each user's newest value came last, no older one after a newer one, and each row ended once."""
    for run in past.runs():
        assert run.state.value == "settled"
        assert run.ledger.balances
        assert run.ledger.superseded == 0 or run.kind is RunKind.REPLAY
    assert {user: values[-1] for user, values in past.told.items()} == past.newest()
    for user, values in past.told.items():
        versions = [int(value[1:]) if value.startswith("v") else 0 for value in values]
        assert versions == sorted(set(versions)), user
    assert past.desk.stand_in.intake.counters.conflicts == 0
