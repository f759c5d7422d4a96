"""Whom a row is about, and which row it is, as hashes of 128 bits: equal values, equal keys (pure).

A user's key is made of the columns that the pipeline declares to hold one row per user. Where it declares none, it is
made of the first identity of the row that has a value: the customer id, the email address, the other user identities
by name, the mpid, the device identities by name. The identity's kind is part of the key, so equal texts of different
kinds differ. Two rows of one user that do not share that identity have different keys.
"""

from collections.abc import Iterator, Sequence
from typing import Any, Final, NewType
from uuid import UUID

import orjson
import pyarrow as pa
import xxhash
from pyarrow import types

from shared.errors import ColumnMissing, MappingRefused
from shared.mapping.destinations import MPID, USER_IDENTITIES
from shared.mapping.paths import dotted
from shared.mapping.plan import Leaf, MappingPlan, Path
from worker.mparticle.columns import Column, plain
from worker.mparticle.read import read

UserKey = NewType("UserKey", UUID)
RowKey = NewType("RowKey", UUID)

_PREFERRED: Final = ((USER_IDENTITIES, "customer_id"), (USER_IDENTITIES, "email"))


def user_keys(plan: MappingPlan, rows: Any, *, one_row_per: Sequence[str] = ()) -> list[UserKey | None]:
    """Give the key of each row's user, ``None`` where nothing says who that is.

    Args:
        plan: Says which columns are identities.
        rows: ``pa.Table`` of the plan's query.
        one_row_per: The columns of which each user has values of his own; identities are then not looked at.

    Raises:
        ColumnMissing: a column is not in the rows, or is there twice.
        MappingRefused: a column of ``one_row_per`` holds lists or structures.
    """
    keys: list[UserKey | None] = [None] * rows.num_rows
    if one_row_per:
        columns = [[text for _, text in _column_texts(rows, name)] for name in one_row_per]
        for row, values in enumerate(zip(*columns, strict=True)):
            if any(value is not None for value in values):
                keys[row] = UserKey(_hash(orjson.dumps([one_row_per, values])))
        return keys
    for leaf in identities(plan):
        kind = dotted(leaf.path)
        pieces = (read(leaf, piece) for piece in _column(rows, leaf.column).chunks)
        texts = (text for piece in pieces for text in _texts(piece, leaf.column))
        for row, text in enumerate(texts):
            if text is not None and keys[row] is None:
                keys[row] = UserKey(_hash(f"{kind}\0{text}".encode()))
    return keys


def row_keys(rows: Any, column: str) -> list[RowKey | None]:
    """Give the key of each row by one column, its name and type included; ``None`` where the column is NULL.

    Raises:
        ColumnMissing: the column is not in the rows, or is there twice.
        MappingRefused: it holds lists or structures.
    """
    return [
        None if text is None else RowKey(_hash(f"{column}\0{kind}\0{text}".encode()))
        for kind, text in _column_texts(rows, column)
    ]


def identities(plan: MappingPlan) -> list[Leaf]:
    """Give the plan's identities in the order in which they are asked who a row's user is."""
    return sorted(
        (leaf for leaf in plan.leaves if leaf.is_identity), key=lambda leaf: (_rank(leaf.path), dotted(leaf.path))
    )


def _rank(path: Path) -> int:
    if path in _PREFERRED:
        return _PREFERRED.index(path)
    group = {USER_IDENTITIES: 0, MPID: 1}.get(str(path[0]), 2)
    return len(_PREFERRED) + group


def _column(rows: Any, name: str) -> Any:
    found = rows.schema.get_all_field_indices(name)
    if len(found) != 1:
        raise ColumnMissing(
            f"column {name!r}, which says whose or which row it is, is in the rows {len(found)} times, expected once; "
            f"their columns are {rows.schema.names}. Has the data model's query changed?"
        )
    return rows.column(found[0])


def _column_texts(rows: Any, name: str) -> Iterator[tuple[str, str | None]]:
    for piece in _column(rows, name).chunks:
        column = plain(piece)
        for text in _texts(column, name):
            yield str(column.values.type), text


def _texts(column: Column, name: str) -> list[str | None]:
    values = column.values.storage if isinstance(column.values, pa.ExtensionArray) else column.values
    if column.entries is not None or types.is_nested(values.type):
        raise MappingRefused(
            f"column {name!r} holds {values.type}, and what says whose or which row it is must be a single value; "
            "name another column, or cast it to text in the data model"
        )
    texts: list[str | None] = values.cast(pa.string()).to_pylist()
    if column.codes is not None:
        texts = [texts[code] for code in column.codes.tolist()]
    if column.present is None:
        return texts
    return [text if is_present else None for text, is_present in zip(texts, column.present.tolist(), strict=True)]


def _hash(content: bytes) -> UUID:
    return UUID(bytes=xxhash.xxh3_128_digest(content))
