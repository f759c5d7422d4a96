"""A question that only a worker may answer: taken once, and answered into the store if somebody still waits for it.

Never repeated: whoever waits no longer than the question's limit asks again, which is harmless, and what sends rows
or messages would send them twice.
"""

from collections.abc import Callable

from shared.errors import PayloadUnknown, SyncError
from shared.messages import read_payload
from shared.probe import Answer, Question
from shared.store import probes
from shared.store.probes import ProbeId
from shared.telemetry import bound, log
from worker.process import Process
from worker.tasks.boundary import recorded, this_process

_log = log(__name__)


def answer_once(payload: object, answer: Callable[[Process, ProbeId, Question], Answer]) -> None:
    """Answer the question that a payload names, or say to whoever asked why there is no answer."""
    probe_id = ProbeId(read_payload(payload))
    with bound(probe_id=str(probe_id)), recorded():
        process = this_process()
        with process.database.transaction() as connection:
            question = probes.take(connection, probe_id, within_s=process.settings.probe_timeout_s)
        if question is None:
            _log.info("message_out_of_date")
            return

        def save(found: Answer | SyncError) -> None:
            with process.database.transaction() as connection:
                probes.answer(connection, probe_id, found)

        with recorded(put_off=save, stop_run=save):
            if isinstance(question, PayloadUnknown):
                raise question
            save(answer(process, probe_id, question))
            _log.info("probe_answered", kind=question.kind)
