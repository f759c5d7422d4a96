"""Runs, windows, slices and chunks: their states and the moves that are legal between them (pure).

A run's life, with the states in which it holds its pipeline's window in **bold** type::

    waiting (for the run that is open)
         │
         ▼
         ┌───── nothing to read ─────────┐
    **created** ─▶ **extracting** ─▶ **uploading** ─▶ settled
         │               │                │
         └───────────────┴───────┬────────┘
                          **failed** / **cancelled** ─▶ abandoned
                                 │
                                 └─ retry ─▶ back to where it stood, with the same chunks and ids

A cancelled run may be *held*: then nobody has cancelled it, and a question waits for an operator.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any, Final, NewType
from uuid import UUID

from shared.ledger import Ledger
from shared.moments import told_exactly

RunId = NewType("RunId", UUID)
BackfillId = NewType("BackfillId", UUID)
SliceId = NewType("SliceId", UUID)
ChunkId = NewType("ChunkId", UUID)
Token = NewType("Token", UUID)
"""One claimant's right to write: fresh with every claim, so that a zombie's is worth nothing."""


Position = Mapping[str, str | int]
"""Where a warehouse's result can be continued: its own handle of the result, and how far. Plain JSON, no secret."""


class RunKind(StrEnum):
    """Why a run exists."""

    SCHEDULED = "scheduled"
    MANUAL = "manual"
    INITIAL = "initial"
    BACKFILL = "backfill"
    REPLAY = "replay"


class Lane(StrEnum):
    """Which queues, workers and share of the quota a run uses."""

    LIVE = "live"
    BACKFILL = "backfill"


class RunState(StrEnum):
    """Where a run stands."""

    WAITING = "waiting"
    CREATED = "created"
    EXTRACTING = "extracting"
    UPLOADING = "uploading"
    FAILED = "failed"
    CANCELLED = "cancelled"
    SETTLED = "settled"
    ABANDONED = "abandoned"


class HeldFor(StrEnum):
    """What an operator is asked about a held run."""

    VOLUME_UNUSUAL = "volume_unusual"
    """It read more rows, or fewer, than its pipeline allows without being asked."""
    RESTORED = "restored"
    """It was open when the backup was made that the store was restored from."""


class PipelineState(StrEnum):
    """Where a pipeline is in its life; a deleted one stays as a row, so that its id is never used again."""

    DRAFT = "draft"
    ACTIVE = "active"
    PAUSED = "paused"
    DELETED = "deleted"


class SliceState(StrEnum):
    """Where a slice stands: nothing of it is visible before ``published``."""

    PENDING = "pending"
    EXTRACTING = "extracting"
    PUBLISHED = "published"


class ChunkState(StrEnum):
    """Where a chunk stands."""

    READY = "ready"
    UPLOADING = "uploading"
    DONE = "done"
    FAILED = "failed"


WORKING: Final = frozenset({RunState.CREATED, RunState.EXTRACTING, RunState.UPLOADING})
"""States in which tasks work on a run."""
STOPPED: Final = frozenset({RunState.FAILED, RunState.CANCELLED})
"""States in which a run waits for an operator, or for its next occurrence, and keeps its window."""
OPEN: Final = WORKING | STOPPED
"""States in which a run holds its window: a pipeline has at most one such run on its live lane."""
CLOSED: Final = frozenset({RunState.SETTLED, RunState.ABANDONED})
"""States that nothing leaves."""

_MOVES: Final[Mapping[RunState, frozenset[RunState]]] = {
    RunState.WAITING: frozenset({RunState.CREATED, RunState.EXTRACTING, RunState.CANCELLED, RunState.ABANDONED}),
    RunState.CREATED: frozenset({RunState.EXTRACTING, RunState.UPLOADING, RunState.FAILED, RunState.CANCELLED}),
    RunState.EXTRACTING: frozenset({RunState.UPLOADING, RunState.FAILED, RunState.CANCELLED}),
    RunState.UPLOADING: frozenset({RunState.SETTLED, RunState.FAILED, RunState.CANCELLED}),
    RunState.FAILED: WORKING | {RunState.CANCELLED, RunState.ABANDONED},
    RunState.CANCELLED: WORKING | {RunState.WAITING, RunState.ABANDONED},
    RunState.SETTLED: frozenset(),
    RunState.ABANDONED: frozenset(),
}


def may_move(origin: RunState, target: RunState) -> bool:
    """Say whether a run may go from ``origin`` to ``target``."""
    return target in _MOVES[origin]


@dataclass(frozen=True, slots=True)
class Window:
    """The half-open interval ``[low, high)`` of the iterator that a run reads, in instants (UTC).

    ``None`` means unbounded; a full run has neither bound. ``includes_null`` also reads rows whose iterator is
    NULL, which no interval contains.
    """

    low: datetime | None = None
    high: datetime | None = None
    includes_null: bool = False

    def __post_init__(self) -> None:
        """Refuse bounds that are naive or the wrong way round."""
        for bound in (self.low, self.high):
            if bound is not None and bound.tzinfo is None:
                raise ValueError("a window's bounds are instants; give them a zone")
        if self.low is not None and self.high is not None and self.low > self.high:
            raise ValueError(
                f"a window cannot end ({told_exactly(self.high)}) before it begins ({told_exactly(self.low)})"
            )

    @property
    def is_empty(self) -> bool:
        """Whether no row can be inside."""
        return self.low is not None and self.low == self.high and not self.includes_null


@dataclass(frozen=True, slots=True)
class Standing:
    """Where a pipeline stands; no mark ever goes back within a generation.

    ``watermark`` is the next live window's ``low``, ``None`` until an initial window is frozen. ``history_to`` is T0,
    where the initial sync ends and the live lane begins; below ``history_settled_to`` history is settled.
    """

    generation: int
    watermark: datetime | None = None
    history_to: datetime | None = None
    history_settled_to: datetime | None = None

    @property
    def is_history_settled(self) -> bool:
        """Whether the initial sync is over, all its parts included."""
        return self.history_to is not None and self.history_settled_to == self.history_to


@dataclass(frozen=True, slots=True)
class Run:
    """A run as it stands; ``ledger.unsent`` is only filled while the run is stopped.

    ``missed`` occurrences before ``scheduled_for`` are covered by this run, too. A replay sends the rejected rows of
    the run that it ``replays``. No number of rejected rows stops a run that ``accepts_rejects``. The accepted rows were
    sent in ``batches``; ``findings`` are rows by what was found out about them (:mod:`shared.findings`). Its ``number``
    is what people call it. One that is held since ``held_at`` is cancelled, and goes on when somebody says so; no
    number of rows holds a run that ``accepts_volume``.
    """

    id: RunId
    pipeline_id: str
    generation: int
    kind: RunKind
    lane: Lane
    mode: str
    state: RunState
    logical_at: datetime
    window: Window
    snapshot: Mapping[str, Any] | None
    ledger: Ledger
    slices_total: int
    slices_published: int
    chunks_total: int
    chunks_done: int
    reopenings: int
    error_kind: str | None
    error: str | None
    created_at: datetime
    started_at: datetime | None
    ended_at: datetime | None
    scheduled_for: datetime | None = None
    missed: int = 0
    paused_at: datetime | None = None
    backfill_id: BackfillId | None = None
    part: int = 0
    findings: Mapping[str, int] = field(default_factory=dict)
    batches: int = 0
    replays: RunId | None = None
    accepts_rejects: bool = False
    number: int = 0
    held_at: datetime | None = None
    held_for: HeldFor | None = None
    held_reason: str | None = None
    accepts_volume: bool = False

    @property
    def is_held(self) -> bool:
        """Whether it waits for an operator's word."""
        return self.held_at is not None

    @property
    def is_complete(self) -> bool:
        """Whether every slice is published and every chunk done: what is left is to settle."""
        return self.slices_published == self.slices_total and self.chunks_done == self.chunks_total
