"""Rejected rows with their values, codes and reasons, as the table that the spool keeps (pure).

A file holds rows of one chunk: their own columns, then these three. What may be secret in them is hidden where it is
shown, and nowhere else: who downloads or replays rows needs their values.
"""

from collections.abc import Collection, Iterable
from difflib import get_close_matches
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc

from shared.errors import ColumnMissing

ROW: Final = "warehouse_sync_row"
CODE: Final = "warehouse_sync_code"
REASON: Final = "warehouse_sync_reason"
OURS: Final = (ROW, CODE, REASON)
"""The columns that the query did not return."""
MASK: Final = "(secret)"
"""What is shown in place of a secret value."""


def of_codes(table: pa.Table, codes: Collection[str]) -> pa.Table:
    """Give the rows that were refused for one of some codes."""
    return table.filter(pc.is_in(table[CODE], value_set=pa.array(sorted(codes), pa.string())))


def columns_of(schema: pa.Schema) -> pa.Schema:
    """Give the columns of the rows themselves, as the query returned them."""
    return pa.schema([field for field in schema if field.name not in OURS], schema.metadata)


def rows_again(table: pa.Table, schema: pa.Schema) -> pa.Table:
    """Give rejected rows as their query returned them, in the columns and types of ``schema``.

    Raises:
        ColumnMissing: the rows lack a column, or hold values that its type cannot.
    """
    absent = [name for name in schema.names if name not in table.column_names]
    if absent:
        raise ColumnMissing(f"rejected rows have no column {', '.join(absent)}; they have {', '.join(_names(table))}")
    rows = table.select(schema.names)
    if rows.schema.equals(schema):
        return rows
    try:
        return rows.cast(schema)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        # Arrow's own words may quote a value.
        raise ColumnMissing("rejected rows of one run have columns of different types, and no common one") from error


def find_secrets(names: Iterable[str], declared: Iterable[str]) -> frozenset[str]:
    """Give the columns among ``names`` that are declared to be secret, in whatever case.

    Raises:
        ColumnMissing: one that is declared is not among them; the message names the nearest.
    """
    spelled = list(names)
    found = secrets_among(spelled, declared)
    folded = {name.casefold() for name in found}
    for column in declared:
        if column.casefold() not in folded:
            raise ColumnMissing(
                f"secret_columns: column {column!r} is not in the data model's result{nearest(column, spelled)}"
            )
    return found


def secrets_among(names: Iterable[str], declared: Iterable[str]) -> frozenset[str]:
    """Give the columns among ``names`` that are declared to be secret; any that could be meant is."""
    folded = {column.casefold() for column in declared}
    return frozenset(name for name in names if name.casefold() in folded)


def masked(table: pa.Table, secrets: Collection[str]) -> pa.Table:
    """Give a table in which no value of a secret column can be read; where there is none, that is still seen."""
    for number, field in enumerate(table.schema):
        if field.name in secrets:
            hidden = pc.if_else(pc.is_valid(table.column(number)), MASK, pa.scalar(None, pa.string()))
            table = table.set_column(number, pa.field(field.name, pa.string()), hidden)
    return table


def mask_at(value: Any, path: tuple[str, ...]) -> Any:
    """Give a JSON value without what is at a path, in each entry of the lists on the way; NULL stays visible."""
    if isinstance(value, list):
        return [mask_at(one, path) for one in value]
    if not path:
        return value if value is None else MASK
    if isinstance(value, dict) and path[0] in value:
        return {**value, path[0]: mask_at(value[path[0]], path[1:])}
    return value


def nearest(column: str, names: Collection[str]) -> str:
    """Say which of some columns may have been meant, and which there are."""
    folded = {name.casefold(): name for name in names}
    near = get_close_matches(column.casefold(), folded, n=1, cutoff=0.5)
    meant = f"; did you mean {folded[near[0]]!r}?" if near else ";"
    return f"{meant} Its columns are {', '.join(names)}" if near else f"{meant} its columns are {', '.join(names)}"


def _names(table: pa.Table) -> list[str]:
    return list(columns_of(table.schema).names)
