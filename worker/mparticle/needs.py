"""Fields that must be there where an object is sent, and which event a row is.

The official schema requires some fields of each event type, and of some objects wherever they stand. A constant is
always there; a column is where it has a value.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import types

from shared.ledger import RejectCode
from shared.mapping.paths import dotted
from shared.mapping.plan import EVENT, EVENT_DATA, EVENT_TYPE, Constant, Leaf, Need, Needed, Path
from worker.mparticle.buffers import Mask, both, truth, without_nulls
from worker.mparticle.columns import Column
from worker.mparticle.finding import Finding

_ALWAYS_SENT: Final = frozenset({EVENT, EVENT_DATA})


@dataclass(frozen=True, slots=True)
class Fields:
    """What rows, or entries of lists, have: columns that are those of the leaves, and constants."""

    leaves: Sequence[Leaf]
    constants: Sequence[Constant]
    columns: Sequence[Column]
    rows: int
    _of_types: dict[tuple[str, ...], Mask | None] = field(default_factory=dict, repr=False)

    def of_types(self, event_types: tuple[str, ...]) -> Mask | None:
        """Give the rows whose event is one of these types; ``None`` means all, as for no types."""
        if not event_types:
            return None
        if event_types not in self._of_types:
            self._of_types[event_types] = self._find_types(event_types)
        return self._of_types[event_types]

    def said(self, path: Path) -> Mask | None:
        """Give the rows that have a field at a path or below it; ``None`` means all."""
        size = len(path)
        mask = np.zeros(self.rows, dtype=np.bool_)
        for constant in self.constants:
            if constant.path[:size] == path:
                of_types = self.of_types(constant.event_types)
                if of_types is None:
                    return None
                mask |= of_types
        for leaf, column in zip(self.leaves, self.columns, strict=True):
            if leaf.path[:size] == path:
                if column.present is None:
                    return None
                mask |= column.present
        return mask

    def _find_types(self, event_types: tuple[str, ...]) -> Mask | None:
        for constant in self.constants:
            if constant.path == EVENT_TYPE:
                return None if constant.value in event_types else np.zeros(self.rows, dtype=np.bool_)
        for leaf, column in zip(self.leaves, self.columns, strict=True):
            if leaf.path == EVENT_TYPE:
                return _is_one_of(column, event_types)
        return np.zeros(self.rows, dtype=np.bool_)


def unmet(fields: Fields, needs: Sequence[Need]) -> Iterator[Finding]:
    """Find the rows that lack a field which they need."""
    for need in needs:
        of_types = fields.of_types(need.event_types)
        sent = None if not need.path or need.path in _ALWAYS_SENT else fields.said(need.path)
        where = both(of_types, sent)
        if where is not None and not where.any():
            continue
        said = {name: fields.said((*need.path, name)) for name in need.fields}
        if need.needed is Needed.ANY:
            if all(mask is not None for mask in said.values()):
                none = ~np.logical_or.reduce([mask for mask in said.values() if mask is not None])
                yield _lacking(need, " or ".join(need.fields), none if where is None else none & where)
            continue
        for name, mask in said.items():
            if mask is not None:
                yield _lacking(need, name, ~mask if where is None else ~mask & where)


def _lacking(need: Need, name: str, rows: Mask) -> Finding:
    place = dotted((*need.path, name))
    who = f"events of type {' or '.join(need.event_types)}" if need.event_types else dotted(need.path)
    return Finding(RejectCode.MISSING_FIELD, f"{place} has no value, and {who or 'the object'} must have one", rows)


def _is_one_of(column: Column, words: tuple[str, ...]) -> Mask:
    values: Any = column.values
    if types.is_null(values.type):
        return np.zeros(len(column), dtype=np.bool_)
    wanted = pa.array([word.encode() for word in words], pa.binary())
    return column.rows(truth(pc.is_in(without_nulls(values), value_set=wanted)))
