"""Rows by what people type: a number, or the beginning of an id."""

import re
from typing import Any, Final
from uuid import UUID

import sqlalchemy as sa

from shared.errors import NotFound

_SURELY_A_NUMBER: Final = re.compile(r"[1-9][0-9]{0,6}")
_MAYBE_A_NUMBER: Final = re.compile(r"[1-9][0-9]{7,17}")


def find(
    connection: sa.Connection,
    id_column: sa.Column[Any],
    named: str,
    *,
    noun: str,
    number_column: sa.Column[Any] | None = None,
) -> UUID:
    """Give the one id that begins so, or raise ``NotFound``; ``warehouse-sync <noun>s`` lists what there is.

    Where rows have numbers, up to seven digits are always a number and never the beginning of an id: what ``17`` names
    must not depend on whether a 17th has been there yet, nor on what ids begin with. The first part of an id has eight
    characters; as many digits, or more, are what there is, and neither where both are there. No number begins with 0.

    Raises:
        NotFound: nothing is named so, or several are.
    """
    if not named:  # Often a shell's variable that is not set, and any id begins so.
        raise NotFound(f"no {noun} is named: the id is empty; `warehouse-sync {noun}s` lists them")
    ids = sa.select(id_column)
    if number_column is not None and _SURELY_A_NUMBER.fullmatch(named):
        found = connection.scalars(ids.where(number_column == int(named))).all()
        if not found:
            raise NotFound(
                f"there is no {noun} number {named}; `warehouse-sync {noun}s` lists them. Of an id, type at least "
                "eight characters"
            )
    else:
        which = sa.cast(id_column, sa.Text).startswith(named.lower(), autoescape=True)
        if number_column is not None and _MAYBE_A_NUMBER.fullmatch(named):
            which = sa.or_(which, number_column == int(named))
        found = connection.scalars(ids.where(which).limit(2)).all()
    if len(found) != 1:
        raise NotFound(
            f"{f'several {noun}s begin' if found else f'no {noun} begins'} with {named!r}; "
            f"`warehouse-sync {noun}s` lists them"
        )
    one: UUID = found[0]
    return one
