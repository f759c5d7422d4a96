"""What is counted for metrics: exactly what happened, whatever is struck, repeated or lost."""

from collections import Counter
from typing import Any

import pytest
import redis
import sqlalchemy as sa

from sandbox.faults import Faults
from shared.endpoints import broker_url
from shared.errors import StoreUnavailable
from shared.messages import TaskName
from shared.paces import KEY_PREFIX
from shared.run import RunState
from shared.store import totals
from shared.store.total_tables import totals as totals_table
from tests.worker.tasks.desk import ROWS, Desk, Killed, Strike, When, fails_with
from worker.mparticle.answers import (
    Accepted,
    Answer,
    BatchesRefused,
    NotTheApi,
    SignInRefused,
    Throttled,
    TooLarge,
    Unavailable,
)
from worker.mparticle.tally import SENT_BYTES, Tally, kind_of

BROKEN = StoreUnavailable("the connection broke")


def counted(desk: Desk, pipeline_id: str) -> dict[str, int]:
    query = sa.select(totals_table).where(totals_table.c.pipeline_id == pipeline_id)
    return {row["name"]: row["value"] for row in desk.rows(query)}


def ended_rows(desk: Desk, pipeline_id: str) -> dict[str, int]:
    return {name: value for name, value in counted(desk, pipeline_id).items() if name in totals.LEDGER}


def seen(desk: Desk) -> int:
    """How many requests the stand-in has answered."""
    return desk.stand_in.intake.counters.requests


def test_three_answers_of_429_count_as_three_though_each_attempt_yields_without_progress(desk: Desk) -> None:
    name = desk.pipeline()
    run_id = desk.trigger(name)
    # Longer than any attempt waits.
    desk.stand_in.intake.faults.turn(Faults.model_validate({"status": 429, "retry_after_s": 600, "next": 3}))
    before = seen(desk)

    def after_the_pause(task: TaskName, arguments: tuple[Any, ...]) -> None:
        with redis.Redis.from_url(broker_url(desk.process.settings)) as client:
            client.delete(*client.keys(f"{KEY_PREFIX}*"), "none")
        desk.do(task, arguments)

    assert desk.finish(run_id, after_the_pause).state is RunState.SETTLED
    found = counted(desk, name)
    assert found["requests_throttled"] == 3
    assert found["requests_accepted"] == ROWS
    assert seen(desk) - before == ROWS + 3
    assert found["attempts_upload_chunk"] == 3 + 3
    assert found[SENT_BYTES] > 0


@pytest.mark.parametrize("when", When)
def test_a_store_that_breaks_off_loses_no_request_and_counts_no_row_twice(desk: Desk, when: When) -> None:
    def strike_at(nth: int) -> bool:
        name = desk.pipeline()
        run_id = desk.trigger(name)
        arguments = desk.take_until(TaskName.UPLOAD_CHUNK)
        before = seen(desk)
        strike = Strike(nth, when, fails_with(BROKEN))
        with desk.database.struck(strike):
            desk.do(TaskName.UPLOAD_CHUNK, arguments)
        desk.finish(run_id)
        assert ended_rows(desk, name) == {"extracted": ROWS, "accepted": ROWS, "batches": ROWS}
        sent = counted(desk, name)["requests_accepted"]
        # What was committed although it seemed not to be is handed over once more.
        assert sent == seen(desk) - before if when is When.BEFORE else sent >= seen(desk) - before
        return strike.fell

    assert strike_at(1)
    nth = 2
    while strike_at(nth):
        nth += 1
    assert nth > 4


@pytest.mark.parametrize("when", When)
def test_a_process_that_is_killed_counts_no_row_twice_and_loses_only_what_it_had_not_recorded(
    desk: Desk, when: When
) -> None:
    nth, fell = 1, True
    while fell:
        name = desk.pipeline()
        run_id = desk.trigger(name)
        arguments = desk.take_until(TaskName.UPLOAD_CHUNK)
        before = seen(desk)
        strike = Strike(nth, when, fails_with(Killed()))
        with desk.database.struck(strike):
            desk.do(TaskName.UPLOAD_CHUNK, arguments)
        desk.finish(run_id)
        assert ended_rows(desk, name) == {"extracted": ROWS, "accepted": ROWS, "batches": ROWS}
        assert counted(desk, name)["requests_accepted"] <= seen(desk) - before
        nth, fell = nth + 1, strike.fell


def test_every_message_delivered_twice_counts_everything_once(desk: Desk) -> None:
    name = desk.pipeline()
    run_id = desk.trigger(name)

    def twice(task: TaskName, arguments: tuple[Any, ...]) -> None:
        desk.do(task, arguments)
        desk.do(task, arguments)

    desk.finish(run_id, twice)
    found = counted(desk, name)
    times = {name: found.pop(name) for name in list(found) if name.startswith(("queue_", "run_"))}
    sent_bytes = found.pop(SENT_BYTES)
    assert sent_bytes > 0
    assert found == {
        "extracted": ROWS,
        "accepted": ROWS,
        "batches": ROWS,
        "ended_settled": 1,
        "attempts_plan_run": 1,
        "attempts_extract_slice": 1,
        "attempts_upload_chunk": 3,
        "requests_accepted": ROWS,
    }
    for what in ("queue", "run"):
        assert sum(value for name, value in times.items() if name.startswith(f"{what}_le_")) == 3


def test_a_refused_sign_in_is_counted_with_the_run_that_it_ends(desk: Desk) -> None:
    name = desk.pipeline()
    run_id = desk.trigger(name)
    desk.stand_in.intake.faults.turn(Faults.model_validate({"status": 401, "next": 1}))
    assert desk.finish(run_id).state is RunState.FAILED
    found = counted(desk, name)
    assert (found["requests_sign_in_refused"], found["ended_failed"]) == (1, 1)


def test_what_was_sent_under_a_claim_that_is_lost_is_counted(desk: Desk) -> None:
    name = desk.pipeline()
    run_id = desk.trigger(name)
    arguments = desk.take_until(TaskName.UPLOAD_CHUNK)
    before = seen(desk)

    def others_finish() -> None:
        desk.time_passes()
        desk.finish(run_id)

    # After the claim: so all that is sent then, and each write, is of somebody who lost it.
    with desk.database.struck(Strike(4, When.AFTER, others_finish)):
        desk.do(TaskName.UPLOAD_CHUNK, arguments)
    assert desk.finish(run_id).state is RunState.SETTLED
    found = counted(desk, name)
    assert ended_rows(desk, name) == {"extracted": ROWS, "accepted": ROWS, "batches": ROWS}
    assert found["requests_accepted"] == seen(desk) - before > ROWS
    assert found["expired_upload_chunk"] == 1


def test_a_tally_is_kept_where_recording_fails_and_gone_where_it_does_not() -> None:
    tally = Tally()
    tally.note(Throttled(), 10)

    def fail() -> None:
        with tally.handed_over():
            tally.note(Accepted(), 5)
            raise BROKEN

    with pytest.raises(StoreUnavailable):
        fail()
    with tally.handed_over() as counts:
        assert counts == Counter(requests_throttled=1, requests_accepted=1, sent_bytes=15)
    assert not tally


def test_every_answer_has_a_name_of_its_own_that_the_totals_know() -> None:
    answers: tuple[Answer, ...] = (
        Accepted(),
        BatchesRefused(""),
        TooLarge(),
        Throttled(),
        Unavailable(""),
        SignInRefused(401),
        NotTheApi(404, ""),
    )
    assert tuple(map(kind_of, answers)) == totals.ANSWERS
    assert SENT_BYTES == totals.SENT_BYTES
