"""A held run waits for an operator, whatever else happens; and only unusual volumes are held."""

from collections.abc import Callable
from datetime import timedelta

import pytest
from sqlalchemy.exc import IntegrityError

from shared.errors import AlreadyInProgress, FeedRefused, MoveNotAllowed
from shared.messages import TaskName
from shared.run import ChunkId, HeldFor, RunId, RunState, SliceId, Window
from shared.store import declared, history, holds, lives, lost, moves, requests, run_events, stalled
from shared.store.asked import Asked
from shared.store.claims import ClaimLost
from shared.store.waiting import Occurrence
from tests.shared.store.stage import (
    INCREMENTAL,
    MAX_REOPENINGS,
    T0,
    T1,
    WINDOW_CHUNKS,
    Stage,
    sent,
)

WHY = "more rows than usual"


def held(stage: Stage, sizes: tuple[int, ...] = (3, 2)) -> tuple[RunId, list[ChunkId]]:
    """Give a live run that is held while its chunks wait, behind a settled initial sync."""
    stage.past_history()
    run_id, chunk_ids = stage.uploading(sizes, Window(T0, T1))
    with stage.database.transaction() as connection:
        assert holds.hold(connection, run_id, HeldFor.VOLUME_UNUSUAL, WHY)
    return run_id, chunk_ids


def moved(stage: Stage, move: Callable[..., Asked], run_id: RunId) -> Asked:
    with stage.database.transaction() as connection:
        return move(connection, run_id, window_chunks=WINDOW_CHUNKS)


def occur(stage: Stage, minutes: int) -> Asked:
    """Let an occurrence come."""
    with stage.database.transaction() as connection:
        return requests.occur(
            connection,
            declared.get_pipeline(connection, "people", lock=True),
            Occurrence(T1 + timedelta(minutes=minutes)),
            window_chunks=WINDOW_CHUNKS,
            max_reopenings=MAX_REOPENINGS,
        )


def test_nothing_automatic_moves_a_held_run(stage: Stage) -> None:
    run_id, chunk_ids = held(stage)
    assert stage.claim(chunk_ids[0]) is None
    with stage.database.transaction() as connection:
        assert lost.never_sent(connection, window_chunks=WINDOW_CHUNKS) == []
        assert sum(lost.sent_and_unclaimed(connection).values()) == 0
        assert lost.complete_unsettled(connection) == []
        assert lost.close_deleted(connection) == []
        corrected = moves.reopen_corrected(connection, ["people"], ["FeedRefused"], window_chunks=WINDOW_CHUNKS)
        assert corrected == Asked((), ())
    assert occur(stage, 1).runs == ()
    assert occur(stage, 20).runs == ()
    with stage.database.transaction() as connection:
        lives.pause(connection, "people")
        assert lives.resume(connection, "people", window_chunks=WINDOW_CHUNKS).messages == ()
        assert stalled.begin(connection) == []
    assert not stage.settle(run_id)
    run = stage.run(run_id)
    assert (run.state, run.held_for, run.held_reason) == (RunState.CANCELLED, HeldFor.VOLUME_UNUSUAL, WHY)
    assert run.ledger.unsent == 5
    assert len(stage.rows("SELECT id FROM runs WHERE state = 'waiting'")) == 1, "occurrences wait behind it"


def test_a_complete_run_that_is_held_is_not_settled(stage: Stage) -> None:
    stage.past_history()
    run_id, (chunk_id,) = stage.uploading([2], Window(T0, T1))
    at_work = stage.held(chunk_id)
    with stage.database.transaction() as connection:
        holds.hold(connection, run_id, HeldFor.RESTORED, WHY)
    stage.record(at_work, 2)
    assert stage.finish(at_work) == []
    run = stage.run(run_id)
    assert run.is_complete
    assert (run.ledger.accepted, run.ledger.unsent) == (2, 0)
    assert not stage.settle(run_id)
    assert sent(moved(stage, moves.approve, run_id).messages, TaskName.SETTLE_RUN) == [run_id]
    assert stage.settle(run_id)


def test_a_trigger_is_refused_with_the_question(stage: Stage) -> None:
    run_id, _ = held(stage)
    with pytest.raises(MoveNotAllowed, match=f"{WHY}; `warehouse-sync approve {stage.run(run_id).number}`"):
        stage.trigger()


@pytest.mark.parametrize("move", [moves.approve, moves.retry])
def test_an_operators_word_lets_it_go_on_with_the_same_chunks(stage: Stage, move: Callable[..., Asked]) -> None:
    run_id, chunk_ids = held(stage)
    messages = moved(stage, move, run_id).messages
    assert set(sent(messages, TaskName.UPLOAD_CHUNK)) == set(chunk_ids)
    for chunk_id in chunk_ids:
        stage.upload(chunk_id)
    assert stage.settle(run_id)
    run = stage.run(run_id)
    assert (run.is_held, run.held_for, run.held_reason, run.accepts_volume) == (False, None, None, True)
    assert stage.standing().watermark == T1


def test_only_a_held_run_is_approved(stage: Stage) -> None:
    run_id, _ = held(stage)
    moved(stage, moves.approve, run_id)
    with pytest.raises(MoveNotAllowed, match="only a held run is approved"):
        moved(stage, moves.approve, run_id)
    with pytest.raises(AlreadyInProgress):
        stage.trigger()


def test_a_held_run_that_is_cancelled_is_no_question_any_more_and_can_be_retried(stage: Stage) -> None:
    run_id, chunk_ids = held(stage)
    with stage.database.transaction() as connection:
        moves.cancel(connection, run_id)
    run = stage.run(run_id)
    assert (run.state, run.is_held, run.accepts_volume) == (RunState.CANCELLED, False, True)
    with pytest.raises(MoveNotAllowed, match="only a held run is approved"):
        moved(stage, moves.approve, run_id)
    assert set(sent(moved(stage, moves.retry, run_id).messages, TaskName.UPLOAD_CHUNK)) == set(chunk_ids)


def test_what_waited_behind_a_held_run_starts_when_that_is_abandoned(stage: Stage) -> None:
    run_id, _ = held(stage)
    occur(stage, 1)
    (waits,) = stage.rows("SELECT id FROM runs WHERE state = 'waiting'")
    with stage.database.transaction() as connection:
        asked = moves.abandon(connection, run_id)
    assert sent(asked.messages, TaskName.PLAN_RUN) == [waits.id]
    assert not stage.run(run_id).is_held
    assert stage.run(run_id).ledger.unsent == 5


def test_its_events_say_that_it_was_held_and_why_and_who_decided(stage: Stage) -> None:
    run_id, _ = held(stage)
    with stage.database.acting_as("Ann").transaction() as connection:
        moves.approve(connection, run_id, window_chunks=WINDOW_CHUNKS)
    with stage.database.transaction() as connection:
        events = run_events.of_run(connection, run_id)
    assert [event.name for event in events] == ["created", "extracting", "uploading", "held", "uploading"]
    assert (events[-2].error_kind, events[-2].error, events[-2].actor) == ("volume_unusual", WHY, None)
    assert (events[-1].error_kind, events[-1].actor) == (None, "Ann")


def test_a_worker_that_knows_no_holds_ends_one_with_whatever_moves_the_run(stage: Stage) -> None:
    run_id, _ = held(stage)
    stage.write("UPDATE runs SET state = 'abandoned' WHERE id = :id", id=run_id)
    run = stage.run(run_id)
    assert (run.held_at, run.held_for, run.held_reason) == (None, None, None)


@pytest.mark.parametrize(
    "change",
    [
        "held_at = now(), held_for = 'restored', held_reason = 'why'",
        "state = 'cancelled', held_at = now()",
        "state = 'cancelled', held_at = now(), held_for = 'whim', held_reason = 'why'",
    ],
)
def test_the_store_refuses_half_a_hold_an_unknown_one_and_one_of_a_run_at_work(stage: Stage, change: str) -> None:
    stage.declare()
    run_id = stage.started()
    with pytest.raises(IntegrityError):
        stage.write(f"UPDATE runs SET {change} WHERE id = :id", id=run_id)


def test_a_part_of_history_that_is_held_stays_so_when_its_backfill_is_resumed(stage: Stage) -> None:
    stage.declare(mode=INCREMENTAL)
    run_id = stage.started()
    stage.plan(run_id, Window(None, T0, includes_null=True))
    with stage.database.transaction() as connection:
        holds.hold(connection, run_id, HeldFor.RESTORED, WHY)
    backfill_id = stage.run(run_id).backfill_id
    assert backfill_id is not None
    with stage.database.transaction() as connection:
        history.cancel(connection, backfill_id)
        asked = history.resume(connection, backfill_id, window_chunks=WINDOW_CHUNKS)
    assert asked.messages == ()
    assert stage.run(run_id).is_held


# The volume guard.


def settle_live(stage: Stage, *sizes: int) -> None:
    """Settle live runs of so many rows, one after the other."""
    for rows in sizes:
        low = stage.standing().watermark
        assert low is not None
        stage.complete(stage.started(), Window(low, low + timedelta(hours=1)), [rows] if rows else [])


def live(stage: Stage, **limits: float) -> tuple[RunId, SliceId]:
    low = stage.standing().watermark
    assert low is not None
    run_id = stage.started()
    (slice_id,) = stage.plan(run_id, Window(low, low + timedelta(hours=1)), snapshot=limits)
    return run_id, slice_id


def test_a_run_beyond_max_rows_is_held_before_anything_of_it_is_sent(stage: Stage) -> None:
    stage.past_history()
    run_id, slice_id = live(stage, max_volume_rows=4)
    assert stage.publish(*stage.claim_slice(slice_id), [3, 2]) == []
    run = stage.run(run_id)
    assert (run.state, run.held_for) == (RunState.CANCELLED, HeldFor.VOLUME_UNUSUAL)
    assert (run.ledger.extracted, run.ledger.unsent) == (5, 5)
    assert run.held_reason is not None
    assert f"run {run.number} has read 5 rows" in run.held_reason
    assert "warehouse-sync" not in run.held_reason, "whoever shows it says the commands, once"
    assert {(stage.chunk(id_).sent_at, stage.chunk(id_).attempts) for id_ in stage.chunk_ids(slice_id)} == {(None, 0)}
    assert len(sent(moved(stage, moves.approve, run_id).messages, TaskName.UPLOAD_CHUNK)) == 2


def test_what_was_published_within_the_limit_is_sent_and_what_goes_beyond_is_not(stage: Stage) -> None:
    stage.past_history()
    run_id, slice_id = live(stage, max_volume_rows=4)
    claimed, token = stage.claim_slice(slice_id)
    following, messages = stage.publish_and_continue(claimed, token, [3])
    assert following is not None
    (first,) = sent(messages, TaskName.UPLOAD_CHUNK)
    at_work = stage.held(first)
    rest, messages = stage.publish_and_continue(following, token, [2])
    assert (rest, messages) == (None, [])
    stage.record(at_work, 3)
    stage.finish(at_work)
    run = stage.run(run_id)
    assert (run.state, run.is_held) == (RunState.CANCELLED, True)
    assert (run.ledger.accepted, run.ledger.unsent) == (3, 2)


def test_an_approved_run_reads_on_from_where_it_was_held_and_is_not_asked_about_again(stage: Stage) -> None:
    stage.past_history()
    run_id, slice_id = live(stage, max_volume_rows=4)
    stage.publish_and_continue(*stage.claim_slice(slice_id), [5])
    messages = moved(stage, moves.approve, run_id).messages
    assert len(sent(messages, TaskName.UPLOAD_CHUNK)) == 1
    (following,) = sent(messages, TaskName.EXTRACT_SLICE)
    claimed, token = stage.claim_slice(following)
    assert claimed.position == {"result": str(run_id), "row": 1}
    assert len(stage.publish(claimed, token, [100])) == 1
    run = stage.run(run_id)
    assert (run.state, run.is_held, run.ledger.extracted) == (RunState.UPLOADING, False, 105)


def test_a_run_is_compared_with_the_median_of_the_last_live_runs_that_had_rows(stage: Stage) -> None:
    stage.past_history()
    settle_live(stage, 4, 0, 6, 100, 0)
    run_id, slice_id = live(stage, max_volume_ratio=2)
    assert stage.publish(*stage.claim_slice(slice_id), [12])
    assert not stage.run(run_id).is_held
    for chunk_id in stage.chunk_ids(slice_id):
        stage.upload(chunk_id)
    assert stage.settle(run_id)
    run_id, slice_id = live(stage, max_volume_ratio=2)  # The median of 4, 6, 12 and 100 is 9.
    assert stage.publish(*stage.claim_slice(slice_id), [19]) == []
    assert stage.run(run_id).is_held


def test_only_the_last_ten_runs_say_what_is_usual(stage: Stage) -> None:
    stage.past_history()
    settle_live(stage, 100, 100, 100, *[1] * 10)
    run_id, slice_id = live(stage, max_volume_ratio=2)
    stage.publish(*stage.claim_slice(slice_id), [3])
    assert stage.run(run_id).is_held


def test_fewer_than_three_runs_with_rows_say_nothing(stage: Stage) -> None:
    stage.past_history()
    settle_live(stage, 1, 0, 1, 0)
    run_id, slice_id = live(stage, max_volume_ratio=2)
    stage.publish(*stage.claim_slice(slice_id), [1000])
    assert not stage.run(run_id).is_held


@pytest.mark.parametrize(("limits", "is_held"), [({"max_volume_ratio": 2.0}, False), ({"max_volume_rows": 4}, True)])
def test_history_is_judged_by_its_rows_alone(stage: Stage, limits: dict[str, float], *, is_held: bool) -> None:
    stage.past_history()
    settle_live(stage, 1, 1, 1, 1)
    with stage.database.transaction() as connection:
        _, asked = history.begin(
            connection, "people", low=None, high=T0, parts=1, newest_first=False, expected_rows=None
        )
    (run_id,) = asked.runs
    (slice_id,) = stage.plan(run_id, Window(None, T0, includes_null=True), snapshot=limits)
    stage.publish(*stage.claim_slice(slice_id), [1000])
    assert stage.run(run_id).is_held is is_held


def test_other_slices_of_a_held_run_publish_nothing(stage: Stage) -> None:
    stage.past_history()
    run_id = stage.started()
    slice_ids = stage.plan(run_id, Window(T0, T1), slice_count=2, snapshot={"max_volume_rows": 1})
    one, other = (stage.claim_slice(slice_id) for slice_id in slice_ids)
    stage.publish(*one, [2])
    with stage.database.transaction() as connection:
        moves.fail(connection, run_id, FeedRefused("too late"))
    assert stage.run(run_id).is_held, "what is stopped cannot fail"
    with pytest.raises(ClaimLost):
        stage.publish(*other, [2])
    assert stage.run(run_id).ledger.extracted == 2


# Few rows.


@pytest.mark.parametrize("sizes", [(2, 2), ()], ids=["few rows", "none"])
def test_a_run_below_min_rows_is_held_with_its_last_slice_and_its_watermark_stays(
    stage: Stage, sizes: tuple[int, ...]
) -> None:
    stage.past_history()
    run_id, slice_id = live(stage, min_volume_rows=5)
    assert stage.publish(*stage.claim_slice(slice_id), sizes) == []
    run = stage.run(run_id)
    assert (run.state, run.held_for) == (RunState.CANCELLED, HeldFor.VOLUME_UNUSUAL)
    assert (run.ledger.extracted, run.ledger.unsent) == (sum(sizes), sum(sizes))
    assert "volume.min_rows expects 5 or more" in (run.held_reason or "")
    with stage.database.transaction() as connection:
        assert lost.never_sent(connection, window_chunks=WINDOW_CHUNKS) == []
        assert lost.complete_unsettled(connection) == []
    assert not stage.settle(run_id)
    assert stage.standing().watermark == T0
    messages = moved(stage, moves.approve, run_id).messages
    assert sent(messages, TaskName.SETTLE_RUN) == ([] if sizes else [run_id]), "one without rows lacks nothing else"
    for chunk_id in stage.chunk_ids(slice_id):
        stage.upload(chunk_id)
    assert stage.settle(run_id)
    assert stage.standing().watermark == run.window.high


def test_a_run_is_asked_about_its_few_rows_only_once_all_of_it_is_read(stage: Stage) -> None:
    stage.past_history()
    run_id, slice_id = live(stage, min_volume_rows=5)
    claimed, token = stage.claim_slice(slice_id)
    following, messages = stage.publish_and_continue(claimed, token, [2])
    assert following is not None
    (first,) = sent(messages, TaskName.UPLOAD_CHUNK)
    stage.upload(first)
    assert stage.publish(following, token, [2]) == []
    run = stage.run(run_id)
    assert run.is_held
    assert (run.ledger.accepted, run.ledger.unsent) == (2, 2), "what was sent before is sent; held is what is left"


def test_all_slices_together_have_the_rows_of_a_run(stage: Stage) -> None:
    stage.past_history()
    run_id, slice_id = live(stage, min_volume_rows=5)
    claimed, token = stage.claim_slice(slice_id)
    following, _ = stage.publish_and_continue(claimed, token, [5])
    assert following is not None
    stage.publish(following, token, [])
    assert stage.run(run_id).state is RunState.UPLOADING


def test_the_window_of_an_abandoned_run_that_had_no_rows_is_read_again(stage: Stage) -> None:
    stage.past_history()
    run_id, slice_id = live(stage, min_volume_rows=1)
    stage.publish(*stage.claim_slice(slice_id), [])
    with stage.database.transaction() as connection:
        moves.abandon(connection, run_id)
    assert stage.standing().watermark == T0
    run_id, slice_id = live(stage, min_volume_rows=1)
    stage.publish(*stage.claim_slice(slice_id), [3])
    run = stage.run(run_id)
    assert (run.window.low, run.state) == (T0, RunState.UPLOADING)


def test_few_rows_are_compared_with_the_median_of_the_last_live_runs_that_had_rows(stage: Stage) -> None:
    stage.past_history()
    settle_live(stage, 4, 0, 6, 100, 0)
    run_id, slice_id = live(stage, min_volume_ratio=0.5)
    stage.publish(*stage.claim_slice(slice_id), [3])
    assert not stage.run(run_id).is_held
    for chunk_id in stage.chunk_ids(slice_id):
        stage.upload(chunk_id)
    assert stage.settle(run_id)
    run_id, slice_id = live(stage, min_volume_ratio=0.5)  # The median of 3, 4, 6 and 100 is 5.
    stage.publish(*stage.claim_slice(slice_id), [2])
    assert "0.5 times 5, the median of the last 4 live runs" in (stage.run(run_id).held_reason or "")


def test_no_rows_are_not_unusual_where_nothing_is_known_to_be_usual(stage: Stage) -> None:
    stage.past_history()
    settle_live(stage, 100, 0, 100, 0)
    run_id, slice_id = live(stage, min_volume_ratio=1)
    stage.publish(*stage.claim_slice(slice_id), [])
    assert not stage.run(run_id).is_held


@pytest.mark.parametrize("limits", [{"min_volume_rows": 5}, {"min_volume_ratio": 1.0}])
def test_a_quiet_part_of_history_is_not_asked_about(stage: Stage, limits: dict[str, float]) -> None:
    stage.past_history()
    settle_live(stage, 9, 9, 9)
    with stage.database.transaction() as connection:
        _, asked = history.begin(
            connection, "people", low=None, high=T0, parts=1, newest_first=False, expected_rows=None
        )
    (run_id,) = asked.runs
    (slice_id,) = stage.plan(run_id, Window(None, T0, includes_null=True), snapshot=limits)
    stage.publish(*stage.claim_slice(slice_id), [])
    assert stage.settle(run_id)


def test_a_run_with_an_empty_window_settles_unasked_and_moves_nothing(stage: Stage) -> None:
    stage.past_history()
    run_id = stage.started()
    assert stage.plan(run_id, Window(T0, T0), slice_count=0, snapshot={"min_volume_rows": 5}) == []
    assert stage.settle(run_id)
    assert stage.standing().watermark == T0


def test_what_was_approved_while_it_was_read_is_not_asked_about_when_all_of_it_is(stage: Stage) -> None:
    stage.past_history()
    settle_live(stage, 9, 9, 9)
    run_id, slice_id = live(stage, max_volume_rows=1, min_volume_ratio=1)
    stage.publish_and_continue(*stage.claim_slice(slice_id), [2])
    assert stage.run(run_id).is_held
    (following,) = sent(moved(stage, moves.approve, run_id).messages, TaskName.EXTRACT_SLICE)
    stage.publish(*stage.claim_slice(following), [2])
    run = stage.run(run_id)
    assert (run.state, run.is_held, run.ledger.extracted) == (RunState.UPLOADING, False, 4)


def test_a_run_that_was_stopped_and_goes_on_is_asked_about_its_few_rows(stage: Stage) -> None:
    stage.past_history()
    run_id, slice_id = live(stage, min_volume_rows=5)
    with stage.database.transaction() as connection:
        moves.fail(connection, run_id, FeedRefused("no"))
    assert sent(moved(stage, moves.retry, run_id).messages, TaskName.EXTRACT_SLICE) == [slice_id]
    stage.publish(*stage.claim_slice(slice_id), [2])
    assert stage.run(run_id).is_held
