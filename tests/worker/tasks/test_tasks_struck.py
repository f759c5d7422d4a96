"""Each task struck around each of its commits, its message lost or delivered twice: the run ends as if untouched."""

from collections.abc import Callable
from itertools import count
from typing import Any

import pytest

from shared.errors import StoreUnavailable
from shared.messages import TaskName
from shared.run import RunId
from tests.worker.tasks.desk import Desk, Killed, Strike, When, assert_settled_whole, fails_with

A_RUNS_TASKS = (TaskName.PLAN_RUN, TaskName.EXTRACT_SLICE, TaskName.UPLOAD_CHUNK, TaskName.SETTLE_RUN)
BROKEN = StoreUnavailable("the connection broke")
EACH_TASK = pytest.mark.parametrize("task", A_RUNS_TASKS)


def test_a_run_that_nothing_strikes_settles_without_upkeep_and_sends_nothing_twice(desk: Desk) -> None:
    run_id = desk.trigger(desk.pipeline())
    while taken := desk.take():
        desk.do(*taken)
    assert_settled_whole(desk, run_id)
    assert set(desk.taken_ids().values()) == {1}


@EACH_TASK
@pytest.mark.parametrize("when", When)
@pytest.mark.parametrize("failure", [BROKEN, Killed()], ids=["broken", "killed"])
def test_a_task_struck_at_any_commit_is_made_good(
    desk: Desk, task: TaskName, when: When, failure: BaseException
) -> None:
    def strike_at(nth: int) -> bool:
        run_id = desk.trigger(desk.pipeline())
        arguments = desk.take_until(task)
        strike = Strike(nth, when, fails_with(failure))
        with desk.database.struck(strike):
            desk.do(task, arguments)
        desk.finish(run_id)
        assert_settled_whole(desk, run_id)
        return strike.fell

    assert strikes(strike_at) > 0


@EACH_TASK
def test_a_task_that_sleeps_after_any_commit_while_others_finish_its_run_changes_nothing(
    desk: Desk, task: TaskName
) -> None:
    def sleep_after(nth: int) -> bool:
        run_id = desk.trigger(desk.pipeline())
        arguments = desk.take_until(task)
        strike = Strike(nth, When.AFTER, lambda: others_finish(desk, run_id))
        with desk.database.struck(strike):
            desk.do(task, arguments)
        assert_settled_whole(desk, desk.finish(run_id).id)
        assert not desk.slices(run_id)[0]["token"]
        return strike.fell

    assert strikes(sleep_after) > 0


@pytest.mark.parametrize(("when", "failure"), [(When.BEFORE, BROKEN), (When.AFTER, Killed())])
def test_upkeep_struck_at_any_commit_is_made_good(desk: Desk, when: When, failure: BaseException) -> None:
    def strike_at(nth: int) -> bool:
        in_need = (unplanned(desk), half_read(desk), half_sent(desk), unsettled(desk))
        desk.time_passes()
        strike = Strike(nth, when, fails_with(failure))
        with desk.database.struck(strike):
            desk.do(TaskName.UPKEEP, ())
        for run_id in in_need:
            assert_settled_whole(desk, desk.finish(run_id).id)
        return strike.fell

    assert strikes(strike_at) > 3


def test_one_upkeep_helps_everybody_who_needs_it(desk: Desk) -> None:
    in_need = {unplanned(desk), half_read(desk), half_sent(desk), unsettled(desk)}
    desk.time_passes()
    desk.do(TaskName.UPKEEP, ())
    while taken := desk.take():
        desk.do(*taken)
    for run_id in in_need:
        assert_settled_whole(desk, run_id)


def test_several_upkeeps_at_once_send_nothing_more_than_one(desk: Desk) -> None:
    in_need = {unplanned(desk), half_read(desk), half_sent(desk), unsettled(desk)}
    desk.time_passes()
    desk.do_at_once(TaskName.UPKEEP, (), times=4)
    sent: list[tuple[TaskName, tuple[Any, ...]]] = []
    while taken := desk.take():
        sent.append(taken)
    worked = [one for one in sent if one[0] is not TaskName.SETTLE_RUN]
    assert len({(task, str(arguments)) for task, arguments in worked}) == len(worked)
    for taken in sent:
        desk.do(*taken)
    for run_id in in_need:
        assert_settled_whole(desk, desk.finish(run_id).id)


@EACH_TASK
def test_a_lost_message_is_sent_again_by_upkeep(desk: Desk, task: TaskName) -> None:
    run_id = desk.trigger(desk.pipeline())
    lost = desk.take_until(task)
    assert lost
    assert_settled_whole(desk, desk.finish(run_id).id)


def test_every_message_delivered_twice_does_everything_once(desk: Desk) -> None:
    run_id = desk.trigger(desk.pipeline())

    def twice(task: TaskName, arguments: tuple[Any, ...]) -> None:
        desk.do(task, arguments)
        desk.do(task, arguments)

    assert_settled_whole(desk, desk.finish(run_id, twice).id)
    assert set(desk.taken_ids().values()) == {1}


def test_every_message_delivered_three_times_at_once_does_everything_once(desk: Desk) -> None:
    run_id = desk.trigger(desk.pipeline())

    def at_once(task: TaskName, arguments: tuple[Any, ...]) -> None:
        desk.do_at_once(task, arguments, times=3)

    assert_settled_whole(desk, desk.finish(run_id, at_once).id)
    assert set(desk.taken_ids().values()) == {1}


def strikes(strike_at: Callable[[int], bool]) -> int:
    """Strike at the first, the second ... transaction until there is none to strike; give how many there were."""
    return next(nth for nth in count(1) if not strike_at(nth)) - 1


def others_finish(desk: Desk, run_id: RunId) -> None:
    """What goes on while a process is stopped: its lease lapses, and its work is done by others."""
    desk.time_passes()
    desk.do(TaskName.UPKEEP, ())
    desk.finish(run_id)


def unplanned(desk: Desk) -> RunId:
    """A run whose first message was lost."""
    run_id = desk.trigger(desk.pipeline())
    desk.lose_messages()
    return run_id


def half_read(desk: Desk) -> RunId:
    """A run whose extraction died with something in the spool."""
    return died_at(desk, TaskName.EXTRACT_SLICE, nth=5)


def half_sent(desk: Desk) -> RunId:
    """A run with an uploader that died on the way, and the other messages lost."""
    return died_at(desk, TaskName.UPLOAD_CHUNK, nth=4)


def died_at(desk: Desk, task: TaskName, *, nth: int) -> RunId:
    run_id = desk.trigger(desk.pipeline())
    arguments = desk.take_until(task)
    strike = Strike(nth, When.AFTER, fails_with(Killed()))
    with desk.database.struck(strike):
        desk.do(task, arguments)
    assert strike.fell
    desk.lose_messages()
    return run_id


def unsettled(desk: Desk) -> RunId:
    """A run that lacks nothing but to be settled."""
    run_id = desk.trigger(desk.pipeline())
    desk.take_until(TaskName.SETTLE_RUN)
    return run_id
