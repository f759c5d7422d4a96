"""Questions about warehouses, asked as operators ask them and answered by real workers."""

import dataclasses
import json
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from typer.testing import CliRunner

from console.cli import app
from console.doctor import examine
from console.operations import Operations
from shared import broker
from shared.catalog import Environment, Full
from shared.errors import DeclarationInvalid, FeedUnavailable, ModelInvalid, NotFound, NoWorker
from shared.probe import ProbeKind, Question
from tests.system.deployment import Deployment
from tests.system.people import INCREMENTAL, PLANTED, People


@pytest.fixture
def hurried(deployment: Deployment) -> Iterator[Callable[[float], Operations]]:
    """Give the verbs of somebody who waits no longer than so many seconds for an answer."""
    opened: list[Operations] = []

    def hurry(probe_timeout_s: float) -> Operations:
        limits = deployment.premises.settings().model_copy(update={"probe_timeout_s": probe_timeout_s})
        opened.append(Operations(limits))
        return opened[-1]

    yield hurry
    for operations in opened:
        operations.close()


def test_a_worker_answers_and_nothing_of_the_rows_stays(people: People, deployment: Deployment) -> None:
    people.declare()
    people.add(10)
    question = Question(kind=ProbeKind.PREVIEW, pipeline_id=people.id, rows=3)
    answer = deployment.operations.ask(question)
    assert len(answer.batches) == 3
    assert all(PLANTED in batch["user_identities"]["email"] for batch in answer.batches)
    assert deployment.operations.ask(Question(kind=ProbeKind.COUNT, pipeline_id=people.id)).row_count == 10
    assert not [name for name, text in deployment.logs().items() if PLANTED in text]
    with deployment.database.transaction() as connection:
        assert connection.exec_driver_sql("SELECT count(*) FROM probes").scalar_one() == 0


def test_what_a_worker_finds_instead_of_an_answer_is_raised(people: People, deployment: Deployment) -> None:
    with pytest.raises(NotFound, match="no-such-connection"):
        deployment.operations.ask(Question(kind=ProbeKind.TEST, connection_id="no-such-connection"))
    people.add(1)
    people.declare(query="SELECT nothing FROM people")
    with pytest.raises(ModelInvalid, match="nothing"):
        deployment.operations.ask(Question(kind=ProbeKind.COLUMNS, pipeline_id=people.id))


def test_the_doctor_finds_what_is_well_and_what_is_not(people: People, deployment: Deployment) -> None:
    people.declare()
    people.add(1)
    findings = list(examine(deployment.operations, people.id))
    assert [finding.subject for finding in findings] == [
        "state database",
        "state database's clock",
        "broker",
        "broker's clock",
        "workers",
        "beat",
        "spool, from here",
        "spool, from a worker",
        "secrets",
        "alerts",
        "feed sandbox",
        f"connection {people.id}",
        f"connection {people.id}'s clock",
        f"pipeline {people.id}",
    ]
    assert [finding for finding in findings if not finding.is_well] == []
    people.declare(query="SELECT customer_id, 'x'::BLOB AS picture, changed_at FROM people")
    *_, sick = examine(deployment.operations, people.id)
    assert not sick.is_well
    assert "picture" in (sick.cure or "")


def test_nobody_to_answer_is_said_with_the_cure(
    people: People, hurried: Callable[[float], Operations], monkeypatch: pytest.MonkeyPatch
) -> None:
    people.declare()
    monkeypatch.setattr(broker, "send", lambda *_: None)  # The message is lost on its way to the workers.
    with pytest.raises(NoWorker, match="-Q probe"):
        hurried(1.0).ask(Question(kind=ProbeKind.TEST, connection_id=people.id))


@pytest.mark.usefixtures("as_command")
def test_a_pipeline_whose_iterator_is_of_another_type_is_not_activated(people: People, deployment: Deployment) -> None:
    people.declare()
    people.add(4)
    (row,) = (row for row in deployment.operations.pipelines() if row.pipeline.id == people.id)
    other = row.pipeline.model_copy(
        update={
            "id": f"{people.id[:60]}-draft",
            "name": f"{people.id[:60]}-draft",
            "sync_mode": INCREMENTAL.model_copy(update={"iterator_field": "email"}),
        }
    )
    deployment.operations.declare(other)
    refused = CliRunner().invoke(app, ["activate", other.id])
    assert isinstance(refused.exception, DeclarationInvalid)
    assert "iterator column 'email'" in str(refused.exception)
    deployment.operations.declare(other.model_copy(update={"sync_mode": INCREMENTAL}))
    assert "is active; trigger it" in CliRunner().invoke(app, ["activate", other.id]).output


@pytest.mark.usefixtures("as_command")
def test_the_command_line_shows_answers(people: People) -> None:
    people.declare()
    people.add(4)
    shown = {
        command: CliRunner().invoke(app, [command, people.id])
        for command in ("test", "columns", "preview", "count", "cost", "doctor")
    }
    refused = CliRunner().invoke(app, ["columns", people.id, "--json"])
    assert {command: result.exit_code for command, result in shown.items()} == dict.fromkeys(shown, 0)
    assert "database" in shown["test"].output
    assert "user_identities.customer_id" in shown["columns"].output
    assert "nothing was sent" in shown["preview"].output
    assert "4 rows from the beginning" in shown["count"].output
    assert "does not tell" in shown["cost"].output
    assert "BAD" not in shown["doctor"].output
    assert refused.output.startswith('{"columns"')


def test_a_review_of_a_draft_is_answered_by_workers_and_sends_nothing(people: People, deployment: Deployment) -> None:
    people.declare()
    people.add(40)
    (row,) = (row for row in deployment.operations.pipelines() if row.pipeline.id == people.id)
    draft = row.pipeline.model_copy(update={"id": "never-saved", "sync_mode": Full()})
    before = deployment.counters()
    review = deployment.operations.review.draft(draft, rows=10)
    assert deployment.counters() == before
    assert (review.sample_rows, len(review.profiles)) == (10, 10)
    assert [(one.reads, one.rows, one.batches) for one in review.readings] == [("first_sync", 40, 40)]
    assert "40 batches" in review.warnings[0]
    json.dumps(dataclasses.asdict(review), default=str)
    assert not [name for name, text in deployment.logs().items() if PLANTED in text]


def test_a_worker_that_is_killed_while_it_sends_leaves_no_second_sending(
    people: People, deployment: Deployment, hurried: Callable[[float], Operations]
) -> None:
    people.declare(environment=Environment.PRODUCTION)
    people.add(3)
    question = Question(kind=ProbeKind.SEND, pipeline_id=people.id, rows=3)
    deployment.turn_faults(delay_s=20)  # What is sent is taken at once, and the answer comes too late.
    before = deployment.counters()

    def sent() -> int:
        return int(deployment.counters()["batches"] - before["batches"])

    with ThreadPoolExecutor(1) as pool:
        asked = pool.submit(hurried(10.0).ask, question)
        deployment.until(lambda: sent() == 3, "the stand-in has taken what was sent")
        deployment.kill_family("extract")
        with pytest.raises(FeedUnavailable, match="may have been sent"):
            asked.result()
    deployment.turn_faults()
    answer = deployment.operations.ask(question)
    assert answer.sent is not None
    assert answer.sent.accepted_batches == 3
    after = deployment.counters()
    assert sent() == 6, "of the second that was asked for; the first is not repeated"
    assert after["duplicates"] == before["duplicates"]
    assert after["by_environment"].get("production") == before["by_environment"].get("production")
