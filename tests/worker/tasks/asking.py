"""Questions at the desk: asked, answered by this very process, and looked at."""

from typing import Any

from shared.messages import TaskName
from shared.probe import Answer, ProbeKind, Question
from shared.store import probes
from shared.store.probes import ProbeId, Standing
from tests.worker.tasks.desk import Desk


def ask(desk: Desk, kind: ProbeKind, **about: Any) -> tuple[ProbeId, tuple[Any, ...]]:
    with desk.database.transaction() as store:
        probe_id, message = probes.ask(store, Question(kind=kind, **about))
    desk.send(message)
    return probe_id, desk.take_until(TaskName.PROBE)


def look(desk: Desk, probe_id: ProbeId) -> Standing:
    with desk.database.transaction() as store:
        return probes.look(store, probe_id)


def answer_of(desk: Desk, kind: ProbeKind, **about: Any) -> Answer:
    probe_id, arguments = ask(desk, kind, **about)
    desk.do(TaskName.PROBE, arguments)
    standing = look(desk, probe_id)
    if standing.error is not None:
        raise standing.error
    assert standing.answer is not None
    return standing.answer
