"""Rows by the beginning of their id, which is all that people type."""

from typing import Any
from uuid import UUID

import sqlalchemy as sa

from shared.errors import NotFound


def find(connection: sa.Connection, id_column: sa.Column[Any], beginning: str, *, noun: str) -> UUID:
    """Give the one id that begins so, or raise ``NotFound``; ``warehouse-sync <noun>s`` lists what there is."""
    if not beginning:  # Often a shell's variable that is not set, and any id begins so.
        raise NotFound(f"no {noun} is named: the id is empty; `warehouse-sync {noun}s` lists them")
    begins = sa.cast(id_column, sa.Text).startswith(beginning.lower(), autoescape=True)
    found = connection.scalars(sa.select(id_column).where(begins).limit(2)).all()
    if len(found) != 1:
        raise NotFound(
            f"{f'several {noun}s begin' if found else f'no {noun} begins'} with {beginning!r}; "
            f"`warehouse-sync {noun}s` lists them"
        )
    one: UUID = found[0]
    return one
