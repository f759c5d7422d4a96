"""What upkeep gives up, and how much it sends again."""

from uuid import uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.messages import Death, Queue, TaskName
from shared.run import RunId, Token
from worker.upkeep import to_send_again, too_many_deaths

COUNTS = st.dictionaries(st.sampled_from(list(Queue)), st.integers(0, 50))


def _death(task: TaskName, deaths: int) -> Death:
    return Death(task, uuid4(), RunId(uuid4()), deaths, Token(uuid4()))


@pytest.mark.parametrize("task", [TaskName.PLAN_RUN, TaskName.EXTRACT_SLICE, TaskName.UPLOAD_CHUNK])
def test_work_is_given_up_at_the_limit_and_not_before(task: TaskName) -> None:
    early, late = _death(task, 4), _death(task, 5)
    given_up = too_many_deaths([early, late], {early.run_id: 16, late.run_id: 17}, max_deaths=5)
    assert [death for death, _ in given_up] == [late]
    assert str(late.id) in str(given_up[0][1])
    assert "of run 17 since" in str(given_up[0][1])
    assert "`warehouse-sync retry 17`" in str(given_up[0][1])


@given(COUNTS, COUNTS)
def test_no_more_is_sent_again_than_the_queue_has_lost(outstanding: dict[Queue, int], depths: dict[Queue, int]) -> None:
    for queue, count in to_send_again(outstanding, depths).items():
        assert count > 0
        assert count == outstanding[queue] - depths.get(queue, 0)


def test_a_queue_that_holds_every_message_is_left_alone() -> None:
    assert to_send_again({Queue.UPLOAD: 7}, {Queue.UPLOAD: 7}) == {}


def test_a_queue_that_was_emptied_gets_all_of_them() -> None:
    assert to_send_again({Queue.UPLOAD: 7}, {}) == {Queue.UPLOAD: 7}


def test_what_is_given_up_comes_in_the_order_of_its_runs() -> None:
    deaths = [_death(TaskName.UPLOAD_CHUNK, 5) for _ in range(9)]
    numbers = {death.run_id: no for no, death in enumerate(deaths, 1)}
    run_ids = [death.run_id for death, _ in too_many_deaths(deaths, numbers, max_deaths=5)]
    assert run_ids == sorted(run_ids)
    assert len(run_ids) == 9
