"""What a sync means, through the whole path: windows, kinds of runs, stopping and going on, rejects, the quota."""

from datetime import UTC, datetime, time, timedelta
from pathlib import Path

import pytest

from console.saved import Format
from shared import catalog
from shared.errors import AlreadyInProgress, MoveNotAllowed
from shared.ledger import Ledger, RejectCode
from shared.run import WORKING, RunKind, RunState, SliceState
from shared.store.tables import chunks, slices
from tests.system.people import SLOW_QUERY, People, assert_arrived_once, assert_spool_holds_only_chunks

A_DAY = timedelta(days=1)


def test_a_second_run_reads_only_what_changed(people: People) -> None:
    people.declare()
    people.add(300, changed_at=datetime.now(UTC) - A_DAY)
    first = people.settle()
    people.write(
        "UPDATE people SET firstname = 'Ada', changed_at = now()::TIMESTAMP"
        " WHERE customer_id IN (SELECT customer_id FROM people ORDER BY customer_id LIMIT 20)"
    )
    before = people.deployment.counters()
    second = people.settle()
    assert (first.kind, second.kind) == (RunKind.INITIAL, RunKind.MANUAL)
    assert second.window.low == first.window.high
    assert second.ledger == Ledger(extracted=20, accepted=20)
    assert people.deployment.counters()["batches"] - before["batches"] == 20
    assert people.profile(0)["user_attributes"]["firstname"] == "Ada"
    assert people.profile(0)["updates"] == 2
    assert people.profile(299)["updates"] == 1


def test_a_run_without_rows_settles_and_moves_the_watermark(people: People) -> None:
    people.declare()
    people.add(0)
    first = people.settle()
    second = people.settle()
    assert first.ledger == second.ledger == Ledger()
    assert second.window.low == first.window.high
    assert people.deployment.standing(people.id)["watermark"] == second.window.high


def test_a_full_pipeline_reads_everything_each_time(people: People) -> None:
    people.declare(catalog.Full())
    people.add(150)
    runs = [people.settle() for _ in range(2)]
    assert [run.ledger.accepted for run in runs] == [150, 150]
    assert people.profile(149)["updates"] == 2


def test_a_date_iterator_never_reads_today(people: People) -> None:
    mode = catalog.Incremental(iterator_field="changed_at", iterator_data_type=catalog.IteratorType.DATE)
    people.deployment.until(
        lambda: datetime.now(UTC).time() < time(23, 58), "today lasts until the test has ended", 150
    )
    people.declare(mode)
    people.add(30, changed_at=datetime.now(UTC) - A_DAY, iterator="DATE")
    people.add(20, changed_at=datetime.now(UTC))
    first = people.settle()
    assert first.ledger == Ledger(extracted=30, accepted=30)
    assert first.window.high == datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    second = people.settle()
    assert second.window.is_empty
    assert second.ledger == Ledger()


def test_people_without_an_iterator_come_with_the_initial_sync_only(people: People) -> None:
    people.declare()
    people.add(50)
    people.write("UPDATE people SET changed_at = NULL WHERE score < 2")  # score is a seventh of the number
    assert people.settle().ledger == Ledger(extracted=50, accepted=50)
    people.add(10)
    people.write("UPDATE people SET changed_at = NULL WHERE score > 55 / 7")
    assert people.settle().ledger == Ledger(extracted=6, accepted=6)


def test_the_live_lane_does_not_wait_for_history(people: People) -> None:
    deployment = people.deployment
    people.declare(query=SLOW_QUERY)
    people.add(1500)
    history = people.trigger()
    deployment.until(lambda: deployment.slices(history), "the initial sync is planned")
    deployment.operations.cancel(history)
    deployment.until(lambda: not deployment.claims(history), "nobody has the warehouse's file open")
    people.add(10)  # After T0, whenever that was.
    with deployment.frozen("upload-backfill"):
        deployment.operations.retry(history)
        deployment.until(lambda: deployment.claims(history), "history is being read")
        with deployment.frozen("extract-backfill"):
            live = people.expect(people.trigger(), RunState.SETTLED)
            assert deployment.run(history).state in WORKING
    assert live.ledger == Ledger(extracted=10, accepted=10)
    assert people.expect(history, RunState.SETTLED).ledger == Ledger(extracted=1500, accepted=1500)
    standing = people.deployment.standing(people.id)
    assert standing["watermark"] == live.window.high
    assert standing["history_settled_to"] == live.window.low


def test_a_pipeline_has_one_run_at_a_time_on_its_live_lane(people: People) -> None:
    people.declare(catalog.Full(), query=SLOW_QUERY)
    people.add(300)
    run_id = people.trigger()
    with pytest.raises(AlreadyInProgress):
        people.trigger()
    people.expect(run_id, RunState.SETTLED)


def test_a_failed_run_keeps_its_window_and_is_reopened_with_the_same_ids(people: People) -> None:
    people.declare_past_history()
    people.add(250)
    people.deployment.turn_faults(reject_all=True)
    before = people.deployment.counters()
    run_id = people.trigger()
    failed = people.expect(run_id, RunState.FAILED)
    assert failed.error_kind == "FeedRefused"
    assert failed.ledger == Ledger(extracted=250, unsent=250)
    ids = {chunk["id"] for chunk in people.deployment.chunks(run_id)}
    people.add(5)
    people.deployment.turn_faults()
    assert people.trigger() == run_id
    assert_arrived_once(people, run_id, rows=250, before=before)
    assert people.deployment.run(run_id).window == failed.window
    assert {chunk["id"] for chunk in people.deployment.chunks(run_id)} == ids
    assert people.settle().ledger == Ledger(extracted=5, accepted=5)


def test_a_run_that_fails_too_often_faults_its_pipeline_until_an_operator_retries(people: People) -> None:
    people.declare_past_history()
    people.add(120)
    people.deployment.turn_faults(reject_all=True)
    before = people.deployment.counters()
    run_id = people.trigger()
    for reopenings in range(3):
        assert people.expect(run_id, RunState.FAILED).reopenings == reopenings
        assert people.trigger() == run_id
    people.expect(run_id, RunState.FAILED)
    for _ in range(2):
        with pytest.raises(MoveNotAllowed, match=r"is faulted: run .* failed again after 3 reopenings, last with"):
            people.trigger()
    people.deployment.turn_faults()
    people.deployment.operations.retry(run_id)
    assert_arrived_once(people, run_id, rows=120, before=before)
    assert people.deployment.standing(people.id)["faulted_reason"] is None


def test_an_abandoned_run_frees_its_window_and_its_people_are_sent_anew(people: People) -> None:
    people.declare_past_history()
    watermark = people.deployment.standing(people.id)["watermark"]
    people.add(100)
    people.deployment.turn_faults(reject_all=True)
    failed = people.trigger()
    people.expect(failed, RunState.FAILED)
    assert people.deployment.standing(people.id)["watermark"] == watermark
    people.deployment.turn_faults()
    abandoned = people.deployment.operations.abandon(failed)
    assert abandoned.state is RunState.ABANDONED
    assert abandoned.ledger == Ledger(extracted=100, unsent=100)
    before = people.deployment.counters()
    run_id = people.trigger()
    assert run_id != failed
    assert assert_arrived_once(people, run_id, rows=100, before=before).window.low == watermark


def test_a_cancelled_run_leaves_the_rest_unsent_until_it_is_retried(people: People) -> None:
    people.declare_past_history()
    people.add(600)
    people.deployment.turn_faults(delay_s=0.5)
    before = people.deployment.counters()
    run_id = people.trigger()
    people.deployment.until(lambda: people.deployment.run(run_id).ledger.accepted, "somebody was accepted")
    people.deployment.operations.cancel(run_id)
    cancelled = people.expect(run_id, RunState.CANCELLED)
    assert cancelled.ledger.balances
    assert cancelled.ledger.unsent > 0
    number = cancelled.number
    with pytest.raises(MoveNotAllowed, match=f"held by cancelled run {number}.*warehouse-sync retry {number}"):
        people.trigger()
    people.deployment.until(lambda: not people.deployment.claims(run_id), "chunks under way are given back")
    people.deployment.turn_faults()
    at_rest = people.deployment.run(run_id).ledger
    assert at_rest.balances
    assert people.deployment.counters()["batches"] - before["batches"] == at_rest.accepted
    people.deployment.operations.retry(run_id)
    assert_arrived_once(people, run_id, rows=600, before=before)


def test_cancelling_stops_the_query_and_a_retry_reads_from_the_beginning(people: People) -> None:
    people.declare_past_history(query=SLOW_QUERY)
    people.add(4000)
    before = people.deployment.counters()
    run_id = people.trigger()
    people.deployment.until(lambda: people.deployment.claims(run_id), "the slice is being read")
    people.deployment.operations.cancel(run_id)
    people.deployment.until(
        lambda: people.deployment.slices(run_id)[0]["state"] == SliceState.PENDING, "the slice is given back"
    )
    assert people.deployment.run(run_id).ledger == Ledger()
    assert_spool_holds_only_chunks(people.deployment, run_id)
    people.write("DELETE FROM people WHERE score >= 100 / 7")
    people.deployment.operations.retry(run_id)
    assert_arrived_once(people, run_id, rows=100, before=before)


def test_rejects_keep_their_values_code_and_reason_and_the_others_arrive(people: People) -> None:
    people.declare(catalog.Full())
    people.add(200)
    people.write(
        """
        UPDATE people SET customer_id = NULL, email = NULL WHERE score = 3;
        UPDATE people SET firstname = repeat('x', 5000) WHERE score = 5;
        UPDATE people SET firstname = 'marked' WHERE score IN (7, 20)
        """
    )
    people.deployment.turn_faults(reject_marked={"attribute": "firstname", "value": "marked"})
    before = people.deployment.counters()
    run = people.settle()
    assert run.ledger == Ledger(extracted=200, accepted=196, rejected=4)
    assert people.deployment.counters()["batches"] - before["batches"] == 196
    files = people.deployment.reject_files(run.id)
    counts: dict[str, int] = {}
    kept = []
    for file in files:
        table = people.deployment.spool.read_rejects(file["path"], file["checksum"])
        assert table.num_rows == file["rows"] == sum(file["counts"].values())
        kept += table.to_pylist()
        for code, count in file["counts"].items():
            counts[code] = counts.get(code, 0) + count
    assert counts == {
        RejectCode.NO_IDENTITY: 1,
        RejectCode.VALUE_TOO_LONG: 1,
        RejectCode.REFUSED_BY_MPARTICLE: 2,
    }
    by_score = {row["score"]: row for row in kept}
    assert by_score.keys() == {3.0, 5.0, 7.0, 20.0}
    assert by_score[3]["customer_id"] is None
    assert by_score[3]["warehouse_sync_code"] == RejectCode.NO_IDENTITY
    assert by_score[5]["firstname"] == "x" * 5000
    assert by_score[5]["warehouse_sync_reason"] == (
        "column 'firstname': longer than 4096 characters, a text attribute's limit"
    )
    assert by_score[7]["customer_id"] == f"{people.id}-49"
    assert "user attribute 'firstname' is refused" in by_score[7]["warehouse_sync_reason"]


def test_rows_that_mparticle_refused_arrive_by_a_replay_once_it_takes_them(people: People, tmp_path: Path) -> None:
    people.declare_past_history()
    people.add(300)
    people.write("UPDATE people SET firstname = 'marked' WHERE score IN (7, 20)")
    people.deployment.turn_faults(reject_marked={"attribute": "firstname", "value": "marked"})
    rejects = people.deployment.operations.rejects
    run = people.settle()
    assert run.ledger.rejected == rejects.of(run.id).counts[RejectCode.REFUSED_BY_MPARTICLE] > 0
    with (tmp_path / "rejects.jsonl").open("wb") as file:
        assert rejects.save(run.id, file, Format.JSONL, is_masked=False) == run.ledger.rejected
    people.deployment.turn_faults()
    before = people.deployment.counters()
    stood = people.deployment.standing(people.id)
    (replay_id,) = rejects.replay(run.id)
    replay = people.expect(replay_id, RunState.SETTLED)
    assert replay.ledger == Ledger(extracted=run.ledger.rejected, accepted=run.ledger.rejected)
    after = people.deployment.counters()
    assert after["batches"] - before["batches"] == replay.ledger.accepted
    assert after["conflicts"] == before["conflicts"]
    assert people.deployment.standing(people.id) == stood
    with pytest.raises(MoveNotAllowed, match="taken by replay"):
        rejects.replay(run.id)


def test_a_429_pauses_everybody_for_as_long_as_it_says(people: People) -> None:
    people.declare(catalog.Full())
    people.add(500)
    people.deployment.turn_faults(status=429, retry_after_s=2, next=1)
    before = people.deployment.counters()
    run_id = people.trigger()
    run = assert_arrived_once(people, run_id, rows=500, before=before)
    answers = people.deployment.counters()["answers_by_status"]
    assert answers["429"] - before["answers_by_status"].get("429", 0) == 1
    assert run.started_at is not None
    assert run.ended_at is not None
    assert run.ended_at - run.started_at > timedelta(seconds=2)


def test_a_feed_that_is_down_for_a_while_costs_nobody(people: People) -> None:
    people.declare(catalog.Full())
    people.add(300)
    people.deployment.turn_faults(status=503)
    before = people.deployment.counters()
    run_id = people.trigger()
    people.deployment.until(
        lambda: any(chunk["attempts"] > 1 for chunk in people.deployment.chunks(run_id)), "an attempt has yielded"
    )
    people.deployment.turn_faults()
    assert_arrived_once(people, run_id, rows=300, before=before)
    assert people.deployment.rows(chunks.select().where(chunks.c.run_id == run_id, chunks.c.deaths > 0)) == []
    assert people.deployment.rows(slices.select().where(slices.c.run_id == run_id, slices.c.deaths > 0)) == []
