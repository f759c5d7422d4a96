"""``warehouse_sync.settle_run``: close a complete run and move the watermark, in one transaction."""

from celery import shared_task

from shared.errors import NotFound, SyncError, TooManyRejected
from shared.messages import Message, TaskName, read_payload
from shared.run import Run, RunId
from shared.store import breaker, moves, settling
from shared.telemetry import bind, bound, log
from worker.process import Process
from worker.settle import decide
from worker.tasks.boundary import deliver, recorded, this_process, traced

_log = log(__name__)


# Acknowledged early: a worker that loses its broker with messages unacknowledged may end (kombu 5.7), and
# upkeep settles what is lost.
@shared_task(name=TaskName.SETTLE_RUN.value, acks_late=False)
def settle_run(payload: object) -> None:
    """Settle the run that the payload names if it is complete, once, whoever sends it how often."""
    process = this_process()
    run_id = RunId(read_payload(payload))
    with bound(run_id=str(run_id)):

        def stop_run(error: SyncError) -> None:
            with process.database.transaction() as connection:
                moves.fail(connection, run_id, error)

        with recorded(stop_run=stop_run), traced(TaskName.SETTLE_RUN, run_id) as span:
            settled = _settle(process, run_id)
            span.note(is_settled=settled is not None)
            if settled is None:
                _log.info("message_out_of_date")
            else:
                run, messages = settled
                _log.info(
                    "run_settled",
                    kind=run.kind,
                    extracted=run.ledger.extracted,
                    accepted=run.ledger.accepted,
                    rejected=run.ledger.rejected,
                )
                deliver(process, messages)


def _settle(process: Process, run_id: RunId) -> tuple[Run, list[Message]] | None:
    with process.database.transaction() as connection:
        try:
            held = settling.lock(connection, run_id)
        except NotFound:
            return None
        bind(pipeline_id=held.run.pipeline_id)
        settlement = decide(held.run, held.pipeline.standing, settling.other_parts(connection, held.run))
        if settlement is None:
            return None
        if breaker.judge(connection, run_id):
            _log.error("run_stopped", error_kind=TooManyRejected.__name__)
            return None
        messages = settling.settle(
            connection,
            held,
            watermark=settlement.watermark,
            history_settled_to=settlement.history_settled_to,
        )
        return held.run, messages
