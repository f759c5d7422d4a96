"""Questions over HTTP without workers: who may ask what, how many at once, and what nobody's answer is told by."""

import threading
from collections.abc import Iterator
from typing import Self

import pytest

from console.api import doctor, places
from console.asking import ask
from console.doctor import Finding
from console.operations import Operations
from shared.errors import (
    CredentialsRefused,
    FeedSignInRefused,
    ModelInvalid,
    QueryTimedOut,
    SyncError,
    WarehouseBusy,
    WarehouseUnreachable,
)
from shared.probe import Answer, ProbeKind, Question
from shared.store import probes
from tests.console.api.conftest import Api
from tests.shared.store.stage import Stage

SHORTCUTS = (
    "/connections/lake/test",
    "/feeds/us1/test",
    *(f"/pipelines/people/{ask}" for ask in ("columns", "preview", "count", "cost", "send")),
)


class Worker:
    """Answers what is asked, in this process; it keeps the questions."""

    def __init__(self, stage: Stage) -> None:
        self.asked: list[Question] = []
        self.found: Answer | SyncError = Answer(row_count=7)
        self._stage = stage
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._work)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _work(self) -> None:
        while not self._over.wait(0.01):
            for row in self._stage.rows("SELECT id FROM probes WHERE taken_at IS NULL"):
                with self._stage.database.transaction() as connection:
                    question = probes.take(connection, row.id, within_s=60)
                    if isinstance(question, Question):
                        self.asked.append(question)
                        probes.answer(connection, row.id, self.found)


@pytest.fixture
def worker(stage: Stage, operations: Operations, monkeypatch: pytest.MonkeyPatch) -> Iterator[Worker]:
    monkeypatch.setattr(operations, "settings", operations.settings.model_copy(update={"probe_timeout_s": 30.0}))
    with Worker(stage) as working:
        yield working


@pytest.mark.parametrize("path", SHORTCUTS)
def test_without_a_worker_that_is_said(stage: Stage, operator: Api, path: str) -> None:
    stage.declare()
    silent = operator.post(path)
    assert silent.status_code == 503
    assert silent.json()["errors"][0]["code"] == "NoWorker"
    assert "Retry-After" in silent.headers
    assert not stage.rows("TABLE probes"), "nobody waits for it any more"


def test_shortcuts_ask_what_they_say(worker: Worker, operator: Api) -> None:
    bounds = {"from": "2024-04-28T00:00:00.000001Z", "until": None}
    bodies = {"preview": {"rows": 3}, "send": {"rows": 2}, "count": bounds, "cost": bounds}
    for path in SHORTCUTS:
        answer = operator.post(path, bodies.get(path.rpartition("/")[2]))
        assert answer.json() == {"row_count": 7}, "what was not asked for is not there"
    assert [question.kind.value for question in worker.asked] == [
        "test", "feed", "columns", "preview", "count", "cost", "send"
    ]  # fmt: skip
    by_kind = {question.kind: question for question in worker.asked}
    assert by_kind[ProbeKind.PREVIEW].rows == 3
    assert by_kind[ProbeKind.SEND].rows == 2
    assert by_kind[ProbeKind.COUNT].low == by_kind[ProbeKind.COST].low is not None


def test_any_question_is_asked_as_the_workers_have_it_and_what_is_unknown_is_told(
    worker: Worker, operator: Api
) -> None:
    body = {"kind": "count", "pipeline_id": "people", "colour": "red"}
    assert operator.post("/probes", body).json() == {
        "row_count": 7,
        "warnings": [{"message": "colour: no such field; it is ignored"}],
    }
    assert worker.asked == [Question(kind=ProbeKind.COUNT, pipeline_id="people")]
    wrong = operator.post("/probes", {"kind": "test", "pipeline_id": "people"})
    assert (wrong.status_code, wrong.json()["errors"][0]["code"]) == (400, "DeclarationInvalid")
    assert operator.post("/pipelines/people/send", {"rows": 21}).status_code == 400


def test_a_question_with_a_query_of_its_own_takes_an_admin(worker: Worker, operator: Api, admin: Api) -> None:
    model = {"id": "all", "name": "All", "type": "sql", "sql_query": "SELECT * FROM everybody"}
    body = {"kind": "query", "connection_id": "lake", "data_model": model}
    refused = operator.post("/probes", body)
    assert (refused.status_code, refused.json()["errors"][0]["code"]) == (403, "RoleTooLow")
    assert admin.post("/probes", body).status_code == 200
    assert [question.kind for question in worker.asked] == [ProbeKind.QUERY]


def test_a_saved_query_over_any_connection_takes_an_admin_too(worker: Worker, operator: Api, admin: Api) -> None:
    body = {"kind": "query", "connection_id": "lake", "data_model_id": "made-for-another-one"}
    assert operator.post("/probes", body).status_code == 403
    assert not worker.asked
    assert admin.post("/probes", body).status_code == 200


def test_nobody_has_secrets_sealed_anew_by_asking_a_question(worker: Worker, operator: Api, admin: Api) -> None:
    for caller in (operator, admin):
        refused = caller.post("/probes", {"kind": "reseal", "public_key": "wsync-public-of-somebody"})
        assert (refused.status_code, refused.json()["errors"][0]["code"]) == (400, "DeclarationInvalid")
    assert not worker.asked


@pytest.mark.parametrize("path", [*SHORTCUTS, "/probes", "/pipelines/people/review", "/reviews"])
def test_viewers_ask_nothing(viewer: Api, path: str) -> None:
    assert viewer.post(path, {}).status_code == 403
    assert viewer.get("/doctor").status_code == 403


@pytest.mark.parametrize(
    ("found", "status"),
    [
        (WarehouseUnreachable("no such host"), 505),
        (CredentialsRefused("the warehouse refused the sign-in"), 505),
        (FeedSignInRefused("the feed refused the sign-in"), 400),
        (WarehouseBusy("asleep"), 504),
        (QueryTimedOut("too slow"), 504),
        (ModelInvalid("no SELECT"), 400),
    ],
)
def test_what_a_worker_found_instead_has_its_own_status(
    worker: Worker, operator: Api, found: SyncError, status: int
) -> None:
    worker.found = found
    answer = operator.post("/pipelines/people/columns")
    assert answer.status_code == status
    assert answer.json()["errors"] == [{"message": str(found), "code": type(found).__name__}]


def test_a_question_that_was_taken_and_not_answered_in_time_is_the_warehouses(
    stage: Stage, operator: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    def taken_before(*arguments: object, **named: object) -> Answer:
        stage.write("CREATE OR REPLACE FUNCTION taken() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
                    "NEW.taken_at := now(); RETURN NEW; END $$")  # fmt: skip
        stage.write("CREATE TRIGGER taken BEFORE INSERT ON probes FOR EACH ROW EXECUTE FUNCTION taken()")
        try:
            return ask(*arguments, **named)  # type: ignore[arg-type]
        finally:
            stage.write("DROP TRIGGER taken ON probes")

    monkeypatch.setattr("console.operations.ask", taken_before)
    answer = operator.post("/connections/lake/test")
    assert (answer.status_code, answer.json()["errors"][0]["code"]) == (504, "WarehouseBusy")


def test_more_questions_than_there_are_places_are_told_to_come_later(
    operator: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    free = operator.http._transport.app.state.questions  # type: ignore[attr-defined]
    for _ in range(places.MOST_QUESTIONS):
        assert free.acquire(blocking=False)
    try:
        busy = operator.post("/pipelines/people/columns")
        assert (busy.status_code, busy.json()["errors"][0]["code"]) == (503, "TooManyQuestions")
        assert operator.get("/connections").status_code == 200, "nobody else waits for them"
    finally:
        for _ in range(places.MOST_QUESTIONS):
            free.release()
    monkeypatch.setattr("console.operations.ask", lambda *_, **__: Answer())
    for _ in range(places.MOST_QUESTIONS + 1):
        assert operator.post("/pipelines/people/columns").status_code == 200, "a place is given back"


def test_the_doctor_lists_what_it_found_and_ends_in_time(operator: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    findings = [Finding("broker", "answers"), Finding("workers", "none", "start some"), Finding("spool", "fits")]
    monkeypatch.setattr(doctor, "examine", lambda *_: iter(findings))
    assert operator.get("/doctor").json() == [
        {"subject": "broker", "is_well": True, "found": "answers", "cure": None},
        {"subject": "workers", "is_well": False, "found": "none", "cure": "start some"},
        {"subject": "spool", "is_well": True, "found": "fits", "cure": None},
    ]
    monkeypatch.setattr(doctor, "WITHIN_S", 0.0)
    assert [one["subject"] for one in operator.get("/doctor").json()] == ["broker", "doctor"]
