"""An attempt's turn: what of its chunk is to be sent, and until when, so that no old row follows a newer one.

The live lane marks the users of its rows, waits until those attempts of the backfill lane have ended that could not
see the marks, and sends. The backfill lane leaves out what is older than a mark; it ends its turn when the live lane
waits for it, and a later attempt reads the marks anew. While no history is being loaded, the live lane asks one
question and writes nothing.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final, assert_never

import numpy as np

from shared.run import Lane, Token
from shared.store import accepted, chunks, newer, turns
from shared.store.chunks import ClaimedChunk
from shared.telemetry import log
from worker.mparticle.prepared import EncodedRows, Prepared
from worker.mparticle.shares import NO_ROWS
from worker.process import Process
from worker.stale import Lookback, Sendable
from worker.tasks.frozen import Frozen
from worker.tasks.rejected import sent_since, tell_replays, tell_sent

_log = log(__name__)
_BLIND_S: Final = 5.0
"""A turn that could not look for so long starts no further request: the store may have given it to others soon."""
_MARGIN_S: Final = 5.0
_FORGOTTEN_AT_ONCE: Final = 50_000


class Turn:
    """What an attempt may send, until its turn is over.

    Args:
        encoded: What is to be sent, and what is left out.
        lookback: Which of the rows may be read again.
        is_wanted_back: Asked by ``look``; once True the turn is over. A turn without it ends with the attempt.
    """

    def __init__(
        self,
        encoded: EncodedRows,
        lookback: Lookback | None,
        is_wanted_back: Callable[[], bool] | None = None,
    ) -> None:
        self.encoded: Final = encoded
        self.lookback: Final = lookback
        self._is_wanted_back = is_wanted_back
        self._looked_at = time.monotonic()
        self._is_over = False

    @property
    def is_over(self) -> bool:
        """Whether no further request may start; those under way finish."""
        is_blind = self._is_wanted_back is not None and time.monotonic() - self._looked_at > _BLIND_S
        return self._is_over or is_blind

    def look(self) -> None:
        """See whether others wait; called several times a second while requests are sent."""
        if self._is_wanted_back is None:
            return
        self._is_over = self._is_over or self._is_wanted_back()
        self._looked_at = time.monotonic()


@contextmanager
def turn_of(
    process: Process, claimed: ClaimedChunk, token: Token, frozen: Frozen, table: Any, prepared: Prepared
) -> Iterator[Turn]:
    """Wait for an attempt's turn, and give it; when the block ends no request of it is under way."""
    rows = prepared.open_rows(claimed.position)
    lookback = Lookback.of(rows, table, snapshot=frozen.snapshot, window=frozen.window)
    unchanged = NO_ROWS
    match claimed.lane:
        case Lane.LIVE:
            if lookback is not None:
                with process.database.transaction() as connection:
                    known = accepted.known(connection, claimed.pipeline_id, lookback.asked())
                unchanged = lookback.unchanged(known)
            if not frozen.plan.has_events:
                to_send = np.setdiff1d(rows, unchanged, assume_unique=True)
                _go_before_history(process, claimed.pipeline_id, lambda: frozen.sendable(to_send, table))
            yield Turn(prepared.write(position=claimed.position, unchanged=unchanged), lookback)
        case Lane.BACKFILL if frozen.plan.has_events:
            # An event is a fact: no newer one makes it wrong.
            yield Turn(prepared.write(position=claimed.position), lookback)
        case Lane.BACKFILL:
            sendable = frozen.sendable(rows, table)
            if not frozen.snapshot.is_replay:  # A replay tells what was accepted: its own rows may share a batch.
                tell_sent(process, claimed.pipeline_id, sendable)
            with process.database.transaction() as connection:
                turns.hold(connection, claimed.pipeline_id, idle_s=_longest_turn_s(process))
                # Only now: whoever waited may have been given up, and its run settled or stopped.
                is_wanted = chunks.is_held(connection, claimed, token)
                marks = sent_since(connection, claimed.pipeline_id, sendable.named(), snapshot=frozen.snapshot)
                turn = Turn(
                    prepared.write(position=claimed.position, superseded=sendable.superseded(marks)),
                    lookback,
                    lambda: not is_wanted or turns.is_wanted_back(connection, claimed.pipeline_id),
                )
                turn.look()
                yield turn
        case _:
            assert_never(claimed.lane)


def _go_before_history(process: Process, pipeline_id: str, sendable: Callable[[], Sendable]) -> None:
    """See to it that no older row of the same users follows these, be it of history or of a replay."""
    if tell_replays(process, pipeline_id, sendable):
        _go_first(process, pipeline_id, sendable())
        # Once more: what history rejected meanwhile could not be told before it ended its turn.
        tell_replays(process, pipeline_id, sendable)


def _go_first(process: Process, pipeline_id: str, sendable: Sendable) -> None:
    """Have history leave out what is older than these rows, and wait for what it is sending already."""
    most = process.settings.max_newer_rows
    with process.database.transaction() as connection:
        is_marked = not newer.is_watched(connection, pipeline_id) or newer.mark(
            connection, pipeline_id, sendable.newest(), most=most
        )
    if not is_marked:
        with process.database.transaction() as connection:
            overtaken = newer.overtake(connection, pipeline_id, most=most)
        _log.error("history_overtaken", run_ids=[str(run_id) for run_id in overtaken], users=most)
    with process.database.transaction() as connection:
        turns.let_history_end(connection, pipeline_id, wait_s=2 * _longest_turn_s(process))
    if not is_marked:
        # Now, and not by upkeep: a run that is opened in between would find no room for its own.
        forget(process, pipeline_id)


def forget(process: Process, pipeline_id: str | None = None, *, at_most: int | None = None) -> int:
    """Remove marks that nobody needs any more, of one pipeline or of all, in short transactions; give how many."""
    forgotten = 0
    while at_most is None or forgotten < at_most:
        with process.database.transaction() as connection:
            removed = newer.forget(connection, at_most=_FORGOTTEN_AT_ONCE, pipeline_id=pipeline_id)
        if not removed:
            break
        forgotten += removed
    return forgotten


def _longest_turn_s(process: Process) -> float:
    """How long a request may last after its turn is over, or after the attempt was frozen or cut off."""
    return _BLIND_S + process.settings.request_timeout_s + _MARGIN_S
