"""Queries of the Snowflake stand-in: run by fakesnow in threads of their own, cancelled, and failing like Snowflake's.

fakesnow translates the SQL and DuckDB runs it; what goes wrong is put into the words and codes of Snowflake, as far as
a driver reads them.
"""

import re
import threading
import time
import uuid
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any, Final

import duckdb
import pyarrow as pa
from fakesnow.instance import FakeSnow
from snowflake.connector.errors import Error

from tests.standins import snowflake_wire as wire

DATABASE: Final = "ANALYTICS"
SCHEMA: Final = "PUBLIC"
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_INTERRUPT_EVERY_S: Final = 0.05
_MEMORY: Final = "1GB"


@dataclass(frozen=True, slots=True)
class Failure:
    """An error as an answer tells it."""

    code: str
    sql_state: str
    message: str


CANCELLED: Final = Failure("000604", "57014", "SQL execution canceled")


@dataclass(eq=False, slots=True)
class Query:
    """One query of a session, from its submission on."""

    sql: str
    bindings: Mapping[str, Mapping[str, str]]
    parameters: Mapping[str, Any]
    request_id: str
    id: str = field(default_factory=lambda: str(uuid.uuid4()))
    status: str = "RUNNING"
    failure: Failure | None = None
    columns: list[dict[str, Any]] = field(default_factory=list)
    parts: list[wire.Part] = field(default_factory=list)
    rows: int = 0
    done: threading.Event = field(default_factory=threading.Event)
    aborted: threading.Event = field(default_factory=threading.Event)

    def told(self) -> dict[str, Any]:
        """Give what tests may know of it."""
        return {
            "id": self.id,
            "sql": self.sql,
            "bindings": self.bindings,
            "parameters": self.parameters,
            "status": self.status,
        }


class Engine:
    """The database behind the stand-in."""

    def __init__(self) -> None:
        # Its way of reading Arrow from DuckDB is one that DuckDB advises against.
        warnings.filterwarnings("ignore", category=UserWarning, module="fakesnow")
        self._fakesnow = FakeSnow()
        self._fakesnow.duck_conn.execute(f"SET GLOBAL memory_limit = '{_MEMORY}'")
        self._fakesnow.duck_conn.execute("SET GLOBAL threads = 2")
        self._fakesnow.connect(DATABASE, SCHEMA)

    def load(self, name: str, table: pa.Table) -> None:
        """Make a table, replacing one of that name."""
        with self._fakesnow.duck_conn.cursor() as cursor:
            cursor.register("loaded", table)
            lists = [field.name for field in table.schema if pa.types.is_list(field.type)]
            changed = ", ".join(f'to_json("{column}") AS "{column}"' for column in lists)
            selected = f"SELECT * REPLACE ({changed})" if lists else "SELECT *"
            cursor.execute(f'CREATE OR REPLACE TABLE {DATABASE}.{SCHEMA}."{name}" AS {selected} FROM loaded')

    def describe(self, query: Query, zoned_type: str) -> None:
        """Fill in the columns of a query's result, or its failure; nothing runs."""
        cursor = self._connected().cursor()
        try:
            query.columns = wire.describe(cursor._describe_only(query.sql) or (), zoned_type)
        except Exception as error:  # noqa: BLE001 - whatever the engine cannot do is a failure of the query
            query.failure = _failure(error, query.sql)

    def run(self, query: Query, *, timeout_s: float, zoned_type: str, part_rows: int) -> None:
        """Run a query to its end, whatever that is."""
        connection = self._connected()
        threading.Thread(target=_end_in_time, args=(query, connection._duck_conn.interrupt, timeout_s)).start()
        try:
            cursor = connection.cursor()
            cursor.execute(query.sql, binding_params=_values(query.bindings), server=True)
            query.columns = wire.describe(cursor._describe_last_sql(), zoned_type)
            indent = int(query.parameters.get("JSON_INDENT", 2))
            query.parts = wire.parts(cursor._arrow_table, query.columns, rows=part_rows, indent=indent)
            query.rows = sum(part.rows for part in query.parts)
            query.status = "SUCCESS"
        except Exception as error:  # noqa: BLE001 - whatever the engine cannot do is a failure of the query
            query.failure = query.failure or _failure(error, query.sql)
            query.status = "ABORTED" if query.aborted.is_set() else "FAILED_WITH_ERROR"
        finally:
            query.done.set()
            connection.close()

    def _connected(self) -> Any:
        connection = self._fakesnow.connect(DATABASE, SCHEMA)
        # It takes every $name for a session variable, although it may be a name in quotes.
        connection.variables.inline_variables = lambda sql: sql
        return connection


def _end_in_time(query: Query, interrupt: Callable[[], None], timeout_s: float) -> None:
    deadline = time.monotonic() + timeout_s
    while not query.done.is_set():
        if query.aborted.wait(_INTERRUPT_EVERY_S):
            query.failure = query.failure or CANCELLED
            interrupt()
            query.done.wait(_INTERRUPT_EVERY_S)
        elif time.monotonic() > deadline:
            query.failure = Failure(
                "000630",
                "57014",
                f"Statement reached its statement or warehouse timeout of {timeout_s:g} second(s) and was canceled.",
            )
            query.aborted.set()


def _values(bindings: Mapping[str, Mapping[str, str]]) -> Sequence[Any] | None:
    ordered = [bindings[str(place)] for place in range(1, len(bindings) + 1)]
    return [_value(bound["type"], bound["value"]) for bound in ordered] or None


def _value(kind: str, text: str) -> datetime | date | int | Decimal | str:
    match kind:
        case "FIXED":
            return int(text)
        case "DATE":
            return (_EPOCH + timedelta(milliseconds=int(text))).date()
        case "TIMESTAMP_NTZ":
            return _instant(text).replace(tzinfo=None)
        case "TIMESTAMP_LTZ":
            return _instant(text)
        case "TIMESTAMP_TZ":
            count, offset = text.split(" ")
            if not 0 <= int(offset) <= 2880:
                raise ValueError(f"no offset: {offset}")
            return _instant(count)
        case _:
            raise NotImplementedError(f"a parameter of type {kind}")


def _instant(nanoseconds: str) -> datetime:
    return _EPOCH + timedelta(microseconds=int(nanoseconds) // 1000)


def _failure(error: Exception, sql: str) -> Failure:
    told = (error.msg or "") if isinstance(error, Error) else str(error)
    compiling = "SQL compilation error:"
    if (syntax := re.search(r"Line (\d+), Col: (\d+)", told)) is not None:
        line, position = int(syntax[1]), int(syntax[2]) - 1
        return Failure("001003", "42000", f"{compiling}\nsyntax error line {line} at position {position} unexpected.")
    if (column := re.search(r'(?:column|Column) "(\w+)" (?:not found|that is not|is not)', told)) is not None:
        line, position = _place(column[1], sql)
        at = f"{compiling[:-1]}: error line {line} at position {position}"
        return Failure("000904", "42000", f"{at}\ninvalid identifier '{column[1].upper()}'")
    if (table := re.search(r"Table with name (\S+) does not exist", told)) is not None:
        message = f"{compiling}\nObject '{table[1].upper()}' does not exist or not authorized."
        return Failure("002003", "42S02", message)
    if (function := re.search(r"Function with name (\S+) does not exist", told)) is not None:
        return Failure("002140", "42601", f"{compiling}\nUnknown function {function[1].upper()}")
    if (value := re.search(r"Could not convert string '(.*)' to", told)) is not None:
        return Failure("100038", "22018", f"Numeric value '{value[1]}' is not recognized")
    if (value := re.search(r"Could not cast value (\S+) to", told)) is not None:
        return Failure("100039", "22003", f"Numeric value '{value[1]}' is out of representable range")
    if isinstance(error, duckdb.InterruptException) or "INTERRUPT" in told:
        return CANCELLED
    return Failure("002043", "02000", f"{compiling}\n{told}")


def _place(word: str, sql: str) -> tuple[int, int]:
    found = re.search(rf"\b{re.escape(word)}\b", sql, re.IGNORECASE)
    before = sql[: found.start()] if found else ""
    return before.count("\n") + 1, len(before) - before.rfind("\n") - 1
