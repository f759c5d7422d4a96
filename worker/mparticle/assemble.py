"""Rows of text put together from columns of text, by one gather.

A row of JSON is a sequence of pieces: literals such as ``,"email":"`` and values. All texts of a block of rows,
literals included, are laid into one pool. A matrix of positions in that pool, one line per row and one column per
piece, then says everything, and gathering the pool by the flattened matrix gives the finished text.

What depends on a row is arithmetic on positions. An absent value is position 0, the empty text. Literals that meet
between two values share one piece; where some of them depend on masks (a comma, a key, a closing quote), each
combination of the masks is a literal of its own, and the combination is added to the position.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from worker.mparticle.buffers import OFFSET_MAX, Bytes, Index, Mask, characters, lengths, offsets, positions, texts

_MASKS_PER_PIECE: Final = 5


@dataclass(frozen=True, slots=True)
class Texts:
    """A column of texts: row i has the text at ``index[i]`` of ``pool``, or at i.

    ``opening`` and ``closing`` belong around every text that is present; they are not in the pool. A column of booleans
    may have its rows in ``truth`` instead of the pool, since two literals need no gathering.
    """

    pool: Any
    index: Index | None
    present: Mask | None
    opening: bytes = b""
    closing: bytes = b""
    truth: Mask | None = None

    def take(self, rows: npt.NDArray[np.int64]) -> "Texts":
        """Give the texts of some rows."""
        return replace(
            self,
            index=rows.astype(np.int32) if self.index is None else self.index[rows],
            present=None if self.present is None else self.present[rows],
            truth=None if self.truth is None else self.truth[rows],
        )


@dataclass(frozen=True, slots=True)
class Say:
    """A literal, said in the rows that are in all masks numbered in ``when`` and in none of those in ``unless``."""

    text: bytes
    when: tuple[int, ...] = ()
    unless: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Put:
    """A value: the text of the column with this number, where it is present."""

    column: int


@dataclass(frozen=True, slots=True)
class _Literals:
    """One piece of literals: ``base`` is the position of its first variant in the layout's literals."""

    base: int
    masks: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Layout:
    """The pieces of a row, and the literals they use, as a pool; the literal at 0 is empty."""

    pieces: tuple[_Literals | Put, ...]
    literals: Any


@dataclass(frozen=True, slots=True)
class Placed:
    """Rows as positions in a pool of texts; nothing is copied yet."""

    pool: Any
    matrix: Index

    def gather(self, rows: npt.NDArray[np.int64] | None = None) -> tuple[npt.NDArray[np.int64], Bytes]:
        """Write the rows, or the chosen ones.

        Returns:
            The bounds of the rows, one more than rows, and the bytes that the bounds count in.
        """
        matrix = self.matrix if rows is None else self.matrix[rows]
        if not matrix.size:
            return np.zeros(len(matrix) + 1, dtype=np.int64), np.empty(0, dtype=np.uint8)
        gathered = pc.take(self.pool, pa.array(matrix.ravel()), boundscheck=False)
        width = np.int64 if pa.types.is_large_binary(gathered.type) else np.int32
        bounds = np.frombuffer(gathered.buffers()[1], dtype=width)[: matrix.size + 1]
        return bounds[:: matrix.shape[1]].astype(np.int64), characters(gathered)[: bounds[-1]]

    def as_array(self) -> Any:
        """Write all rows as a binary array, a large one where Arrow's usual offsets do not reach."""
        bounds, content = self.gather()
        return texts(bounds, content, is_large=bounds[-1] > OFFSET_MAX)


def lay_out(parts: Sequence[Say | Put]) -> Layout:
    """Turn the parts of a row into as few pieces as possible."""
    literals = [b""]
    pieces: list[_Literals | Put] = []
    for run in _runs(parts):
        if isinstance(run, Put):
            pieces.append(run)
            continue
        masks = tuple(dict.fromkeys(mask for say in run for mask in (*say.when, *say.unless)))
        pieces.append(_Literals(len(literals), masks))
        for state in range(2 ** len(masks)):
            said = {mask for bit, mask in enumerate(masks) if state >> bit & 1}
            literals.append(
                b"".join(say.text for say in run if said.issuperset(say.when) and said.isdisjoint(say.unless))
            )
    return Layout(tuple(pieces), pa.array(literals, pa.binary()))


def place(
    layout: Layout, columns: Sequence[Texts], masks: Sequence[Mask | None], *, rows: int, opening: bytes = b""
) -> Placed:
    """Say where in a pool every piece of every row is.

    Args:
        layout: The pieces.
        columns: Texts by the numbers that ``Put`` uses, each of ``rows`` rows.
        masks: Masks by the numbers that ``Say`` uses, each of ``rows`` rows; None where no ``Say`` uses one.
        rows: How many rows.
        opening: Text in front of the first literal of every row, which must be the row's first piece.
    """
    literals = [layout.literals]
    if opening:
        first = pa.array([b"", opening + layout.literals[1].as_py()], pa.binary())
        literals = [first, layout.literals.slice(2)]
    pools = [*literals, *(column.pool for column in columns)]
    bases = np.cumsum([len(layout.literals), *(len(column.pool) for column in columns)]).tolist()
    identity = positions(rows)
    matrix = np.empty((rows, len(layout.pieces)), dtype=np.int32)
    for number, piece in enumerate(layout.pieces):
        if isinstance(piece, Put):
            column = columns[piece.column]
            where = (identity if column.index is None else column.index) + bases[piece.column]
            matrix[:, number] = where if column.present is None else where * column.present
        elif not piece.masks:
            matrix[:, number] = piece.base
        else:
            state = _state([mask for mask in map(masks.__getitem__, piece.masks) if mask is not None])
            matrix[:, number] = state + np.int32(piece.base)
    if _most_bytes(layout, columns, rows) + rows * len(opening) > OFFSET_MAX:
        pools = [pool.cast(pa.large_binary()) for pool in pools]
    return Placed(pa.concat_arrays(pools), matrix)


def _runs(parts: Sequence[Say | Put]) -> Iterator[list[Say] | Put]:
    run: list[Say] = []
    masks: set[int] = set()
    for part in parts:
        if isinstance(part, Put):
            if run:
                yield run
            yield part
            run, masks = [], set()
        elif not run or len(masks.union(part.when, part.unless)) <= _MASKS_PER_PIECE:
            run.append(part)
            masks.update(part.when, part.unless)
        else:
            yield run
            run, masks = [part], {*part.when, *part.unless}
    if run:
        yield run


def _state(masks: Sequence[Mask]) -> npt.NDArray[np.uint8]:
    state = masks[0].view(np.uint8)
    for bit, mask in enumerate(masks[1:], start=1):
        state = state + (mask.view(np.uint8) << np.uint8(bit))
    return state


def _most_bytes(layout: Layout, columns: Sequence[Texts], rows: int) -> int:
    """Bound the gathered bytes from above; Arrow's usual offsets end at 2 GiB, which only absurd rows reach."""
    most = rows * len(layout.pieces) * int(lengths(layout.literals).max()) + int(layout.literals.nbytes)
    for column in columns:
        if column.index is None:
            bounds = offsets(column.pool)
            most += int(bounds[-1]) - int(bounds[0])
        elif len(column.pool):
            most += max(rows, len(column.pool)) * int(lengths(column.pool).max())
    return most
