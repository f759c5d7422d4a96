"""Questions at the desk: asked, answered by this very process, and looked at."""

from typing import Any

import sqlalchemy as sa

from shared.messages import TaskName
from shared.probe import Answer, ProbeKind, Question
from shared.store import probes
from shared.store.ground import metadata
from shared.store.probes import ProbeId, Standing
from shared.store.tables import probes as rows_of_probes
from tests.worker.tasks.desk import Desk


def ask(desk: Desk, kind: ProbeKind, **about: Any) -> tuple[ProbeId, tuple[Any, ...]]:
    """Ask; give the probe's id and the arguments of the task that answers it, undone."""
    return _sent(desk, Question(kind=kind, **about))


def look(desk: Desk, probe_id: ProbeId) -> Standing:
    with desk.database.transaction() as store:
        return probes.look(store, probe_id)


def answer_of(desk: Desk, kind: ProbeKind, **about: Any) -> Answer:
    return answer_to(desk, Question(kind=kind, **about))


def answer_to(desk: Desk, question: Question) -> Answer:
    probe_id, arguments = _sent(desk, question)
    desk.do(TaskName.PROBE, arguments)
    standing = look(desk, probe_id)
    if standing.error is not None:
        raise standing.error
    assert standing.answer is not None
    return standing.answer


def everything(desk: Desk) -> dict[str, list[dict[str, Any]]]:
    """Give all rows of all tables but the probes'."""
    return {
        table.name: [dict(row) for row in desk.rows(sa.select(table))]
        for table in metadata.sorted_tables
        if table is not rows_of_probes
    }


def _sent(desk: Desk, question: Question) -> tuple[ProbeId, tuple[Any, ...]]:
    with desk.database.transaction() as store:
        probe_id, message = probes.ask(store, question)
    desk.send(message)
    return probe_id, desk.take_until(TaskName.PROBE)
