"""DuckDB's errors, translated: the only place that reads their text.

Before rows are streamed an error is one of DuckDB's exceptions, afterwards an ``OSError`` of pyarrow's with the same
text: a kind, a colon, and words or (``errors_as_json``) an object with the words and the byte position in the query.
Words about the query are kept. Words about values are dropped, since they quote them.
"""

import json
import re
from dataclasses import dataclass
from typing import Final

from shared.errors import ModelInvalid, SyncError, WarehouseBusy, WarehouseUnreachable
from shared.sql import Query
from worker.warehouses.base import Label
from worker.warehouses.duckdb.files import RootedSql

_ERROR: Final = re.compile(r"(?P<kind>[A-Za-z ]+?) Error: (?P<rest>.*)", re.DOTALL)
_ABOUT_THE_QUERY: Final = frozenset({"Parser", "Syntax", "Binder", "Catalog", "Not implemented"})
"""Kinds that arise before a row is read: their words name columns, tables, functions and files."""
_MISSING_PARAMETERS: Final = re.compile(r"Values were not provided for the following parameters: [\w, ]+")
_EXCERPT: Final = re.compile(r"\s*\n\nLINE \d+:.*", re.DOTALL)


@dataclass(frozen=True, slots=True)
class _Told:
    kind: str
    words: str
    position: int | None


def could_not_open(error: Exception, connection_id: str) -> SyncError:
    """Translate an error of opening a database."""
    told = _read(error)
    if "Could not set lock" in told.words or told.kind == "Connection":
        return WarehouseBusy(
            f"connection {connection_id!r}: another process has the database open for writing ({told.words}); "
            "DuckDB lets either one writer or many readers in. It is tried again; close the writer, or read a copy"
        )
    return WarehouseUnreachable(
        f"connection {connection_id!r}: DuckDB cannot open the database: {told.words}; correct `database`"
    )


def query_failed(
    error: Exception, *, label: Label, query: Query, rooted: RootedSql, memory_limit_mib: int
) -> SyncError:
    """Translate an error of a query that was not interrupted by us."""
    told = _read(error)
    place = _place(told.position, query, rooted)
    if told.kind == "Permission":
        return ModelInvalid(
            f"{label}: the data model's SQL may only read its connection's database and folder: {told.words}"
        )
    if told.kind in _ABOUT_THE_QUERY or _MISSING_PARAMETERS.fullmatch(told.words):
        return ModelInvalid(f"{label}: DuckDB refuses the data model's SQL{place}: {told.kind} Error: {told.words}")
    match told.kind:
        case "Out of Memory":
            return ModelInvalid(
                f"{label}: the query needs more memory than the {memory_limit_mib} MiB that its connection gives it, "
                "even with spilling; raise memory_limit_mib, or select less"
            )
        case "IO" if "No space left" in told.words:
            return WarehouseBusy(f"{label}: the query spilled until the disk was full; free space under TMPDIR")
        case "IO":
            return WarehouseUnreachable(f"{label}: DuckDB cannot read a file: {told.words}")
        case "INTERRUPT" | "TransactionContext":
            return WarehouseBusy(f"{label}: DuckDB broke off the query ({told.kind})")
        case _:
            return ModelInvalid(
                f"{label}: the data model's SQL fails{place}: {told.kind} Error. DuckDB's words are not shown, as they "
                "may quote a row; make the SQL bear such rows (e.g. TRY_CAST), or run it in DuckDB to read them"
            )


def _read(error: Exception) -> _Told:
    found = _ERROR.match(str(error))
    if found is None:
        return _Told(type(error).__name__, "", None)
    kind, rest = found["kind"], found["rest"]
    try:
        told = json.loads(rest)
        words, position = str(told["exception_message"]), told.get("position")
    except (ValueError, KeyError, TypeError):
        words, position = rest, None
    return _Told(kind, _as_written(_EXCERPT.sub("", words)), None if position is None else int(position))


def _as_written(words: str) -> str:
    """Show paths as the model has them: without the root that was put before them."""
    return re.sub(r"(?<=[\"'])~/", "", " ".join(words.split()))


def _place(position: int | None, query: Query, rooted: RootedSql) -> str:
    if position is None:
        return ""
    before = query.text.encode()[: rooted.original_position(position)].decode(errors="ignore")
    lines = before.count("\n")
    if query.lines_before and lines == query.text.count("\n"):
        return " at its end"  # What is told stands behind the model, in text of ours.
    column = len(before) - before.rfind("\n")
    return f" at line {lines + 1 - query.lines_before}, column {column}"
