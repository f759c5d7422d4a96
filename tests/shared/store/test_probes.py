"""A question is taken once, in time, and leaves nothing behind."""

import pytest
from pydantic import ValidationError

from shared.errors import ModelInvalid, Refused
from shared.messages import TaskName
from shared.probe import Answer, ProbeKind, Question
from shared.store import probes
from shared.store.database import Database

TEST = Question(kind=ProbeKind.TEST, connection_id="lake")


def test_a_question_is_taken_by_one_and_its_answer_read_once(database: Database) -> None:
    with database.transaction() as connection:
        probe_id, message = probes.ask(connection, TEST)
        assert (message.task, message.id) == (TaskName.PROBE, probe_id)
        assert not probes.look(connection, probe_id).is_taken
        assert probes.take(connection, probe_id, within_s=30) == TEST
        assert probes.take(connection, probe_id, within_s=30) is None
        standing = probes.look(connection, probe_id)
        assert standing.is_taken
        assert not standing.is_over
        probes.answer(connection, probe_id, Answer(session={"user": "reader"}))
        assert probes.look(connection, probe_id).answer == Answer(session={"user": "reader"})
        probes.forget(connection, probe_id)
        assert not probes.look(connection, probe_id).is_over


def test_what_was_found_instead_of_an_answer_keeps_its_kind_and_words(database: Database) -> None:
    with database.transaction() as connection:
        probe_id, _ = probes.ask(connection, TEST)
        probes.answer(connection, probe_id, ModelInvalid("no such table"))
        error = probes.look(connection, probe_id).error
    assert isinstance(error, Refused)
    assert (type(error), str(error)) == (ModelInvalid, "no such table")


def test_an_answer_that_nobody_waits_for_any_more_is_dropped(database: Database) -> None:
    with database.transaction() as connection:
        probe_id, _ = probes.ask(connection, TEST)
        probes.forget(connection, probe_id)
        probes.answer(connection, probe_id, Answer())
        assert connection.exec_driver_sql("SELECT count(*) FROM probes").scalar_one() == 0


def test_old_questions_are_neither_taken_nor_kept(database: Database) -> None:
    with database.transaction() as connection:
        probe_id, _ = probes.ask(connection, TEST)
        connection.exec_driver_sql("UPDATE probes SET asked_at = now() - interval '1 minute'")
        fresh, _ = probes.ask(connection, TEST)
        assert probes.take(connection, probe_id, within_s=30) is None
        assert probes.forget_old(connection, older_than_s=30) == 1
        assert probes.take(connection, fresh, within_s=30) == TEST


@pytest.mark.parametrize(
    "wrong",
    [
        {"kind": "test", "pipeline_id": "users"},
        {"kind": "test"},
        {"kind": "preview", "connection_id": "lake"},
        {"kind": "preview", "connection_id": "lake", "pipeline_id": "users"},
        {"kind": "preview", "pipeline_id": "users", "rows": 0},
        {"kind": "preview", "pipeline_id": "users", "rows": 101},
        {"kind": "gossip", "connection_id": "lake"},
        {"kind": "reseal"},
        {"kind": "reseal", "public_key": "k", "connection_id": "lake"},
        {"kind": "test", "connection_id": "lake", "public_key": "k"},
    ],
)
def test_a_question_that_makes_no_sense_is_not_asked(wrong: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        Question.model_validate(wrong)
