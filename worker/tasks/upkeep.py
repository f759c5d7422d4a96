"""``warehouse_sync.upkeep``: rescue lost work and expire files, every half minute; as many at once as you like."""

from datetime import timedelta
from typing import Final

from celery import shared_task

from shared import broker
from shared.errors import BrokerUnavailable, ChunkAbandoned
from shared.messages import Death, Message, TaskName
from shared.store import (
    accepted,
    beats,
    chunks,
    lost,
    moves,
    probes,
    purging,
    rejects,
    runs,
    sign_ins,
    slices,
    stalled,
)
from shared.telemetry import log
from worker.process import Process
from worker.tasks import alerting, turns
from worker.tasks.boundary import deliver, recorded, this_process
from worker.upkeep import to_send_again, too_many_deaths

_log = log(__name__)
_MARKS_A_TIME: Final = 1_000_000
"""More of them are left to the next upkeep."""
_SILENT_BEAT_KEPT: Final = timedelta(days=1)
"""Long enough to see who ticked last; afterwards only clutter."""


# Acknowledged early: a worker that loses its broker with messages unacknowledged may end (kombu 5.7), and
# beat soon sends another.
@shared_task(name=TaskName.UPKEEP.value, acks_late=False)
def upkeep() -> None:
    """Free what dead claimants held, send what was lost, settle what is complete, remove what expired, tell people."""
    process = this_process()
    with recorded():
        _free_dead(process)
        _stop_what_is_in_doubt(process)
        deliver(process, _unsent(process))
        deliver(process, _lost(process))
        _expire(process)
    # Apart: no trouble of the work keeps people from being told of it, and none of the alerts delays the work.
    with recorded():
        deliver(process, alerting.look(process))


def _free_dead(process: Process) -> None:
    with process.database.transaction() as connection:
        deaths = lost.free_dead(connection)
        numbers = runs.numbers_of(connection, {death.run_id for death in deaths})
        for death, error in too_many_deaths(deaths, numbers, max_deaths=process.settings.max_deaths):
            moves.fail(connection, death.run_id, error)
            if death.task is TaskName.UPLOAD_CHUNK:
                chunks.mark_failed(connection, death.id, str(error))
    for death in deaths:
        _log.warning("claim_freed", task=death.task, id=str(death.id), run_id=str(death.run_id), deaths=death.deaths)
        _remove_unpublished(process, death)


def _remove_unpublished(process: Process, death: Death) -> None:
    if death.task is not TaskName.EXTRACT_SLICE:
        return
    with process.database.transaction() as connection:
        no = slices.number_of(connection, death.id)
    process.spool.remove_slice(death.run_id, no, death.token)


def _stop_what_is_in_doubt(process: Process) -> None:
    longer_than_s = process.settings.doubt_max_s
    with process.database.transaction() as connection:
        found = runs.numbers_of(connection, lost.in_doubt(connection, longer_than_s=longer_than_s))
    for run_id, number in found.items():
        error = ChunkAbandoned(
            f"run {number} has chunks that are unfinished for {longer_than_s / 86400:g} days, and mParticle forgets "
            "ids after 30: sending them again could repeat rows. Retry it now if you accept that, or abandon it"
        )
        # Each by itself: nobody who holds one pipeline waits for another.
        with process.database.transaction() as connection:
            moves.fault(connection, run_id, error)


def _unsent(process: Process) -> list[Message]:
    with process.database.transaction() as connection:
        return [
            *lost.never_sent(connection, window_chunks=process.settings.run_window_chunks),
            *lost.complete_unsettled(connection),
            *stalled.begin(connection),
        ]


def _lost(process: Process) -> list[Message]:
    limits = process.settings
    try:
        depths = broker.depths(process.app)
    except BrokerUnavailable as error:
        _log.warning("queues_not_measured", error=str(error))
        return []
    with process.database.transaction() as connection:
        missing = to_send_again(lost.sent_and_unclaimed(connection), depths)
        return [
            message
            for queue, count in missing.items()
            for message in lost.send_again(
                connection, queue, at_most=count, after_s=limits.resend_after_s, max_s=limits.resend_max_s
            )
        ]


def _expire(process: Process) -> None:
    limits = process.settings
    with process.database.transaction() as connection:
        lost.close_deleted(connection)
        expired = lost.expired_spools(connection, retention_s=limits.chunk_retention_s)
    for run_id in expired:
        process.spool.remove_run(run_id)
        with process.database.transaction() as connection:
            lost.mark_spool_freed(connection, run_id)
        _log.info("chunks_expired", run_id=str(run_id))
    with process.database.transaction() as connection:
        expired = rejects.expire(connection, retention_s=limits.reject_retention_s)
    for run_id in expired:
        process.spool.remove_rejects(run_id)
        with process.database.transaction() as connection:
            rejects.mark_freed(connection, run_id)
        _log.info("rejects_expired", run_id=str(run_id))
    purging.remove_leftovers(process.database, process.spool)
    with process.database.transaction() as connection:
        probes.forget_old(connection, older_than_s=2 * limits.probe_timeout_s)
        accepted.forget(connection)
        sign_ins.forget_expired(connection)
        beats.forget_silent(connection, after=_SILENT_BEAT_KEPT)
    turns.forget(process, at_most=_MARKS_A_TIME)
