"""A slice is published whole, or nothing of it is seen."""

from uuid import uuid4

import pytest
from sqlalchemy.exc import IntegrityError

from shared.messages import TaskName
from shared.run import ChunkId, Position, RunState
from shared.store import lost, moves, slices
from shared.store.claims import ClaimLost, fresh_token
from shared.store.slices import NewChunk
from tests.shared.store.stage import LAPSED_S, LEASE_S, WINDOW_CHUNKS, Stage, sent


def test_nothing_is_visible_before_a_slice_is_published(stage: Stage) -> None:
    stage.declare()
    run_id = stage.started()
    (slice_id,) = stage.plan(run_id)
    claimed, token = stage.claim_slice(slice_id)
    with stage.database.transaction() as connection:
        assert slices.renew(connection, slice_id, token, LEASE_S, rows_read=7, bytes_spooled=70)
    assert stage.run(run_id).ledger.extracted == 0
    assert stage.rows("SELECT * FROM chunks") == []
    stage.publish(claimed, token, [4, 3])
    assert stage.run(run_id).ledger.extracted == 7
    assert [row.rows for row in stage.rows("SELECT rows FROM chunks ORDER BY no")] == [4, 3]


def test_a_slice_that_cannot_be_published_whole_is_not_published_at_all(stage: Stage) -> None:
    stage.declare()
    run_id = stage.started()
    (slice_id,) = stage.plan(run_id)
    claimed, token = stage.claim_slice(slice_id)
    new = [NewChunk(ChunkId(uuid4()), no, "path", "sum", 5, 100) for no in (0, 1, 1)]
    with pytest.raises(IntegrityError, match="chunks_slice_id_no_key"), stage.database.transaction() as connection:
        slices.publish(connection, claimed, token, new, extracted=15)
    assert stage.rows("SELECT * FROM chunks") == []
    assert stage.rows("SELECT state FROM slices")[0].state == "extracting"
    assert stage.run(run_id).ledger.extracted == 0


def test_the_extraction_of_a_stopped_run_publishes_nothing(stage: Stage) -> None:
    stage.declare()
    run_id = stage.started()
    (slice_id,) = stage.plan(run_id)
    claimed, token = stage.claim_slice(slice_id)
    with stage.database.transaction() as connection:
        moves.cancel(connection, run_id)
    with stage.database.transaction() as connection:
        assert not slices.renew(connection, slice_id, token, LEASE_S, rows_read=1, bytes_spooled=1)
    with pytest.raises(ClaimLost):
        stage.publish(claimed, token, [5])
    assert stage.rows("SELECT * FROM chunks") == []
    run = stage.run(run_id)
    assert (run.state, run.ledger.extracted, run.slices_published) == (RunState.CANCELLED, 0, 0)


def test_an_extraction_that_saw_its_run_stopped_and_continued_still_publishes(stage: Stage) -> None:
    stage.declare()
    run_id = stage.started()
    (slice_id,) = stage.plan(run_id)
    claimed, token = stage.claim_slice(slice_id)
    with stage.database.transaction() as connection:
        moves.cancel(connection, run_id)
        assert moves.retry(connection, run_id, window_chunks=WINDOW_CHUNKS).messages == ()
    assert len(sent(stage.publish(claimed, token, [5]), TaskName.UPLOAD_CHUNK)) == 1


def test_extracted_is_what_the_driver_counted_and_not_what_was_spooled(stage: Stage) -> None:
    stage.declare()
    run_id = stage.started()
    (slice_id,) = stage.plan(run_id)
    stage.publish(*stage.claim_slice(slice_id), [5], extracted=6)
    assert stage.run(run_id).ledger.extracted == 6
    assert stage.rows("SELECT rows_read FROM slices")[0].rows_read == 6


def test_an_empty_slice_settles(stage: Stage) -> None:
    stage.declare()
    run_id = stage.started()
    (slice_id,) = stage.plan(run_id)
    assert sent(stage.publish(*stage.claim_slice(slice_id), []), TaskName.SETTLE_RUN) == [run_id]
    assert stage.settle(run_id)
    assert stage.run(run_id).state is RunState.SETTLED


def test_a_run_without_slices_settles(stage: Stage) -> None:
    stage.declare()
    run_id = stage.started()
    run, token = stage.claim_plan(run_id)
    messages = stage.freeze(run, token, run.window, slice_count=0)
    assert [(message.task, message.id) for message in messages] == [(TaskName.SETTLE_RUN, run_id)]
    assert stage.settle(run_id)


def test_uploading_begins_with_the_first_slice_and_extracting_ends_with_the_last(stage: Stage) -> None:
    stage.declare()
    run_id = stage.started()
    first, second = stage.plan(run_id, slice_count=2)
    for chunk_id in stage.extract(first, [5]):
        assert sent(stage.upload(chunk_id), TaskName.SETTLE_RUN) == []
    assert stage.run(run_id).state is RunState.EXTRACTING
    assert not stage.settle(run_id)
    claimed, token = stage.claim_slice(second)
    assert sent(stage.publish(claimed, token, []), TaskName.SETTLE_RUN) == [run_id]
    assert stage.run(run_id).state is RunState.UPLOADING
    assert stage.settle(run_id)


def test_an_extraction_that_died_starts_over(stage: Stage) -> None:
    stage.declare()
    (slice_id,) = stage.plan(stage.started())
    _, token = stage.claim_slice(slice_id)
    with stage.database.transaction() as connection:
        slices.renew(connection, slice_id, token, LAPSED_S, rows_read=9, bytes_spooled=90)
    with stage.database.transaction() as connection:
        assert [death.token for death in lost.free_dead(connection)] == [token]
    stage.claim_slice(slice_id)
    (row,) = stage.rows("SELECT rows_read, bytes_spooled FROM slices")
    assert (row.rows_read, row.bytes_spooled) == (0, 0)


def test_a_slice_that_is_put_off_says_why_until_it_starts(stage: Stage) -> None:
    stage.declare()
    (slice_id,) = stage.plan(stage.started())
    claimed, token = stage.claim_slice(slice_id)
    with stage.database.transaction() as connection:
        slices.put_off(connection, claimed.id, token, 0, "the spool is full")
    assert stage.rows("SELECT held_reason FROM slices")[0].held_reason == "the spool is full"
    stage.claim_slice(slice_id)
    assert stage.rows("SELECT held_reason FROM slices")[0].held_reason is None


def test_room_is_counted_by_lane_from_the_first_byte_until_the_spool_is_freed(stage: Stage) -> None:
    stage.declare("big")
    stage.declare("small")
    big, small = stage.started("big"), stage.started("small")
    (big_slice,), (small_slice,) = stage.plan(big), stage.plan(small)
    _, token = stage.claim_slice(big_slice)
    with stage.database.transaction() as connection:
        slices.renew(connection, big_slice, token, LEASE_S, rows_read=1, bytes_spooled=70)
    chunk_ids = stage.extract(small_slice, [5, 5])
    with stage.database.transaction() as connection:
        assert slices.room_taken(connection) == {"big (live)": 70, "small (live)": 200}
        assert slices.room_taken(connection, without=big_slice) == {"small (live)": 200}
    for chunk_id in chunk_ids:
        stage.upload(chunk_id)
    stage.settle(small)
    with stage.database.transaction() as connection:
        assert slices.room_taken(connection) == {"big (live)": 70, "small (live)": 200}
        lost.mark_spool_freed(connection, small)
        assert slices.room_taken(connection) == {"big (live)": 70}


def test_what_the_dead_or_the_held_wrote_takes_no_room(stage: Stage) -> None:
    stage.declare()
    run_id = stage.started()
    (slice_id,) = stage.plan(run_id)
    _, token = stage.claim_slice(slice_id)
    with stage.database.transaction() as connection:
        slices.renew(connection, slice_id, token, LAPSED_S, rows_read=1, bytes_spooled=70)
    with stage.database.transaction() as connection:
        lost.free_dead(connection)
        assert slices.room_taken(connection) == {}
    claimed, token = stage.claim_slice(slice_id)
    with stage.database.transaction() as connection:
        slices.renew(connection, slice_id, token, LEASE_S, rows_read=1, bytes_spooled=70)
        slices.put_off(connection, claimed.id, token, 60, "busy")
        assert slices.room_taken(connection) == {}


def test_who_waits_for_room_has_a_slice_to_start(stage: Stage) -> None:
    for pipeline_id in ("waiting", "started", "stopped"):
        stage.declare(pipeline_id)
    stage.plan(stage.started("waiting"))
    (slice_id,) = stage.plan(stage.started("started"))
    stage.claim_slice(slice_id)
    stopped = stage.started("stopped")
    stage.plan(stopped)
    with stage.database.transaction() as connection:
        moves.cancel(connection, stopped)
        assert slices.waiting_for_room(connection) == {"waiting (live)"}


def test_a_slice_is_known_by_its_number(stage: Stage) -> None:
    stage.declare()
    for no, slice_id in enumerate(stage.plan(stage.started(), slice_count=3)):
        with stage.database.transaction() as connection:
            assert slices.number_of(connection, slice_id) == no


def test_what_follows_a_position_is_the_next_slice_and_its_claimants_own(stage: Stage) -> None:
    stage.declare()
    run_id = stage.started()
    (slice_id,) = stage.plan(run_id)
    claimed, token = stage.claim_slice(slice_id)
    following, messages = stage.publish_and_continue(claimed, token, [4, 3])
    assert len(sent(messages, TaskName.UPLOAD_CHUNK)) == 2
    assert following is not None
    run = stage.run(run_id)
    assert (run.state, run.slices_published, run.slices_total) == (RunState.EXTRACTING, 1, 2)
    assert following.position == {"result": str(run_id), "row": 1}
    with stage.database.transaction() as connection:
        assert slices.renew(connection, following.id, token, LEASE_S, rows_read=1, bytes_spooled=1)
        assert slices.claim(connection, following.id, fresh_token(), LEASE_S) is None
    stage.publish(following, token, [2])
    run = stage.run(run_id)
    assert (run.state, run.ledger.extracted, run.slices_published) == (RunState.UPLOADING, 9, 2)


def test_the_rest_of_a_dead_claimants_result_is_read_where_it_begins(stage: Stage) -> None:
    stage.declare()
    run_id = stage.started()
    (slice_id,) = stage.plan(run_id)
    claimed, token = stage.claim_slice(slice_id)
    following, _ = stage.publish_and_continue(claimed, token, [4], lease_s=LAPSED_S)
    assert following is not None
    with stage.database.transaction() as connection:
        (death,) = lost.free_dead(connection)
    assert death.id == following.id
    again, fresh = stage.claim_slice(following.id)
    assert again == following
    with pytest.raises(ClaimLost):
        stage.publish(following, token, [2])
    stage.publish(again, fresh, [2])
    assert stage.run(run_id).ledger.extracted == 6


def test_a_stopped_runs_slice_is_neither_published_nor_continued(stage: Stage) -> None:
    stage.declare()
    run_id = stage.started()
    (slice_id,) = stage.plan(run_id)
    claimed, token = stage.claim_slice(slice_id)
    with stage.database.transaction() as connection:
        moves.cancel(connection, run_id)
    with pytest.raises(ClaimLost):
        stage.publish_and_continue(claimed, token, [4])
    assert len(stage.rows("SELECT * FROM slices")) == 1


def test_where_a_slice_begins_is_told_by_its_claimant_only(stage: Stage) -> None:
    stage.declare()
    (slice_id,) = stage.plan(stage.started())
    _, token = stage.claim_slice(slice_id)
    begin: Position = {"result": "r", "row": 0}
    with pytest.raises(ClaimLost), stage.database.transaction() as connection:
        slices.begin_at(connection, slice_id, fresh_token(), begin)
    with stage.database.transaction() as connection:
        slices.begin_at(connection, slice_id, token, begin)
        slices.put_off(connection, slice_id, token, 0, "again")
    again, token = stage.claim_slice(slice_id)
    assert again.position == begin
    with stage.database.transaction() as connection:
        slices.begin_at(connection, slice_id, token, None)
        slices.put_off(connection, slice_id, token, 0, "anew")
    assert stage.claim_slice(slice_id)[0].position is None
    assert stage.rows("SELECT position IS NULL AS is_null FROM slices")[0].is_null
