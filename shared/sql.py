"""What is asked of a warehouse around a data model's SQL: which of its rows, and what about them (pure).

A model becomes a sub-select, so its text runs as its author wrote it and its columns keep their names. It stands on
lines of its own: a comment at its end cannot swallow what follows, and the place of an error can be told in the
author's own lines. Windows are half-open and their bounds are parameters, never text.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, datetime
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc
from sqlglot import exp

from shared.catalog import IteratorType
from shared.iterator import bound_value, instant_of
from shared.run import Window
from shared.statement import without_end

_PARAMETER: Final[Mapping[str, str]] = {
    "duckdb": "${name}",
    "snowflake": "?",
    "bigquery": "@{name}",
    "redshift": "${number}",
    "databricks": ":{name}",
}
"""How a bound parameter is written, by name or by its number from 1; a dialect that is not here is not connected."""
_ROW_RANK: Final = "row_rank"

Comparison = tuple[str, str, datetime | None]
"""A bound's name as a parameter, its operator, and the instant; no instant is no bound."""


@dataclass(frozen=True, slots=True)
class Iterator:
    """The column that orders changes.

    ``column`` is spelled as the query's result spells it. ``type`` is never the undecided ``timestamp``. ``zone`` is
    what dates and zone-less times are local to. ``warehouse_type`` is the warehouse's own word for the column's type.
    ``ties`` are columns that order rows of one value.
    """

    column: str
    type: IteratorType
    zone: str = "UTC"
    warehouse_type: str = ""
    ties: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Bound:
    """A window's end as a parameter, and the type of the column that it is compared with in the warehouse's own word.

    A bound of another type than its column's would have the warehouse convert every row before it compares.
    """

    value: datetime | date | int
    warehouse_type: str = ""


@dataclass(frozen=True, slots=True)
class Query:
    """What a warehouse is asked: text, and values for exactly the parameters that it names, in the text's order.

    ``lines_before`` is how many lines of the text are ours and precede the model's own.
    """

    text: str
    parameters: Mapping[str, Bound] = field(default_factory=dict)
    lines_before: int = 0


@dataclass(frozen=True, slots=True)
class Span:
    """What a window holds: how many rows, from when to when, and how many of them have no time.

    Instants are rounded down to microseconds; without a row that has a time there are none.
    """

    row_count: int
    first_at: datetime | None
    last_at: datetime | None
    null_count: int


def columns_query(model_sql: str, dialect: str) -> Query:
    """Give the query that returns a model's columns and no row."""
    return _around(model_sql, dialect, behind=" LIMIT 0")


def windowed(
    model_sql: str,
    *,
    dialect: str,
    iterator: Iterator | None,
    window: Window,
    one_row_per: Sequence[str] = (),
    columns: Sequence[str] = (),
    ranked_to: datetime | None = None,
) -> Query:
    """Give the query that returns a model's rows inside a window; all rows where it has no bound.

    With ``one_row_per``, of the rows that are equal in those columns only the newest by the iterator: a row without a
    time is older than all others. Of rows equally new, the first in the order of the iterator's ``ties`` is kept; of
    those equal in these too, and where there are none, the warehouse's choice, which may be another each time. A row
    in which all of those columns are NULL is nobody's: it is kept, for whoever rejects it.

    Args:
        model_sql: The data model's SQL.
        dialect: By whose rules the rest is written.
        iterator: Needed where the window has bounds, and by ``one_row_per``.
        window: Which rows.
        one_row_per: The columns that say whose row it is, as the result spells them.
        columns: With ``one_row_per``: all of the result's columns, as it spells them; exactly these are returned.
        ranked_to: With ``one_row_per``: a row of the window is also left out where a newer one lies between the
            window's end and this instant.

    Raises:
        ValueError: a bound is not a whole unit of the iterator, or something that is needed is not given.
    """
    parameters: dict[str, Bound] = {}
    if not one_row_per:
        condition = _inside(window, iterator, dialect, parameters)
        return _around(model_sql, dialect, behind=_where(condition), parameters=parameters)
    if iterator is None or not columns:
        raise ValueError("one row per user needs an iterator, which tells the newest, and the columns to return")
    rank = _quoted(_unlike(columns), dialect)
    is_kept = f"{rank} = 1"
    if ranked_to is None or window.high is None or ranked_to <= window.high:
        ranked = _inside(window, iterator, dialect, parameters)
    else:
        bounds: list[Comparison] = [("window_low", ">=", window.low), ("ranked_to", "<", ranked_to)]
        ranked = _compared(bounds, window, iterator, dialect, parameters)
        bounds = [("window_high", "<", window.high)]
        is_kept += f" AND ({_compared(bounds, window, iterator, dialect, parameters)})"
    returned = ", ".join(_quoted(column, dialect) for column in columns)
    return _around(
        model_sql,
        dialect,
        before=f"SELECT {returned} FROM (SELECT *, {_rank(one_row_per, iterator, dialect)} AS {rank}",  # noqa: S608 - as in _around
        behind=f"{_where(ranked)}) AS ranked{_where(is_kept)}",
        parameters=parameters,
    )


def ordered(query: Query, order_by: Sequence[str], dialect: str) -> Query:
    """Give a query that returns the same rows ordered by columns, as the result spells them; by none, as it is."""
    if not order_by:
        return query
    return replace(query, text=f"{query.text} ORDER BY {', '.join(_quoted(column, dialect) for column in order_by)}")


def preview_query(model_sql: str, *, dialect: str, iterator: Iterator | None, window: Window, rows: int) -> Query:
    """Give the query that returns some of a model's rows inside a window, at most ``rows``.

    Raises:
        ValueError: as ``windowed`` does.
    """
    parameters: dict[str, Bound] = {}
    condition = _where(_inside(window, iterator, dialect, parameters))
    return _around(model_sql, dialect, behind=f"{condition} LIMIT {rows:d}", parameters=parameters)


def count_query(model_sql: str, *, dialect: str, iterator: Iterator | None, window: Window) -> Query:
    """Give the query that returns one row with one column ``row_count``: the model's rows inside a window.

    Raises:
        ValueError: as ``windowed`` does.
    """
    parameters: dict[str, Bound] = {}
    condition = _where(_inside(window, iterator, dialect, parameters))
    return _around(model_sql, dialect, before="SELECT COUNT(*) AS row_count", behind=condition, parameters=parameters)


def span_query(model_sql: str, *, dialect: str, iterator: Iterator, window: Window) -> Query:
    """Give the query that returns one row about a model's rows inside a window, to be read by ``span_of``.

    Its columns are ``row_count``, ``first_at`` and ``last_at`` in the iterator's own type, and ``null_count``, the
    rows without a time, which are among the ``row_count`` where the window includes them or has no bound.

    Raises:
        ValueError: as ``windowed`` does.
    """
    parameters: dict[str, Bound] = {}
    condition = _where(_inside(window, iterator, dialect, parameters))
    at = _quoted(iterator.column, dialect)
    first, last = (_typed(f"{function}({at})", iterator) for function in ("MIN", "MAX"))
    before = (
        f"SELECT COUNT(*) AS row_count, {first} AS first_at, {last} AS last_at, COUNT(*) - COUNT({at}) AS null_count"
    )
    return _around(model_sql, dialect, before=before, behind=condition, parameters=parameters)


def span_of(answer: pa.Table, iterator: Iterator) -> Span:
    """Read what ``span_query`` returns: one row, its columns by position, because warehouses fold their names."""
    row_count, first, last, null_count = (_whole(column) for column in answer.columns)
    first_at, last_at = (
        None if value is None else instant_of(value, iterator.type, iterator.zone) for value in (first, last)
    )
    return Span(int(row_count), first_at, last_at, int(null_count))


def _around(
    model_sql: str,
    dialect: str,
    *,
    before: str = "SELECT *",
    behind: str = "",
    parameters: Mapping[str, Bound] | None = None,
) -> Query:
    """Put a model into a FROM; ``behind`` has all the parameters, and so does the text's last line."""
    text = f"{before} FROM (\n{without_end(model_sql, dialect)}\n) AS data_model{behind}"
    return Query(text, parameters or {}, lines_before=before.count("\n") + 1)


def _where(condition: str) -> str:
    return condition and f" WHERE {condition}"


def _inside(window: Window, iterator: Iterator | None, dialect: str, parameters: dict[str, Bound]) -> str:
    bounds: list[Comparison] = [("window_low", ">=", window.low), ("window_high", "<", window.high)]
    if iterator is None:
        if any(instant is not None for _, _, instant in bounds):
            raise ValueError("a window with bounds needs an iterator")
        return ""
    return _compared(bounds, window, iterator, dialect, parameters)


def _compared(
    bounds: Sequence[Comparison], window: Window, iterator: Iterator, dialect: str, parameters: dict[str, Bound]
) -> str:
    """Give the condition on the iterator, if there is one, and add its bounds to the parameters."""
    column = _quoted(iterator.column, dialect)
    conditions: list[str] = []
    for name, operator, instant in bounds:
        if instant is not None:
            parameters[name] = Bound(bound_value(instant, iterator.type, iterator.zone), iterator.warehouse_type)
            parameter = _PARAMETER[dialect].format(name=name, number=len(parameters))
            conditions.append(f"{column} {operator} {parameter}")
    condition = " AND ".join(conditions)
    return f"({condition}) OR {column} IS NULL" if condition and window.includes_null else condition


def _typed(aggregate: str, iterator: Iterator) -> str:
    # A number needs it: Redshift's ancestor forgets the precision of a NUMERIC here, without which none is read.
    is_number = iterator.type in {IteratorType.UNIXTIME_MS, IteratorType.UNIXTIME_S}
    return f"CAST({aggregate} AS {iterator.warehouse_type})" if is_number and iterator.warehouse_type else aggregate


def _rank(one_row_per: Sequence[str], iterator: Iterator, dialect: str) -> str:
    # The rank is a column of a sub-select, which every SQL has, and not QUALIFY, which is no part of the standard.
    whose = [_quoted(column, dialect) for column in one_row_per]
    at = exp.to_identifier(iterator.column, quoted=True)
    newest = exp.Ordered(this=at, desc=True, nulls_first=False).sql(dialect=dialect)
    order = ", ".join([newest, *(_quoted(column, dialect) for column in iterator.ties)])
    nobodys = " AND ".join(f"{column} IS NULL" for column in whose)
    number = f"ROW_NUMBER() OVER (PARTITION BY {', '.join(whose)} ORDER BY {order})"
    return f"CASE WHEN {nobodys} THEN 1 ELSE {number} END"


def _unlike(columns: Sequence[str]) -> str:
    """Give a name that none of the columns has, in whatever case."""
    taken = {column.casefold() for column in columns}
    numbered = (f"{_ROW_RANK}_{number}" for number in range(2, len(taken) + 2))
    return next(name for name in (_ROW_RANK, *numbered) if name not in taken)


def _quoted(column: str, dialect: str) -> str:
    # So that it means exactly the spelling that the result has, by every dialect's rule for case.
    return exp.to_identifier(column, quoted=True).sql(dialect=dialect)


def _whole(column: pa.ChunkedArray) -> Any:
    """Give the one value of a column; Python's times have no nanoseconds."""
    if pa.types.is_timestamp(column.type):
        column = pc.floor_temporal(column, unit="microsecond").cast(pa.timestamp("us", column.type.tz))
    (value,) = column.to_pylist()
    return value
