"""The names of events and screens in some rows, as a workspace counts them (pure)."""

from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import pyarrow as pa
from pyarrow import types

from shared.limits import EventName
from worker.mparticle.buffers import Index, Mask
from worker.mparticle.columns import Column
from worker.mparticle.limits import EVENT_NAMES
from worker.mparticle.needs import Fields

BeyondLimit = Callable[[Collection[EventName]], Collection[EventName]]
"""Says which names are beyond a workspace's limit, always the same of one name."""


@dataclass(frozen=True, slots=True)
class NamesUsed:
    """Which rows have which names; each of ``parts`` is a kind, its names, each row's name by number, and the rows."""

    parts: tuple[tuple[str, tuple[str, ...], Index, Mask], ...]

    @classmethod
    def of(cls, fields: Fields, good: Mask) -> Self:
        """Look at the good rows."""
        parts: list[tuple[str, tuple[str, ...], Index, Mask]] = []
        for path, kind in EVENT_NAMES:
            for constant in fields.constants:
                if constant.path == path:
                    of_types = fields.of_types(constant.event_types)
                    rows = good if of_types is None else good & of_types
                    parts.append((kind, (str(constant.value),), np.zeros(fields.rows, dtype=np.int32), rows))
            for leaf, column in zip(fields.leaves, fields.columns, strict=True):
                if leaf.path == path:
                    numbers, names = _numbered(column)
                    parts.append((kind, names, numbers, good if column.present is None else good & column.present))
        return cls(tuple(parts))

    @property
    def names(self) -> set[EventName]:
        """Every name that a row has."""
        return {
            EventName(kind, names[number])
            for kind, names, numbers, rows in self.parts
            for number in np.unique(numbers[rows]).tolist()
        }

    def rows_of(self, chosen: Collection[EventName]) -> Mask | None:
        """Give the rows that have one of these names; None where none does."""
        found: Mask | None = None
        for kind, names, numbers, rows in self.parts:
            wanted = np.array([EventName(kind, name) in chosen for name in names], dtype=np.bool_)
            if wanted.any():
                having = wanted[numbers] & rows
                found = having if found is None else found | having
        return found


def _numbered(column: Column) -> tuple[Index, tuple[str, ...]]:
    values: Any = column.values
    if types.is_null(values.type) or not len(values):
        return np.zeros(len(column), dtype=np.int32), ("",)
    encoded = (values if types.is_string(values.type) else values.cast(pa.string())).dictionary_encode("encode")
    numbers = encoded.indices.to_numpy().astype(np.int32)
    names = tuple("" if name is None else name for name in encoded.dictionary.to_pylist())
    return numbers if column.codes is None else numbers[column.codes], names
