"""Which rows of a chunk are not sent, because mParticle has the user's newer row, or this very row, already (pure)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Self, TypeVar

import numpy as np
import numpy.typing as npt

from shared.iterator import floor_to_unit
from shared.mapping.plan import MappingPlan
from shared.run import Window
from shared.snapshot import Snapshot
from worker.instants import UNKNOWN, Instants, instants_of, ticks, to_datetimes
from worker.mparticle.keys import RowKey, UserKey, row_keys, user_keys

Positions = npt.NDArray[np.int64]
Key = TypeVar("Key", UserKey, RowKey)


@dataclass(frozen=True, slots=True)
class Sendable:
    """The rows of a chunk that passed the checks, by their positions: whose they are, and how new.

    Rows that a check refused are not among them: they are rejects whatever else is known of them.
    """

    positions: Positions
    users: Sequence[UserKey | None]
    instants: Instants

    @classmethod
    def of(cls, rows: Positions, table: Any, *, plan: MappingPlan, snapshot: Snapshot) -> Self:
        """Look at some rows, given by their positions, ascending, in their chunk's whole table."""
        users = user_keys(plan, table, one_row_per=snapshot.one_row_per)
        chosen = [users[row] for row in rows.tolist()]
        return cls(rows, chosen, instants_in(table, snapshot)[rows])

    def newest(self) -> dict[UserKey, datetime]:
        """Give the newest instant of each user; rows without a user or an instant say nothing."""
        return _newest(self.users, self.instants)

    def superseded(self, newer: Mapping[UserKey, datetime]) -> Positions:
        """Give the rows that are older than what ``newer`` says of their users; one without an instant always is."""
        return self.positions[_known(self.users, newer) > self.instants]

    def named(self) -> list[UserKey]:
        """Give the users, each once."""
        return list({user: None for user in self.users if user is not None})


@dataclass(frozen=True, slots=True)
class Lookback:
    """The same rows by their row keys, where a pipeline reads below its watermark once more.

    Attributes:
        low: Where the run's window begins; what it read below that, it read again.
        kept_from: Accepted rows from here on may be read again by the next run.
    """

    positions: Positions
    rows: Sequence[RowKey | None]
    instants: Instants
    low: int
    kept_from: int

    @classmethod
    def of(cls, rows: Positions, table: Any, *, snapshot: Snapshot, window: Window) -> Self | None:
        """Look at some rows, given by their positions, ascending, in their chunk's whole table.

        Returns:
            ``None`` where nothing is read again.
        """
        if snapshot.row_key is None or not snapshot.lookback_s or window.high is None:
            return None
        keys = row_keys(table, snapshot.row_key)
        return cls(
            rows,
            [keys[row] for row in rows.tolist()],
            instants_in(table, snapshot)[rows],
            low=UNKNOWN if window.low is None else ticks(window.low),
            kept_from=ticks(_next_reads_from(window.high, snapshot)),
        )

    def asked(self) -> list[RowKey]:
        """Give the keys of the rows that were read again."""
        again = np.flatnonzero(self._read_again())
        return [key for row in again.tolist() if (key := self.rows[row]) is not None]

    def unchanged(self, accepted: Mapping[RowKey, datetime]) -> Positions:
        """Give the rows read again that were accepted as they are, or newer."""
        return self.positions[self._read_again() & (_known(self.rows, accepted) >= self.instants)]

    def to_keep(self, accepted: Positions) -> dict[RowKey, datetime]:
        """Give the keys of accepted rows, by their positions, that the next run may read again."""
        chosen = np.flatnonzero(np.isin(self.positions, accepted) & (self.instants >= self.kept_from))
        return _newest([self.rows[row] for row in chosen.tolist()], self.instants[chosen])

    def _read_again(self) -> npt.NDArray[np.bool_]:
        again: npt.NDArray[np.bool_] = (self.instants < self.low) & (self.instants != UNKNOWN)
        return again


def _newest(keys: Sequence[Key | None], instants: Instants) -> dict[Key, datetime]:
    """Give the newest instant of each key; rows without a key or an instant say nothing."""
    newest: dict[Key, int] = {}
    for key, instant in zip(keys, instants.tolist(), strict=True):
        if key is not None and instant > newest.get(key, UNKNOWN):
            newest[key] = instant
    return dict(zip(newest, to_datetimes(np.array(list(newest.values()), dtype=np.int64)), strict=True))


def _known(keys: Sequence[Key | None], told: Mapping[Key, datetime]) -> Instants:
    """Give what is told of each row's key, ``UNKNOWN`` where nothing is."""
    marks: dict[Key | None, int] = {key: ticks(at) for key, at in told.items()}
    return np.array([marks.get(key, UNKNOWN) for key in keys], dtype=np.int64)


def _next_reads_from(high: datetime, snapshot: Snapshot) -> datetime:
    """Give where the next run's query begins: on a whole unit, which may lie far below the lookback itself."""
    below = high - timedelta(seconds=snapshot.lookback_s)
    return below if snapshot.iterator is None else floor_to_unit(below, snapshot.iterator.type, snapshot.iterator.zone)


def instants_in(rows: Any, snapshot: Snapshot) -> Instants:
    """Give the iterator's instant of each row, ``UNKNOWN`` where there is none."""
    if snapshot.iterator is None:
        return np.full(rows.num_rows, UNKNOWN, dtype=np.int64)
    return instants_of(rows.column(snapshot.iterator.column), snapshot.iterator)
