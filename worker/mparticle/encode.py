"""Rows to mParticle batches: read the columns, check the rows, write the text.

One row gives one batch without events. Columns are worked on whole; no good row becomes a Python object on the way.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from pyarrow import types

from shared.columns import warehouse_type
from shared.errors import ColumnMissing, MappingRefused
from shared.mapping.destinations import ValueType
from shared.mapping.meanings import why_not
from shared.mapping.plan import Leaf, MappingPlan
from shared.run import Reject
from worker.mparticle.assemble import Texts, place
from worker.mparticle.check import Checks, blame, find, too_large
from worker.mparticle.columns import Column
from worker.mparticle.outline import Outline, Shape, opening, outline
from worker.mparticle.read import read
from worker.mparticle.values import json_texts, number_texts, truth_texts

_BLOCK_ROWS: Final = 16_384
"""Above a usual chunk, which is then one block: calls cost half a millisecond a block, and joining blocks a copy."""
_OUTLINES_KEPT: Final = 64
_QUOTE: Final = b'"'
_NO_ROWS: Final[npt.NDArray[np.int64]] = np.empty(0, dtype=np.int64)


@dataclass(frozen=True, slots=True)
class EncodedRows:
    """The batches of a chunk's good rows, and the bad rows.

    Attributes:
        data: The batches' JSON texts in row order, each ending with a comma.
        offsets: Where each batch begins in ``data``, in bytes, and where the last one ends: one more than batches.
        rows: Each batch's row, as its position in the chunk, ascending.
        rejects: The rows that a check refused, ascending.
        superseded: Good rows that are left out because mParticle was sent newer ones of their users, ascending.
        unchanged: Good rows that are left out because mParticle has them, ascending.
    """

    data: memoryview
    offsets: npt.NDArray[np.int64]
    rows: npt.NDArray[np.int64]
    rejects: tuple[Reject, ...]
    superseded: npt.NDArray[np.int64] = field(default_factory=_NO_ROWS.copy)
    unchanged: npt.NDArray[np.int64] = field(default_factory=_NO_ROWS.copy)

    def without(
        self, *, superseded: npt.NDArray[np.int64] = _NO_ROWS, unchanged: npt.NDArray[np.int64] = _NO_ROWS
    ) -> "EncodedRows":
        """Leave out some batches, by their rows, ascending; none is in both."""
        left_out = np.isin(self.rows, np.concatenate([superseded, unchanged]))
        if not left_out.any():
            return self
        # Neighbours that stay are copied together.
        edges = np.flatnonzero(np.diff(np.concatenate([[True], left_out, [True]])))
        runs = zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True)
        data = b"".join(self.data[self.offsets[first] : self.offsets[end]] for first, end in runs)
        sizes = np.diff(self.offsets)[~left_out]
        return replace(
            self,
            data=memoryview(data),
            offsets=np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64),
            rows=self.rows[~left_out],
            superseded=superseded,
            unchanged=unchanged,
        )


class Encoder:
    """Turns rows of one query into batches, as a run's mapping plan and checks say.

    The same rows, plan and checks always give the same bytes. Not safe for use by several threads at once.
    """

    def __init__(self, plan: MappingPlan, *, checks: Checks) -> None:
        self._plan = plan
        self._checks = checks
        self._schema: Any = None
        self._outlines: dict[tuple[Shape, ...], Outline] = {}

    def encode(self, rows: Any, *, chunk_id: str, first_row: int = 0) -> EncodedRows:
        """Check and encode rows of a chunk.

        Args:
            rows: ``pa.Table`` or ``pa.RecordBatch``; columns that the plan does not name are ignored.
            chunk_id: The chunk's id; the batch of the row at position p has the id ``chunk_id:p``.
            first_row: The position in the chunk of the first of the rows.

        Raises:
            ColumnMissing: a column of the plan is not in the rows, or is there twice.
            MappingRefused: a column has changed to a type that has no meaning for its field.
        """
        self._expect(rows.schema)
        start = opening(chunk_id)
        return _together([self._block(block, start, first) for first, block in _blocks(rows, first_row)])

    def _expect(self, schema: Any) -> None:
        if self._schema is not None and schema.equals(self._schema):
            return
        for leaf in self._plan.leaves:
            found = schema.get_all_field_indices(leaf.column)
            if len(found) != 1:
                raise ColumnMissing(
                    f"column {leaf.column!r}, which goes to {'.'.join(leaf.path)}, is in the rows {len(found)} times, "
                    f"expected once; their columns are {schema.names}. Has the data model's query changed?"
                )
            column = schema.field(found[0])
            reason = why_not(leaf.value, column.type)
            if reason is not None:
                raise MappingRefused(f"column {leaf.column!r} has become {warehouse_type(column)}: {reason}")
        self._schema = schema

    def _block(self, block: Any, start: bytes, first_row: int) -> EncodedRows:
        columns = [read(leaf.value, block.column(leaf.column)) for leaf in self._plan.leaves]
        rejects = blame(find(self._plan, columns, self._checks), first_row=first_row)
        rows = np.arange(first_row, first_row + block.num_rows)
        texts = [_field_texts(leaf, column) for leaf, column in zip(self._plan.leaves, columns, strict=True)]
        drawn = self._outline(texts)
        placed = place(
            drawn.layout, [*texts, number_texts(rows)], drawn.masks(texts), rows=block.num_rows, opening=start
        )
        if rejects:
            rows = np.setdiff1d(rows, [reject.row for reject in rejects], assume_unique=True)
        offsets, content = placed.gather(rows - first_row if rejects else None)
        # A batch's own bytes: the comma behind it is not sent with the last of a body.
        fits = np.diff(offsets) - 1 <= self._checks.batch_max_bytes
        if not fits.all():
            rejects = (*rejects, *too_large(rows[~fits], self._checks))
            rows = rows[fits]
            offsets, content = placed.gather(rows - first_row)
        return EncodedRows(content.data, offsets, rows, tuple(sorted(rejects, key=lambda reject: reject.row)))

    def _outline(self, texts: Sequence[Texts]) -> Outline:
        shapes = tuple(
            Shape(text.opening, text.closing, text.present is None, text.truth is not None) for text in texts
        )
        known = self._outlines.get(shapes)
        if known is None:
            if len(self._outlines) >= _OUTLINES_KEPT:
                self._outlines.clear()
            known = self._outlines[shapes] = outline(self._plan, shapes)
        return known


def _blocks(rows: Any, first_row: int) -> Iterator[tuple[int, Any]]:
    for batch in [rows] if isinstance(rows, pa.RecordBatch) else _combined(rows).to_batches():
        for start in range(0, batch.num_rows, _BLOCK_ROWS):
            yield first_row + start, batch.slice(start, _BLOCK_ROWS)
        first_row += batch.num_rows


def _combined(rows: Any) -> Any:
    try:
        return rows.combine_chunks()
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        return rows  # Arrow 26 cannot join runs of extension types, nor different dictionaries that hold a NULL.


def _field_texts(leaf: Leaf, column: Column) -> Texts:
    if types.is_boolean(column.values.type):
        return truth_texts(column)
    texts = json_texts(column)
    if leaf.value in {ValueType.STRING, ValueType.UUID} and texts.opening != _QUOTE:
        return replace(texts, opening=_QUOTE, closing=_QUOTE)
    return texts


def _together(blocks: Sequence[EncodedRows]) -> EncodedRows:
    if len(blocks) == 1:
        return blocks[0]
    starts = np.cumsum([0, *(len(block.data) for block in blocks)])
    offsets = [block.offsets[:-1] + start for block, start in zip(blocks, starts, strict=False)]
    return EncodedRows(
        memoryview(b"".join(block.data for block in blocks)),
        np.concatenate([*offsets, starts[-1:]]),
        np.concatenate([np.empty(0, dtype=np.int64), *(block.rows for block in blocks)]),
        tuple(reject for block in blocks for reject in block.rejects),
    )
