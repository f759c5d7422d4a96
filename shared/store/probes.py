"""Probes as rows: asked, taken by one worker in time, answered, and removed when read."""

from dataclasses import dataclass
from datetime import timedelta
from typing import Any, NewType
from uuid import UUID, uuid4

import sqlalchemy as sa
from pydantic import ValidationError

from shared import errors
from shared.errors import PayloadUnknown, SyncError
from shared.messages import Message, TaskName
from shared.probe import Answer, ProbeKind, Question
from shared.store.tables import probes

ProbeId = NewType("ProbeId", UUID)


@dataclass(frozen=True, slots=True)
class Standing:
    """How far a probe is: taken by a worker or not, and what came of it."""

    is_taken: bool
    answer: Answer | None
    error: SyncError | None

    @property
    def is_over(self) -> bool:
        """Whether nothing more will come."""
        return self.answer is not None or self.error is not None


def ask(connection: sa.Connection, question: Question) -> tuple[ProbeId, Message]:
    """Record a question; give its id, and the message to send once that is committed."""
    probe_id = uuid4()
    connection.execute(sa.insert(probes).values(id=probe_id, question=question.to_json()))
    # The channels of alerts, and their secrets, are those of the control workers.
    task = TaskName.TRY_ALERTS if question.kind is ProbeKind.ALERTS else TaskName.PROBE
    return ProbeId(probe_id), Message(task, probe_id)


def take(connection: sa.Connection, probe_id: ProbeId, *, within_s: float) -> Question | PayloadUnknown | None:
    """Take a question that nobody took and somebody still waits for, or give ``None``.

    One that this release cannot read is taken, too, so that whoever waits hears why: the error is given.
    """
    question = connection.execute(
        sa.update(probes)
        .where(
            probes.c.id == probe_id,
            probes.c.taken_at.is_(None),
            probes.c.asked_at > sa.func.now() - timedelta(seconds=within_s),
        )
        .values(taken_at=sa.func.now())
        .returning(probes.c.question)
    ).scalar_one_or_none()
    if question is None:
        return None
    try:
        return Question.model_validate(question)
    except ValidationError:  # Its words may quote what was declared.
        return PayloadUnknown(
            f"the worker that took the question cannot read it (kind {question.get('kind')!r}): it is of another "
            "release than whoever asks; update it, or ask again if another one may take it"
        )


def answer(connection: sa.Connection, probe_id: ProbeId, found: Answer | SyncError) -> None:
    """Record what came of a question; where nobody waits any more, nothing."""
    values: dict[str, Any] = {"answered_at": sa.func.now()}
    if isinstance(found, Answer):
        values["answer"] = found.to_json()
    else:
        values |= {"error_kind": type(found).__name__, "error": str(found)}
    connection.execute(sa.update(probes).where(probes.c.id == probe_id).values(values))


def look(connection: sa.Connection, probe_id: ProbeId) -> Standing:
    """Say how far a probe is."""
    row = connection.execute(sa.select(probes).where(probes.c.id == probe_id)).mappings().one_or_none()
    if row is None:
        return Standing(is_taken=False, answer=None, error=None)
    kind = None if row["error_kind"] is None else getattr(errors, row["error_kind"], SyncError)
    return Standing(
        is_taken=row["taken_at"] is not None,
        answer=None if row["answer"] is None else Answer.model_validate(row["answer"]),
        error=None if kind is None else kind(row["error"]),
    )


def forget(connection: sa.Connection, probe_id: ProbeId) -> None:
    """Remove a probe: its answer was read, or nobody waits for it any more."""
    connection.execute(sa.delete(probes).where(probes.c.id == probe_id))


def forget_old(connection: sa.Connection, *, older_than_s: float) -> int:
    """Remove probes whose asker never came back for the answer; give how many."""
    old = probes.c.asked_at < sa.func.now() - timedelta(seconds=older_than_s)
    return connection.execute(sa.delete(probes).where(old)).rowcount
