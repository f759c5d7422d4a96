"""What an upload attempt records: each step as it becomes final, and every request, each once."""

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from functools import cached_property
from typing import Final

import numpy as np
import pyarrow as pa
import sqlalchemy as sa

from shared.errors import StoreUnavailable
from shared.findings import ROWS_MERGED
from shared.ledger import Reject
from shared.run import Token
from shared.spool import SpooledFile
from shared.store import accepted, chunks, rejected_users, totals
from shared.store.chunks import ClaimedChunk
from shared.telemetry import log
from shared.tracing import Span
from worker.frontier import Step
from worker.mparticle.keys import UserKey
from worker.mparticle.prepared import Prepared
from worker.mparticle.tally import Tally
from worker.process import Process
from worker.rejects import reject_table
from worker.tasks.frozen import Frozen
from worker.tasks.rejected import note_rejected, whose
from worker.tasks.turns import Turn

_log = log(__name__)


class Recording:
    """The transactions of one attempt: with what each is for goes what was sent since the last one."""

    def __init__(self, process: Process, claimed: ClaimedChunk, token: Token) -> None:
        self.process: Final = process
        self.claimed: Final = claimed
        self.token: Final = token
        self.tally: Final = Tally()

    @contextmanager
    def transaction(self) -> Iterator[sa.Connection]:
        """Open a transaction that also records what was sent since the last one; each request once."""
        with self.tally.handed_over() as counts, self.process.database.transaction() as connection:
            yield connection
            totals.add(connection, self.claimed.pipeline_id, self.claimed.lane, counts)

    def hand_in(self) -> None:
        """Record what was sent and is recorded with nothing else, because the claim or the store was lost meanwhile."""
        if self.tally:
            try:
                with self.transaction():
                    pass
            except StoreUnavailable as error:
                _log.warning("requests_not_counted", error=str(error))


class Steps:
    """Records the steps of one attempt's turn, one after the other, each whole or not at all."""

    def __init__(
        self,
        recording: Recording,
        span: Span,
        *,
        frozen: Frozen,
        table: pa.Table,
        prepared: Prepared,
        turn: Turn,
    ) -> None:
        self._recording = recording
        self._claimed = recording.claimed
        self._token = recording.token
        self._span = span
        self._frozen = frozen
        self._table = table
        self._prepared = prepared
        self._turn = turn
        self._reject_files = 0
        self._is_wanted = True

    @property
    def is_wanted(self) -> bool:
        """Whether the run still wanted more when the last step was recorded."""
        return self._is_wanted

    async def record(self, step: Step) -> None:
        """Record a step: counts and position of its chunk, its rejects, and what replays and lookback will ask for."""
        await asyncio.to_thread(self._save, step)

    def _save(self, step: Step) -> None:
        progress, frozen = step.progress, self._frozen
        file = self._keep(progress.rejects) if progress.rejects else None
        users = whose(progress.rejects, self._table, plan=frozen.plan, snapshot=frozen.snapshot)
        newest = self._newest if users else {}
        replayed = frozen.sendable(np.sort(step.accepted), self._table).newest() if frozen.replays_users else {}
        with self._recording.transaction() as connection:
            is_wanted = chunks.record(
                connection,
                self._claimed,
                self._token,
                progress,
                lease_s=self._recording.process.settings.upload_lease_s,
                rejects=file,
                findings=self._found(step),
            )
            note_rejected(connection, self._claimed, users, newest)
            rejected_users.saw(connection, self._claimed.pipeline_id, replayed)
            if self._turn.lookback is not None:
                accepted.keep(connection, self._claimed.pipeline_id, self._turn.lookback.to_keep(step.accepted))
        self._span.count(
            accepted=progress.accepted,
            rejected=len(progress.rejects),
            unchanged=progress.unchanged,
            superseded=progress.superseded,
            batches=progress.batches,
        )
        if progress.rejects:
            _log.warning("rows_rejected", rejected=len(progress.rejects))
        self._is_wanted = is_wanted

    @cached_property
    def _newest(self) -> Mapping[UserKey, datetime]:
        """The newest instant of each user among the good rows of the whole chunk."""
        return self._frozen.sendable(self._prepared.open_rows(), self._table).newest()

    def _found(self, step: Step) -> dict[str, int]:
        progress = step.progress
        found = self._prepared.found(step.accepted, progress.rejects)
        if not self._turn.encoded.has_events and progress.accepted > progress.batches:
            found[ROWS_MERGED] = progress.accepted - progress.batches
        return found

    def _keep(self, rejects: Sequence[Reject]) -> SpooledFile:
        self._reject_files += 1
        return self._recording.process.spool.write_rejects(
            reject_table(self._table, rejects),
            run_id=self._claimed.run_id,
            chunk_id=self._claimed.id,
            token=self._token,
            part=self._reject_files,
        )
