"""States and the moves between them, and windows that make sense."""

from datetime import UTC, datetime, timedelta, timezone

import pytest

from shared.run import CLOSED, OPEN, STOPPED, WORKING, RunState, Window, may_move

NOON = datetime(2026, 3, 10, 12, tzinfo=UTC)


def test_every_state_but_waiting_is_worked_on_stopped_or_closed() -> None:
    assert set(RunState) - {RunState.WAITING} == WORKING | STOPPED | CLOSED
    assert len(RunState) - 1 == len(WORKING) + len(STOPPED) + len(CLOSED)
    assert OPEN == WORKING | STOPPED


@pytest.mark.parametrize("state", sorted(CLOSED))
def test_nothing_leaves_a_closed_state(state: RunState) -> None:
    assert not any(may_move(state, target) for target in RunState)


@pytest.mark.parametrize("state", sorted(WORKING))
def test_a_run_that_is_worked_on_may_fail_or_be_cancelled_but_not_abandoned(state: RunState) -> None:
    assert all(may_move(state, target) for target in STOPPED)
    assert not may_move(state, RunState.ABANDONED)


@pytest.mark.parametrize("state", sorted(STOPPED))
def test_a_stopped_run_goes_back_to_where_it_stood_or_is_abandoned_and_never_settles_at_once(state: RunState) -> None:
    back = WORKING | {RunState.WAITING if state is RunState.CANCELLED else RunState.CANCELLED}
    assert {target for target in RunState if may_move(state, target)} == back | {RunState.ABANDONED}


def test_a_run_that_waits_begins_or_is_dropped_and_what_was_cancelled_before_it_began_waits_again() -> None:
    assert {target for target in RunState if may_move(RunState.WAITING, target)} == {
        RunState.CREATED,
        RunState.EXTRACTING,
        RunState.CANCELLED,
        RunState.ABANDONED,
    }
    assert [state for state in RunState if may_move(state, RunState.WAITING)] == [RunState.CANCELLED]


def test_a_run_settles_only_from_uploading_which_an_empty_one_reaches_at_once() -> None:
    assert [state for state in RunState if may_move(state, RunState.SETTLED)] == [RunState.UPLOADING]
    assert may_move(RunState.CREATED, RunState.UPLOADING)
    assert not may_move(RunState.UPLOADING, RunState.EXTRACTING)


def test_a_window_is_made_of_instants_in_order() -> None:
    with pytest.raises(ValueError, match="give them a zone"):
        Window(NOON.replace(tzinfo=None))
    with pytest.raises(ValueError, match="give them a zone"):
        Window(None, NOON.replace(tzinfo=None))
    with pytest.raises(ValueError, match="cannot end"):
        Window(NOON, NOON - timedelta(microseconds=1))


def test_bounds_are_compared_as_instants_whatever_their_zone() -> None:
    east = timezone(timedelta(hours=2))
    assert Window(NOON, NOON.astimezone(east)).is_empty
    assert not Window(NOON, NOON.astimezone(east) + timedelta(microseconds=1)).is_empty


def test_only_a_window_in_which_no_row_can_be_is_empty() -> None:
    assert Window(NOON, NOON).is_empty
    assert not Window(NOON, NOON, includes_null=True).is_empty
    assert not Window().is_empty
    assert not Window(None, NOON).is_empty
    assert not Window(NOON).is_empty
