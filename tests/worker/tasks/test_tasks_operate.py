"""Operators' verbs as tasks: whoever reaches the broker may send them, and a refusal is kept where it is found."""

import pytest

from shared.catalog import Full
from shared.errors import StoreUnavailable
from shared.messages import TaskName
from shared.run import PipelineState, RunId, RunState
from shared.store import auditing, declared, notices, run_events, runs
from tests.worker.tasks.desk import Desk, Killed, Strike, When, assert_settled_whole, fails_with

BROKEN = StoreUnavailable("the connection broke")


def ask(desk: Desk, task: TaskName, *arguments: object) -> None:
    """Send a task as any Celery client does, and have the worker do what is first in its queue."""
    desk.process.app.send_task(task.value, args=arguments)
    taken = desk.take()
    assert taken == (task, arguments)
    desk.do(*taken)


def run_of(desk: Desk, pipeline_id: str) -> RunId:
    with desk.database.transaction() as store:
        (run,) = runs.newest(store, pipeline_id)
    return run.id


def said(desk: Desk, pipeline_id: str) -> list[str]:
    with desk.database.transaction() as store:
        return [notice.message for notice in notices.newest(store, pipeline_id)]


def state(desk: Desk, pipeline_id: str) -> PipelineState:
    with desk.database.transaction() as store:
        return declared.get_pipeline(store, pipeline_id).state


def test_a_trigger_by_name_and_pipeline_starts_a_run_that_settles(desk: Desk) -> None:
    name = desk.pipeline()
    ask(desk, TaskName.TRIGGER, name)
    run_id = run_of(desk, name)
    assert_settled_whole(desk, desk.finish(run_id).id)


def test_a_trigger_that_finds_the_pipeline_busy_leaves_a_record_and_no_run(desk: Desk) -> None:
    name = desk.pipeline(Full())
    ask(desk, TaskName.TRIGGER, name)
    run_id = run_of(desk, name)
    desk.lose_messages()
    ask(desk, TaskName.TRIGGER, name)
    assert run_of(desk, name) == run_id
    assert said(desk, name) == [f"Pipeline {name} is already in progress."]


def test_a_trigger_delivered_twice_starts_one_run(desk: Desk) -> None:
    name = desk.pipeline(Full())
    desk.do_at_once(TaskName.TRIGGER, (name,), times=3)
    run_id = run_of(desk, name)
    assert_settled_whole(desk, desk.finish(run_id).id)
    assert len(said(desk, name)) == 2


@pytest.mark.parametrize("when", When)
@pytest.mark.parametrize("failure", [BROKEN, Killed()], ids=["broken", "killed"])
def test_a_trigger_struck_at_its_commit_leaves_a_run_that_upkeep_starts_or_none(
    desk: Desk, when: When, failure: BaseException
) -> None:
    name = desk.pipeline(Full())
    with desk.database.struck(Strike(1, when, fails_with(failure))):
        desk.do(TaskName.TRIGGER, (name,))
    with desk.database.transaction() as store:
        found = runs.newest(store, name)
    assert len(found) == (1 if when is When.AFTER else 0)
    for run in found:
        assert_settled_whole(desk, desk.finish(run.id).id)


def test_pause_and_resume_by_name(desk: Desk) -> None:
    name = desk.pipeline(Full())
    run_id = desk.trigger(name)
    ask_after_the_run(desk, TaskName.PAUSE, name)
    assert state(desk, name) is PipelineState.PAUSED
    while taken := desk.take():
        desk.do(*taken)
    assert desk.run(run_id).state is RunState.CREATED, "a paused run was planned"
    ask(desk, TaskName.RESUME, name)
    assert state(desk, name) is PipelineState.ACTIVE
    assert_settled_whole(desk, desk.finish(run_id).id)


def ask_after_the_run(desk: Desk, task: TaskName, name: str) -> None:
    desk.do(task, (name,))


def test_what_cannot_be_is_refused_and_kept(desk: Desk) -> None:
    name = desk.pipeline(Full())
    ask(desk, TaskName.RESUME, name)
    assert said(desk, name) == [f"pipeline {name!r} is active; only a paused one can be resumed"]


@pytest.mark.parametrize("arguments", [(17,), ({"version": 1, "id": "x"},), ("x" * 5000,), ("nobody",)])
def test_nonsense_changes_nothing(desk: Desk, arguments: tuple[object, ...]) -> None:
    ask(desk, TaskName.TRIGGER, *arguments)
    assert desk.take() is None
    with desk.database.transaction() as store:
        assert runs.newest(store) == []


def test_what_comes_through_the_broker_is_noted_as_the_brokers(desk: Desk) -> None:
    name = desk.pipeline(Full())
    for task in (TaskName.TRIGGER, TaskName.PAUSE, TaskName.RESUME):
        desk.do(task, (name,))
    with desk.database.transaction() as store:
        events = run_events.of_run(store, runs.newest(store, name)[0].id)
        entries = auditing.newest(store, kind="pipeline", subject=name)
    assert [(event.name, event.actor) for event in events] == [
        ("created", "broker"),
        ("paused", "broker"),
        ("resumed", "broker"),
    ]
    assert [(entry.action, entry.actor) for entry in entries[:2]] == [("resumed", "broker"), ("paused", "broker")]
