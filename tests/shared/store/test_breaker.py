"""A run with too many rejected rows stops while it works; its window, and its pipeline, wait for an operator."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from shared.errors import FeedRefused, MoveNotAllowed, TooManyRejected
from shared.ledger import Ledger
from shared.messages import TaskName
from shared.run import ChunkId, RunId, RunState, Window
from shared.store import breaker, declared, moves, requests
from shared.store.waiting import Occurrence
from tests.shared.store.stage import MAX_REOPENINGS, T0, T1, T2, WINDOW_CHUNKS, Stage, sent


def limited(stage: Stage, sizes: list[int], *, rows: int | None = None, ratio: float | None = None) -> list[ChunkId]:
    """Take a live run, which rejects no more than it may, to where its chunks wait."""
    stage.past_history()
    run_id, chunk_ids = stage.uploading(sizes, Window(T0, T1))
    stage.write(
        "UPDATE runs SET snapshot = jsonb_build_object('max_rejected_rows', cast(:rows AS int),"
        " 'max_rejected_ratio', cast(:ratio AS float)) WHERE id = :id",
        rows=rows,
        ratio=ratio,
        id=run_id,
    )
    return chunk_ids


def run_of(stage: Stage, chunk_id: ChunkId) -> RunId:
    return RunId(stage.chunk(chunk_id).run_id)


def assert_stopped(stage: Stage, chunk_id: ChunkId) -> None:
    run = stage.run(run_of(stage, chunk_id))
    assert (run.state, run.error_kind) == (RunState.FAILED, TooManyRejected.__name__)
    assert run.ledger.balances
    assert stage.fault() == run.error
    assert stage.standing().watermark == T0


def test_one_row_too_many_stops_the_run_at_once_and_keeps_what_was_recorded(stage: Stage) -> None:
    first, second = limited(stage, [10, 10], rows=2)
    held = stage.held(first)
    assert stage.record(held, 4, rejected=2), "as many as are allowed"
    assert not stage.record(held, 6, start=4, rejected=1), "nobody wants more of it"
    assert_stopped(stage, first)
    assert stage.run(run_of(stage, first)).ledger == Ledger(extracted=20, accepted=3, rejected=3, unsent=14)
    assert len(stage.rows("SELECT * FROM reject_files")) == 2, "every rejected row kept its values"
    assert stage.claim(second) is None


def test_a_share_is_judged_when_a_chunk_is_done_and_enough_rows_have_ended(stage: Stage) -> None:
    chunk_ids = limited(stage, [50, 60, 100], ratio=0.1)
    stage.upload(chunk_ids[0], rejected=50)
    held = stage.held(chunk_ids[1])
    assert stage.record(held, 60), "50 of 110: not judged before it is done"
    assert stage.run(run_of(stage, held.chunk.id)).state is RunState.UPLOADING
    assert stage.finish(held) == []
    assert_stopped(stage, chunk_ids[0])


def test_a_run_within_its_limits_settles(stage: Stage) -> None:
    chunk_ids = limited(stage, [100, 100], rows=20, ratio=0.1)
    for chunk_id in chunk_ids:
        stage.upload(chunk_id, rejected=10)
    assert stage.settle(run_of(stage, chunk_ids[0]))
    assert stage.standing().watermark == T1


def test_a_run_of_an_earlier_release_has_no_limit(stage: Stage) -> None:
    stage.declare()
    run_id, (chunk_id,) = stage.uploading([200])
    stage.upload(chunk_id, rejected=200)
    assert stage.settle(run_id)


@pytest.mark.parametrize("attempt", range(3))
def test_of_several_who_reject_at_once_the_last_sees_that_they_are_too_many(stage: Stage, attempt: int) -> None:
    at_once = 6
    chunk_ids = limited(stage, [10] * at_once, rows=11)
    held = [stage.held(chunk_id) for chunk_id in chunk_ids]
    ready = threading.Barrier(at_once)

    def work(number: int) -> None:
        ready.wait()
        stage.record(held[number], 10, rejected=2)
        stage.finish(held[number])

    with ThreadPoolExecutor(at_once) as pool:
        for done in [pool.submit(work, number) for number in range(at_once)]:
            done.result()
    assert attempt >= 0
    assert_stopped(stage, chunk_ids[0])
    assert not stage.settle(run_of(stage, chunk_ids[0]))


def test_many_who_stop_a_run_while_others_ask_for_its_pipeline_wait_for_nobody_in_a_circle(stage: Stage) -> None:
    at_once = 4
    chunk_ids = limited(stage, [10] * at_once, rows=0)
    held = [stage.held(chunk_id) for chunk_id in chunk_ids]
    run_id = run_of(stage, chunk_ids[0])
    ready = threading.Barrier(2 * at_once)

    def work(number: int) -> None:
        ready.wait()
        stage.record(held[number], 10, rejected=1)
        stage.finish(held[number])

    def ask() -> None:
        ready.wait()
        with stage.database.transaction() as connection:
            breaker.judge(connection, run_id)
        with stage.database.transaction() as connection:
            declared.get_pipeline(connection, "people", lock=True)
            moves.fail(connection, run_id, FeedRefused("401"))

    with ThreadPoolExecutor(2 * at_once) as pool:
        asked = [pool.submit(ask) for _ in range(at_once)]
        for done in (*[pool.submit(work, number) for number in range(at_once)], *asked):
            done.result()
    assert stage.run(run_id).state is RunState.FAILED


def test_nothing_reopens_it_but_an_operator(stage: Stage) -> None:
    (chunk_id,) = limited(stage, [10], rows=0)
    stage.upload(chunk_id, rejected=1)
    assert_stopped(stage, chunk_id)
    with pytest.raises(MoveNotAllowed, match=r"faulted: .* max_rejected_rows"):
        stage.trigger()
    stage.write("UPDATE pipelines SET faulted_reason = NULL")  # As retrying another run of it does.
    with stage.database.transaction() as connection:
        row = declared.get_pipeline(connection, "people", lock=True)
        asked = requests.occur(
            connection, row, Occurrence(T2), window_chunks=WINDOW_CHUNKS, max_reopenings=MAX_REOPENINGS
        )
    assert asked.messages == ()
    assert_stopped(stage, chunk_id)
    with stage.database.transaction() as connection, pytest.raises(MoveNotAllowed, match="--accept-rejects"):
        moves.retry(connection, run_of(stage, chunk_id), window_chunks=WINDOW_CHUNKS)


def test_an_operator_who_accepts_the_rejected_rows_has_the_run_go_on_and_settle(stage: Stage) -> None:
    first, second = limited(stage, [10, 10], rows=0, ratio=0.1)
    run_id = run_of(stage, first)
    stage.upload(first, rejected=5)
    with stage.database.transaction() as connection:
        asked = moves.retry(connection, run_id, window_chunks=WINDOW_CHUNKS, accepts_rejects=True)
    assert sent(asked.messages, TaskName.UPLOAD_CHUNK) == [second]
    assert stage.fault() is None
    stage.upload(second, rejected=10)
    assert stage.settle(run_id)
    assert stage.standing().watermark == T1


def test_an_operator_who_abandons_it_has_the_window_read_again(stage: Stage) -> None:
    (chunk_id,) = limited(stage, [10], rows=0)
    stage.upload(chunk_id, rejected=1)
    with stage.database.transaction() as connection:
        moves.abandon(connection, run_of(stage, chunk_id))
    assert stage.fault() is None
    assert stage.run(stage.started()).state is RunState.CREATED
    assert stage.standing().watermark == T0
