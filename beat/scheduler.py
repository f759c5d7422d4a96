"""Beat's scheduler: its entries are the pipelines in the store, and upkeep.

Every tick claims what is due, in batches, and sends after each commit. Celery's own heap keeps only the few periodic
tasks of the configuration: ten thousand pipelines cost a tick one indexed query. Any number of beats may run at once;
what one has locked, another skips, and the step to the next occurrence is part of the claim.
"""

import os
import socket
import time
from typing import Any, Final

from celery.beat import Scheduler

from shared import broker, pulse, tracing
from shared.endpoints import database_url
from shared.errors import BrokerUnavailable, StoreUnavailable
from shared.settings import Settings, settings
from shared.store import beats, lives
from shared.store.database import Database
from shared.telemetry import log

_log = log(__name__)

BATCH: Final = 200
"""Pipelines claimed in one transaction: their locks are held for a fraction of a second."""
_TELL_EVERY_S: Final = 10.0
"""How often a beat notes that it ticks; whoever looks takes one that is silent for a minute for dead."""


class PipelineScheduler(Scheduler):  # type: ignore[misc]  # Celery has no types
    """Celery's scheduler, and the pipelines that are due."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        """Prepare; beat makes one more than it uses, so nothing is opened yet."""
        super().__init__(*args, **kwargs)
        self._settings: Settings = settings()
        self._database = Database(database_url(self._settings), pool_size=1)
        self._told_at: float | None = None

    def tick(self, *args: Any, **kwargs: Any) -> float:
        """Send what is due and give the seconds until the next look."""
        until_next: float = super().tick(*args, **kwargs)
        self.start_due()
        self._tell()
        return min(until_next, self._settings.beat_every_s)

    def start_due(self) -> int:
        """Claim every pipeline that is due and send its run's first message; give how many there were.

        Where the store does not answer nothing is lost: the next look finds what is overdue. What cannot be sent is
        recorded, and upkeep sends it.
        """
        started = 0
        try:
            while True:
                began_ns = tracing.began()
                with self._database.transaction() as connection:
                    due = lives.claim_due(
                        connection,
                        at_most=BATCH,
                        window_chunks=self._settings.run_window_chunks,
                        max_reopenings=self._settings.max_reopenings,
                    )
                self._send(due)
                tracing.tell_each("claim_due", due.asked.runs, began_ns=began_ns, pipelines=due.pipelines)
                started += due.pipelines
                if due.pipelines < BATCH:
                    return started
        except StoreUnavailable as error:
            _log.warning("schedules_not_read", error=str(error))
            return started

    def close(self) -> None:
        """Give the connections back."""
        super().close()
        self._database.close()

    def _tell(self) -> None:
        """Note in the store that this beat ticks, now and then; where that does not answer, the next tick tries."""
        now = time.monotonic()
        if self._told_at is not None and now - self._told_at < _TELL_EVERY_S:
            return
        try:
            with self._database.transaction() as connection:
                beats.tick(connection, f"{socket.gethostname()}:{os.getpid()}", is_first=self._told_at is None)
        except StoreUnavailable as error:
            _log.warning("tick_not_noted", error=str(error))
        else:
            self._told_at = now
            pulse.beat(self._settings.pulse_file)

    def _send(self, due: lives.Due) -> None:
        if due.pipelines:
            _log.info("pipelines_due", pipelines=due.pipelines, runs=len(due.asked.runs))
        for pipeline_id in due.put_off:
            _log.error("pipeline_put_off", pipeline_id=pipeline_id, cure="declare it again with this version's console")
        try:
            broker.send(self.app, due.asked.messages)
        except BrokerUnavailable as error:
            _log.warning("messages_not_sent", count=len(due.asked.messages), error=str(error))
