"""Rows as CSV, Parquet or JSON Lines."""

from collections.abc import Callable, Iterable
from typing import Any, BinaryIO, Final, Protocol

import orjson
import pyarrow as pa
from pyarrow import csv, parquet

from console.formulas import heading, shown_as_text
from console.json_values import json_values, texts
from console.saved import Format
from shared.errors import DeclarationInvalid


class _Writer(Protocol):
    def write(self, table: pa.Table) -> None:
        """Add rows."""

    def close(self) -> None:
        """Write what is left."""


def write(tables: Iterable[pa.Table], file: BinaryIO, kind: Format) -> int:
    """Write tables, at least one, into an open file, and give how many rows there were; memory holds one table.

    Raises:
        DeclarationInvalid: later rows have columns that the first have not and the format cannot hold.
    """
    return _write(tables, _WRITERS[kind], file)


def _write(tables: Iterable[pa.Table], make: Callable[[BinaryIO, pa.Schema], _Writer], file: BinaryIO) -> int:
    writer: _Writer | None = None
    rows = 0
    try:
        for table in tables:
            if writer is None:
                writer = make(file, table.schema)
            writer.write(table)
            rows += table.num_rows
    finally:
        if writer is not None:  # Before the file is closed: pyarrow's writers would still write to it.
            writer.close()
    return rows


class _JsonLines:
    """An object a line; each knows its own columns."""

    def __init__(self, file: BinaryIO, _: pa.Schema) -> None:
        self._file = file

    def write(self, table: pa.Table) -> None:
        names = table.column_names
        for row in zip(*(json_values(column) for column in table.columns), strict=True):
            self._file.write(orjson.dumps(dict(zip(names, row, strict=True)), option=orjson.OPT_APPEND_NEWLINE))

    def close(self) -> None:
        pass


class _Csv:
    """A header and a line a row; NULL is nothing, an empty text ``""``; what is nested is its JSON.

    What a spreadsheet would take for a formula is written so that it shows it: see :mod:`console.formulas`.
    """

    def __init__(self, file: BinaryIO, schema: pa.Schema) -> None:
        self._schema = schema
        plain = [field if _is_plain(field.type) else _as_text(field) for field in schema]
        self._plain = pa.schema([field.with_name(heading(field.name)) for field in plain])
        self._writer = csv.CSVWriter(file, self._plain)

    def write(self, table: pa.Table) -> None:
        rows = _in_columns(table, self._schema)
        columns = [
            column if _is_plain(field.type) else pa.chunked_array([pa.array(texts(column), pa.string())])
            for field, column in zip(rows.schema, rows.columns, strict=True)
        ]
        shown = [shown_as_text(column) if pa.types.is_string(column.type) else column for column in columns]
        self._writer.write_table(pa.Table.from_arrays(shown, schema=self._plain))

    def close(self) -> None:
        self._writer.close()


class _Parquet:
    """Arrow's own types; what Parquet has no type for is its JSON, as text."""

    def __init__(self, file: BinaryIO, schema: pa.Schema) -> None:
        self._schema = schema
        self._storable = pa.schema([field if _is_storable(field) else _as_text(field) for field in schema])
        self._writer = parquet.ParquetWriter(file, self._storable)

    def write(self, table: pa.Table) -> None:
        rows = _in_columns(table, self._schema)
        columns = [
            column if kept.type == column.type else pa.chunked_array([pa.array(texts(column), pa.string())])
            for kept, column in zip(self._storable, rows.columns, strict=True)
        ]
        self._writer.write_table(pa.Table.from_arrays(columns, schema=self._storable))

    def close(self) -> None:
        self._writer.close()


_WRITERS: Final[dict[Format, Callable[[BinaryIO, pa.Schema], _Writer]]] = {
    Format.CSV: _Csv,
    Format.PARQUET: _Parquet,
    Format.JSONL: _JsonLines,
}


def _in_columns(table: pa.Table, schema: pa.Schema) -> pa.Table:
    """Give rows in the columns of the first ones; those that they lack are NULL."""
    if table.schema.equals(schema):
        return table
    differ = DeclarationInvalid(
        "rows of this run differ in their columns, which only JSON Lines can hold: ask for the format jsonl, or "
        "end the file's name with .jsonl"
    )
    if not set(table.column_names) <= set(schema.names):
        raise differ
    try:
        columns = [
            table[field.name].cast(field.type) if field.name in table.column_names else _nothing(table, field)
            for field in schema
        ]
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        raise differ from None
    return pa.Table.from_arrays(columns, schema=schema)


def _nothing(table: pa.Table, field: Any) -> Any:
    return pa.chunked_array([pa.nulls(table.num_rows, field.type)])


def _as_text(field: Any) -> Any:
    return pa.field(field.name, pa.string())


def _is_plain(arrow_type: Any) -> bool:
    """Whether pyarrow's own CSV is exact and unmistakable."""
    types = pa.types
    return bool(
        types.is_integer(arrow_type)
        or types.is_floating(arrow_type)
        or types.is_boolean(arrow_type)
        or types.is_string(arrow_type)
        or types.is_null(arrow_type)
    )


def _is_storable(field: Any) -> bool:
    """Whether Parquet has a type for a column: what pyarrow thinks of it, tried."""
    try:
        with parquet.ParquetWriter(pa.BufferOutputStream(), pa.schema([field])) as writer:
            writer.write_table(pa.table([pa.array([None], field.type)], schema=pa.schema([field])))
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        return False
    return True
