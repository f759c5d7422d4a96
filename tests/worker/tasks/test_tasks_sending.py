"""Rows that are sent to see how they arrive: a few, in development, once, and nothing else moves."""

import pytest

from sandbox.faults import Faults
from shared import catalog
from shared.errors import CredentialsRefused, DeclarationInvalid, FeedRefused, FeedUnavailable, StoreUnavailable
from shared.feed import Feed, ProtectionLevel
from shared.messages import TaskName
from shared.probe import ProbeKind
from shared.store import declared
from tests.worker.tasks.asking import answer_of, ask, everything, look
from tests.worker.tasks.conftest import LIMITS
from tests.worker.tasks.desk import Desk, Killed, Strike, When, fails_with

INCREMENTAL = catalog.Incremental(iterator_field="changed_at", iterator_data_type=catalog.IteratorType.TIMESTAMP)


def change_feed(desk: Desk, **changed: object) -> None:
    with desk.database.transaction() as store:
        feed = declared.get(store, Feed, "sandbox")
        declared.put(store, feed.model_copy(update=changed))


def change_pipeline(desk: Desk, name: str, **changed: object) -> None:
    with desk.database.transaction() as store:
        declared.put_pipeline(store, declared.get_pipeline(store, name).pipeline.model_copy(update=changed))


def test_rows_are_sent_in_development_whatever_the_pipeline_says_and_nothing_else_moves(desk: Desk) -> None:
    name = desk.pipeline(INCREMENTAL)
    change_pipeline(desk, name, environment=catalog.Environment.PRODUCTION)
    before = everything(desk)
    probe_id, arguments = ask(desk, ProbeKind.SEND, pipeline_id=name, rows=3)
    desk.do(TaskName.PROBE, arguments)
    answer = look(desk, probe_id).answer
    assert answer is not None
    assert answer.sent is not None
    assert (answer.sent.rows, answer.sent.accepted_rows, answer.sent.accepted_batches) == (3, 3, 3)
    assert (answer.sent.unsent_rows, answer.sent.why_unsent) == (0, None)
    assert "stays sent" in answer.sent.note
    counters = desk.stand_in.intake.counters
    assert counters.by_environment == {"development": 3}
    assert desk.taken_ids() == {f"{probe_id}:{row}": 1 for row in range(3)}
    assert {batch["source_request_id"] for batch in answer.batches} == desk.taken_ids().keys()
    assert everything(desk) == before


def test_an_environment_need_not_be_declared_to_send_to_development(desk: Desk) -> None:
    name = desk.pipeline()
    change_pipeline(desk, name, environment=None)
    answer = answer_of(desk, ProbeKind.SEND, pipeline_id=name, rows=1)
    assert {batch["environment"] for batch in answer.batches} == {"development"}


def test_what_is_refused_is_told_with_its_reason_and_without_values(desk: Desk) -> None:
    query = (
        "SELECT CASE WHEN customer_id LIKE '%-0' THEN NULL ELSE customer_id END AS customer_id, "
        "CASE WHEN customer_id LIKE '%-1' THEN 'planted' ELSE 'Zoë' END AS firstname FROM people"
    )
    desk.stand_in.intake.faults.turn(
        Faults.model_validate({"reject_marked": {"attribute": "firstname", "value": "planted"}})
    )
    answer = answer_of(desk, ProbeKind.SEND, pipeline_id=desk.pipeline(query=query), rows=4)
    assert answer.sent is not None
    assert (answer.sent.accepted_rows, answer.sent.accepted_batches, answer.sent.unsent_rows) == (2, 2, 0)
    assert [(one.row, one.code) for one in answer.rejects] == [(0, "no_identity"), (1, "refused_by_mparticle")]
    assert "firstname" in answer.rejects[1].reason
    assert "planted" not in answer.rejects[1].reason


def test_a_feed_that_may_change_no_profile_is_refused_as_for_runs(desk: Desk) -> None:
    name = desk.pipeline()
    change_feed(desk, input_protection_level=ProtectionLevel.READ_ONLY)
    with pytest.raises(DeclarationInvalid, match="read_only"):
        answer_of(desk, ProbeKind.SEND, pipeline_id=name)
    assert desk.stand_in.intake.counters.requests == 0


def test_what_stops_a_run_is_the_answer_where_nothing_was_taken(desk: Desk) -> None:
    name = desk.pipeline()
    desk.stand_in.intake.faults.turn(Faults.model_validate({"status": 404}))
    with pytest.raises(FeedRefused, match="HTTP 404"):
        answer_of(desk, ProbeKind.SEND, pipeline_id=name)
    change_feed(desk, api_key="us1-stranger")
    with pytest.raises(CredentialsRefused, match="HTTP 403"):
        answer_of(desk, ProbeKind.SEND, pipeline_id=name)


@pytest.mark.parametrize("limits", [LIMITS | {"PROBE_TIMEOUT_S": "3", "BACKOFF_FIRST_S": "0.1"}])
def test_a_feed_that_does_not_answer_leaves_rows_unsent_and_says_that_it_is_in_doubt(desk: Desk) -> None:
    name = desk.pipeline()
    desk.stand_in.intake.faults.turn(Faults.model_validate({"status": 503}))
    answer = answer_of(desk, ProbeKind.SEND, pipeline_id=name, rows=2)
    assert answer.sent is not None
    assert (answer.sent.accepted_rows, answer.sent.unsent_rows) == (0, 2)
    assert "may have taken" in (answer.sent.why_unsent or "")


@pytest.mark.parametrize("times", [2, 3])
def test_a_sending_delivered_again_or_at_once_sends_once(desk: Desk, times: int) -> None:
    _, arguments = ask(desk, ProbeKind.SEND, pipeline_id=desk.pipeline(), rows=2)
    desk.do_at_once(TaskName.PROBE, arguments, times=times)
    desk.do(TaskName.PROBE, arguments)
    assert list(desk.taken_ids().values()) == [1, 1]


@pytest.mark.parametrize("nth", [1, 2, 3, 4, 5])
@pytest.mark.parametrize("when", When)
@pytest.mark.parametrize("failure", [StoreUnavailable("broke"), Killed()], ids=["broken", "killed"])
def test_a_worker_that_dies_leaves_no_second_sending(desk: Desk, nth: int, when: When, failure: BaseException) -> None:
    _, arguments = ask(desk, ProbeKind.SEND, pipeline_id=desk.pipeline(), rows=2)
    strike = Strike(nth, when, fails_with(failure))
    with desk.database.struck(strike):
        desk.do(TaskName.PROBE, arguments)
    assert strike.fell
    sent = desk.taken_ids()
    desk.do(TaskName.PROBE, arguments)
    assert all(times == 1 for times in desk.taken_ids().values())
    taken_first = nth > 1 or when is When.AFTER
    assert not taken_first or desk.taken_ids() == sent, "what was taken once is never taken again"


def test_a_feed_says_whether_it_signs_in_and_takes_nothing(desk: Desk) -> None:
    desk.pipeline()
    answer = answer_of(desk, ProbeKind.FEED, feed_id="sandbox")
    assert answer.feed is not None
    assert answer.feed.signed_in
    assert "protection level" in answer.feed.unknown
    counters = desk.stand_in.intake.counters
    assert (counters.requests, counters.batches, counters.without_id) == (1, 0, 0)
    assert len(desk.stand_in.intake.profiles) == 0
    desk.stand_in.intake.faults.turn(Faults.model_validate({"reject_all": True}))
    unsure = answer_of(desk, ProbeKind.FEED, feed_id="sandbox").feed
    assert unsure is not None
    assert unsure.signed_in is None


def test_a_feed_that_refuses_or_is_not_there_says_which(desk: Desk) -> None:
    desk.pipeline()
    change_feed(desk, api_key="us1-stranger")
    with pytest.raises(CredentialsRefused, match="HTTP 403"):
        answer_of(desk, ProbeKind.FEED, feed_id="sandbox")
    change_feed(desk, base_url=f"{desk.feed_url}/elsewhere")
    with pytest.raises(FeedRefused, match="HTTP 404"):
        answer_of(desk, ProbeKind.FEED, feed_id="sandbox")
    change_feed(desk, base_url="http://127.0.0.1:9/v2")
    with pytest.raises(FeedUnavailable, match="cannot be reached"):
        answer_of(desk, ProbeKind.FEED, feed_id="sandbox")
    change_feed(desk, base_url="http://localhost:9/v2")
    with pytest.raises(DeclarationInvalid, match="localhost"):
        answer_of(desk, ProbeKind.FEED, feed_id="sandbox")


def test_a_worker_tries_the_spool_and_leaves_nothing_in_it(desk: Desk) -> None:
    answer = answer_of(desk, ProbeKind.SPOOL)
    assert answer.session["spool"].startswith("file://")
    trials = desk.warehouse / "spool" / "trials"
    assert list(trials.iterdir()) == []


@pytest.mark.parametrize("limits", [LIMITS | {"PROBE_TIMEOUT_S": "1"}])
def test_an_account_that_pauses_is_not_sent_to(desk: Desk) -> None:
    name = desk.pipeline()
    desk.stand_in.intake.faults.turn(Faults.model_validate({"status": 429, "retry_after_s": 60}))
    first = answer_of(desk, ProbeKind.SEND, pipeline_id=name, rows=2)
    desk.stand_in.intake.faults.turn(Faults())
    second = answer_of(desk, ProbeKind.SEND, pipeline_id=name, rows=2)
    for answer in (first, second):
        assert answer.sent is not None
        assert (answer.sent.accepted_rows, answer.sent.unsent_rows) == (0, 2)
        assert "quota has no room" in (answer.sent.why_unsent or "")
    assert desk.stand_in.intake.counters.requests == 1, "the account is everybody's, and so is its pause"
