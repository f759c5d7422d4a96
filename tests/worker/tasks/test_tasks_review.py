"""A review over a real store and warehouse: what it finds out, what it cannot, and that nothing moves for it."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import duckdb
import pytest

from console.asking import Outcome
from console.reviewed import Reading, Reads, Review
from console.reviewing import Part, Reviewing
from shared import catalog
from shared.errors import NotFound, NoWorker, QueryTimedOut, SyncError
from shared.feed import Feed, ProtectionLevel
from shared.messages import TaskName
from shared.probe import ProbeKind, Question
from shared.run import RunState
from shared.schedule import Frequency, Interval
from shared.store import declared
from tests.worker.tasks.asking import answer_to, everything
from tests.worker.tasks.desk import ROWS, Desk

INCREMENTAL = catalog.Incremental(iterator_field="changed_at", iterator_data_type=catalog.IteratorType.TIMESTAMP)
HOURLY = Interval(frequency=Frequency.HOURLY, start=datetime(2026, 1, 1, tzinfo=UTC), delay=timedelta(0))


def reviewing(desk: Desk, **spoiled: SyncError) -> Reviewing:
    """Give the verb, its questions answered at the desk, but for kinds that come to an error."""

    def ask(questions: Mapping[Part, Question]) -> Mapping[Part, Outcome]:
        return {part: outcome(question) for part, question in questions.items()}

    def outcome(question: Question) -> Outcome:
        if question.kind in spoiled:
            return spoiled[question.kind]
        try:
            return answer_to(desk, question)
        except SyncError as error:
            return error

    return Reviewing(desk.database, ask)


def change(desk: Desk, name: str, **changed: object) -> catalog.Pipeline:
    with desk.database.transaction() as store:
        pipeline = declared.get_pipeline(store, name).pipeline.model_copy(update=changed)
        declared.put_pipeline(store, pipeline)
    return pipeline


def protect(desk: Desk, level: ProtectionLevel, **changed: object) -> None:
    with desk.database.transaction() as store:
        feed = declared.get(store, Feed, "sandbox")
        declared.put(store, feed.model_copy(update={"input_protection_level": level, **changed}))


def of(review: Review, reads: Reads) -> Reading:
    (found,) = (one for one in review.readings if one.reads is reads)
    return found


def test_a_review_shows_what_an_unsaved_pipeline_would_do(desk: Desk) -> None:
    draft = change(desk, desk.pipeline(INCREMENTAL)).model_copy(update={"id": "draft", "schedule": HOURLY})
    protect(desk, ProtectionLevel.CREATE_AND_UPDATE, batches_per_s=10)
    review = reviewing(desk).draft(draft, rows=3)
    assert (review.is_saved, review.state, review.mode, review.kind) == (False, None, "incremental", "users")
    assert (review.environment, review.feed.host, review.refused) == ("development", "127.0.0.1", None)
    assert "create profiles and update" in review.feed.protection_means
    assert {one.name: one.note is not None and "creates it" in one.note for one in review.columns} == {
        "customer_id": False,
        "firstname": True,
        "changed_at": False,
    }
    assert [one.user_attributes for one in review.profiles] == [{"firstname": "Zoë"}] * 3
    assert {one["source_request_id"] for one in review.batches} == {"preview:0", "preview:1", "preview:2"}
    first, second, *_ = review.due
    assert len(review.due) == 5
    assert datetime.now(UTC) - first < timedelta(minutes=1), "its start has passed: at activation"
    assert (second - HOURLY.start) % timedelta(hours=1) == timedelta(0)
    synced = of(review, Reads.FIRST_SYNC)
    assert (synced.low, synced.rows, synced.batches, synced.takes_s) == (None, ROWS, ROWS, ROWS / 10)
    assert synced.estimated == "estimated from a sample of 3 rows"
    assert "does not tell" in synced.unknown[0]
    assert of(review, Reads.LATER_RUN).rows == ROWS, "all changed within the hour before now"


def test_a_review_sends_nothing_and_moves_nothing(desk: Desk) -> None:
    name = desk.pipeline(INCREMENTAL)
    before = everything(desk)
    reviewing(desk).saved(name)
    assert everything(desk) == before
    assert desk.stand_in.intake.counters.requests == 0
    assert desk.take() is None


def test_a_pipeline_past_its_history_is_told_by_its_next_run(desk: Desk) -> None:
    name = desk.pipeline(INCREMENTAL)
    assert desk.finish(desk.trigger(name)).state is RunState.SETTLED
    review = reviewing(desk).saved(name)
    assert (review.is_saved, review.state) == (True, "active")
    assert [one.reads for one in review.readings] == [Reads.NEXT_RUN]
    assert (of(review, Reads.NEXT_RUN).rows, of(review, Reads.NEXT_RUN).batches) == (0, 0)
    assert "does not say when" in review.unknown["later_run"]


def test_a_full_pipeline_is_warned_of_with_what_a_run_a_day_and_a_month_cost(desk: Desk) -> None:
    name = desk.pipeline()
    change(desk, name, schedule=HOURLY)
    (warning,) = reviewing(desk).saved(name).warnings
    assert f"a run costs about {ROWS} batches" in warning
    assert f"{24 * ROWS} batches a day (24 runs)" in warning
    assert f"{720 * ROWS:,} batches in 30 days (720 runs)" in warning
    (warning,) = reviewing(desk, count=QueryTimedOut("it took too long")).saved(name).warnings
    assert "could not be found out" in warning


def test_what_cannot_be_found_out_is_said_and_spoils_nothing_else(desk: Desk) -> None:
    name = desk.pipeline(INCREMENTAL)
    review = reviewing(desk, count=QueryTimedOut("the count took too long")).saved(name)
    assert review.profiles
    synced = of(review, Reads.FIRST_SYNC)
    assert (synced.rows, synced.batches) == (None, None)
    assert any("the count took too long" in one for one in synced.unknown)
    review = reviewing(desk, preview=QueryTimedOut("the sample took too long")).saved(name)
    assert (review.sample_rows, review.batches, review.unknown["sample"]) == (None, (), "the sample took too long")
    assert review.columns
    assert of(review, Reads.FIRST_SYNC).rows == ROWS


def test_a_pipeline_that_cannot_run_says_why_beside_what_is_known(desk: Desk) -> None:
    name = desk.pipeline(INCREMENTAL, query="SELECT customer_id, 'x'::BLOB AS picture, changed_at FROM people")
    review = reviewing(desk).saved(name)
    assert "picture" in (review.refused or "")
    assert "picture" in review.unknown["sample"]
    assert of(review, Reads.FIRST_SYNC).rows == ROWS


def test_a_feed_that_may_change_no_profile_refuses_users_and_shows_no_profile(desk: Desk) -> None:
    name = desk.pipeline()
    protect(desk, ProtectionLevel.READ_ONLY)
    review = reviewing(desk).saved(name)
    assert "read_only" in (review.refused or "")
    assert review.profiles == ()
    assert review.batches


def test_rejects_of_the_sample_are_shown_and_rows_of_one_user_make_one_profile(desk: Desk) -> None:
    name = desk.pipeline(
        query="SELECT CASE WHEN customer_id LIKE '%-0' THEN NULL ELSE 'one' END AS customer_id, firstname FROM people"
    )
    review = reviewing(desk).saved(name, rows=ROWS)
    assert [(one.row, one.code) for one in review.rejects] == [(0, "no_identity")]
    assert len(review.batches) == len(review.profiles) == 1, "a run merges them, too"
    assert of(review, Reads.NEXT_RUN).batches == 1


def test_no_worker_at_all_is_the_error_and_one_that_lacks_is_not(desk: Desk) -> None:
    name = desk.pipeline()
    nobody = NoWorker("nobody came")
    with pytest.raises(NoWorker, match="nobody came"):
        reviewing(desk, **dict.fromkeys(("columns", "preview", "count", "cost"), nobody)).saved(name)
    assert reviewing(desk, cost=nobody).saved(name).columns


def test_what_was_never_declared_is_not_reviewed(desk: Desk) -> None:
    draft = change(desk, desk.pipeline())
    with pytest.raises(NotFound, match="'nowhere'"):
        reviewing(desk).saved("nowhere")
    for field in ("feed_id", "connection_id", "data_model_id"):
        with pytest.raises(NotFound, match="'nowhere'"):
            reviewing(desk).draft(draft.model_copy(update={field: "nowhere"}))


def test_history_that_is_not_settled_is_a_reading_of_its_own(desk: Desk) -> None:
    name = desk.pipeline(INCREMENTAL.model_copy(update={"history_parts": 2}))
    with duckdb.connect(str(desk.warehouse / f"{name}.duckdb")) as warehouse:
        warehouse.execute(
            "UPDATE people SET changed_at = now()::TIMESTAMP - INTERVAL 10 DAY WHERE customer_id LIKE '%-0'"
        )
    desk.trigger(name)
    desk.take_until(TaskName.EXTRACT_SLICE)
    review = reviewing(desk).saved(name)
    assert [one.reads for one in review.readings] == [Reads.NEXT_RUN, Reads.HISTORY]
    assert of(review, Reads.HISTORY).rows == ROWS
    assert of(review, Reads.NEXT_RUN).rows == 0


def test_every_question_of_a_review_is_about_the_draft(desk: Desk) -> None:
    draft = change(desk, desk.pipeline(INCREMENTAL))
    asked: list[Question] = []

    def ask(questions: Mapping[Part, Question]) -> Mapping[Part, Outcome]:
        asked.extend(questions.values())
        nobody: dict[Any, Outcome] = dict.fromkeys(questions, NoWorker("nobody"))
        return nobody

    with pytest.raises(NoWorker):
        Reviewing(desk.database, ask).draft(draft)
    assert {question.kind for question in asked} == {
        ProbeKind.COLUMNS,
        ProbeKind.PREVIEW,
        ProbeKind.COUNT,
        ProbeKind.COST,
    }
    assert all(question.pipeline == draft for question in asked)
