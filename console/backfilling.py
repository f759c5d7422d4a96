"""The verbs of history: begin, follow, pause, resume and cancel a backfill."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import sqlalchemy as sa

from shared.run import WORKING, BackfillId, Run, RunState
from shared.settings import Settings
from shared.store import backfills, declared, history, work_times
from shared.store.asked import Asked
from shared.store.backfills import Backfill
from shared.store.database import Database


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a backfill is: its parts in order, and rows over all of them.

    ``worked`` is how long its parts were at work so far, as far as ``left`` needs it.
    """

    backfill: Backfill
    parts: tuple[Run, ...]
    worked: timedelta

    @property
    def state(self) -> str:
        """Where it stands as a whole, in the word for its runs that an operator needs to see first."""
        states = {part.state for part in self.parts}
        if self.backfill.cancelled_at is not None:
            return "cancelled"
        if any(part.is_held for part in self.parts):
            return "held"
        for telling in (RunState.FAILED, RunState.CANCELLED):
            if telling in states:
                return telling.value
        if states <= {RunState.SETTLED, RunState.ABANDONED}:
            return "done" if states == {RunState.SETTLED} else "abandoned"
        return "paused" if self.backfill.paused_at is not None else "running"

    @property
    def low(self) -> datetime | None:
        """Where its parts begin; ``None`` where that is the beginning."""
        lows = [part.window.low for part in self.parts] or [self.backfill.low]
        return None if None in lows else min(low for low in lows if low is not None)

    @property
    def high(self) -> datetime | None:
        """Where its parts end, as far as they are planned."""
        highs = (*(part.window.high for part in self.parts), self.backfill.high)
        return max((high for high in highs if high is not None), default=None)

    @property
    def settled_parts(self) -> int:
        """Parts that are settled."""
        return sum(part.state is RunState.SETTLED for part in self.parts)

    @property
    def ended_rows(self) -> int:
        """Rows of all parts whose end is known."""
        return sum(part.ledger.ended for part in self.parts)

    @property
    def left(self) -> timedelta | None:
        """How long the rest takes at the speed so far; unknown where the rows were not counted or none has ended."""
        if self.state != "running" or not self.worked or not self.backfill.expected_rows or not self.ended_rows:
            return None
        rows = max(0, self.backfill.expected_rows - self.ended_rows)
        return self.worked * (rows / self.ended_rows)


class Backfilling:
    """The verbs, bound to one state database."""

    def __init__(self, database: Database, settings: Settings, send: Callable[[Asked], object]) -> None:
        """Take what ``Operations`` holds; ``send`` sends what was recorded."""
        self._database = database
        self._settings = settings
        self._send = send

    def begin(
        self,
        pipeline_id: str,
        *,
        low: datetime | None = None,
        high: datetime | None = None,
        parts: int = 1,
        newest_first: bool = False,
        expected_rows: int | None = None,
    ) -> Backfill:
        """Read a window once more, in the background; errors as of ``shared.store.history.begin``.

        Where the very same is being read already, that backfill is given: whoever asks again after an answer was lost
        begins nothing anew.
        """
        with self._database.transaction() as connection:
            history.bounds(connection, pipeline_id, low=low, high=high)  # It locks the pipeline.
            under_way = backfills.same_under_way(
                connection, pipeline_id, low=low, high=high, parts=parts, newest_first=newest_first
            )
            if under_way is not None:
                return under_way
            backfill, asked = history.begin(
                connection,
                pipeline_id,
                low=low,
                high=high,
                parts=parts,
                newest_first=newest_first,
                expected_rows=expected_rows,
            )
        self._send(asked)
        return backfill

    def bounds(self, pipeline_id: str, low: datetime | None, high: datetime | None) -> tuple[datetime | None, datetime]:
        """Give the bounds that a backfill would have; errors as of ``begin``."""
        with self._database.transaction() as connection:
            return history.bounds(connection, pipeline_id, low=low, high=high)

    def newest(
        self, pipeline_id: str | None = None, *, limit: int = 20, after: BackfillId | None = None
    ) -> list[Progress]:
        """Give the newest backfills and initial syncs, of one pipeline or of all, and how far each is.

        With ``after`` they are those before that one. Raises ``NotFound`` where there never was such a pipeline.
        """
        with self._database.transaction() as connection:
            if pipeline_id is not None:
                declared.get_pipeline(connection, pipeline_id, even_deleted=True)
            found = backfills.newest(connection, pipeline_id, limit=limit, after=after)
            parts = backfills.parts_of_all(connection, [backfill.id for backfill in found])
            return _so_far(connection, [(backfill, parts[backfill.id]) for backfill in found])

    def get(self, backfill_id: BackfillId) -> Progress:
        """Give one and how far it is, or raise ``NotFound``."""
        with self._database.transaction() as connection:
            backfill = backfills.get(connection, backfill_id)
            (found,) = _so_far(connection, [(backfill, backfills.parts_of(connection, backfill_id))])
        return found

    def find(self, beginning: str) -> BackfillId:
        """Give the backfill whose id begins so, or raise ``NotFound``."""
        with self._database.transaction() as connection:
            return backfills.find(connection, beginning)

    def pause(self, backfill_id: BackfillId) -> None:
        """Claim nothing more of a backfill and begin no further part."""
        with self._database.transaction() as connection:
            history.pause(connection, backfill_id)

    def resume(self, backfill_id: BackfillId) -> None:
        """Go on with a backfill that was paused or cancelled."""
        with self._database.transaction() as connection:
            asked = history.resume(connection, backfill_id, window_chunks=self._settings.run_window_chunks)
        self._send(asked)

    def cancel(self, backfill_id: BackfillId) -> None:
        """Stop a backfill until it is resumed."""
        with self._database.transaction() as connection:
            history.cancel(connection, backfill_id)


def _so_far(connection: sa.Connection, found: Sequence[tuple[Backfill, Sequence[Run]]]) -> list[Progress]:
    """Give how far some backfills are; their parts are read one after the other, so that their times add up."""
    # Whoever asks how long the rest takes asks of these few; an initial sync that is over may have a thousand parts.
    at_work = [
        parts for backfill, parts in found if backfill.expected_rows and any(part.state in WORKING for part in parts)
    ]
    times = work_times.of_runs(connection, [part for parts in at_work for part in parts])
    return [
        Progress(
            backfill,
            tuple(parts),
            sum((times[part.id].lasted for part in parts if part.id in times), timedelta()),
        )
        for backfill, parts in found
    ]
