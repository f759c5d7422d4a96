"""Traces: what was done for a run, as spans of one tree.

A trace's id is its run's id, so that nothing needs to travel with messages, which may be lost, sent again or wait for
days: every process that works on a run knows its trace. The root's id follows from the run's id as well; the root,
``run``, is told when the run ends, and everything else is its child from the start.

Attributes are ids, names of kinds and states, and counts. Never SQL, rows, secrets or an error's sentence.
"""

import secrets
import time
from collections.abc import Iterable
from hashlib import blake2b
from types import TracebackType
from typing import Final, Self

from shared.errors import SyncError, Transient
from shared.run import Run, RunId, RunState
from shared.trace_export import Ended, Value, export

ROOT: Final = "run"
_PREFIX: Final = "warehouse_sync."
_ID_BITS: Final = 64


class Span:
    """A piece of work on a run, from when it is made until its block ends; told then, however it ends.

    An exception is told by its kind alone. It marks the span as failed, unless it is ``harmless`` or transient: what is
    put off is no failure.
    """

    def __init__(
        self,
        name: str,
        run_id: RunId,
        *,
        parent_id: int | None = None,
        harmless: tuple[type[BaseException], ...] = (),
        **attributes: Value | None,
    ) -> None:
        self._name = name
        self._run_id = run_id
        self._id = _new_id()
        self._parent_id = root_id(run_id) if parent_id is None else parent_id
        self._harmless = harmless
        self._attributes: dict[str, Value] = {}
        self._counts: dict[str, int] = {}
        self._is_error = False
        self._began_ns = time.time_ns()
        self.note(**attributes)

    def note(self, **attributes: Value | None) -> None:
        """Say something of it; what is ``None`` is not said."""
        self._attributes |= {name: value for name, value in attributes.items() if value is not None}

    def count(self, **increments: int) -> None:
        """Add to its counts."""
        for name, increment in increments.items():
            self._counts[name] = self._counts.get(name, 0) + increment

    def part(self, name: str, **attributes: Value | None) -> "Span":
        """Begin a part of it: a child."""
        return Span(name, self._run_id, parent_id=self._id, harmless=self._harmless, **attributes)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is not None:
            self.note(error_kind=kind.__name__ if issubclass(kind, (SyncError, *self._harmless)) else "Unexpected")
            self._is_error = not issubclass(kind, (Transient, *self._harmless))
        _tell(
            Ended(
                trace_id=self._run_id.int,
                span_id=self._id,
                parent_id=self._parent_id,
                name=self._name,
                began_ns=self._began_ns,
                ended_ns=time.time_ns(),
                attributes=_named(self._run_id, self._attributes | self._counts),
                is_error=self._is_error,
            )
        )


def is_on() -> bool:
    """Whether this process tells spans to anybody."""
    return export() is not None


def root_id(run_id: RunId) -> int:
    """Give the id of a run's root span; every process finds the same."""
    return int.from_bytes(blake2b(run_id.bytes, digest_size=_ID_BITS // 8).digest()) or 1


def ids_of(run: Run) -> dict[str, Value | None]:
    """Give what every span of a run's work says of the run."""
    return {"pipeline_id": run.pipeline_id, "kind": run.kind.value, "lane": run.lane.value}


def began() -> int:
    """Give the instant at which something begins of which it is not known yet whose it is."""
    return time.time_ns()


def tell_each(name: str, run_ids: Iterable[RunId], *, began_ns: int, **attributes: Value) -> None:
    """Tell one span for each run that something which began at ``began_ns`` came to."""
    if is_on():
        for run_id in run_ids:
            span_id, root = _new_id(), root_id(run_id)
            _tell(Ended(run_id.int, span_id, root, name, began_ns, time.time_ns(), _named(run_id, attributes)))


def tell_end(run: Run, *, name: str = ROOT, began_ns: int, ended_ns: int) -> None:
    """Tell of a run that ended, as its root or, under another name, as a child of it."""
    counts = run.ledger
    is_root = name == ROOT
    attributes = ids_of(run) | {
        "number": run.number,
        "mode": run.mode,
        "state": run.state.value,
        "error_kind": run.error_kind,
        "extracted": counts.extracted,
        "accepted": counts.accepted,
        "rejected": counts.rejected,
        "unchanged": counts.unchanged,
        "superseded": counts.superseded,
        "unsent": counts.unsent,
        "batches": run.batches,
        "slices": run.slices_total,
        "chunks": run.chunks_total,
        "reopenings": run.reopenings,
        "missed": run.missed,
    }
    said = {key: value for key, value in attributes.items() if value is not None}
    _tell(
        Ended(
            trace_id=run.id.int,
            span_id=root_id(run.id) if is_root else _new_id(),
            parent_id=None if is_root else root_id(run.id),
            name=name,
            began_ns=began_ns,
            ended_ns=max(began_ns, ended_ns),
            attributes=_named(run.id, said),
            is_error=run.state is RunState.FAILED,
        )
    )


def _tell(ended: Ended) -> None:
    to = export()
    if to is not None:
        to.take(ended)


def _named(run_id: RunId, attributes: dict[str, Value]) -> dict[str, Value]:
    return {f"{_PREFIX}{name}": value for name, value in ({"run_id": str(run_id)} | attributes).items()}


def _new_id() -> int:
    return secrets.randbits(_ID_BITS) or 1
