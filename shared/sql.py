"""A data model's SQL: is it one SELECT, and what is asked of the warehouse around it (pure).

A model becomes a sub-select, so its text runs as its author wrote it and its columns keep their names. It stands on
lines of its own: a comment at its end cannot swallow what follows, and the place of an error can be told in the
author's own lines. Windows are half-open and their bounds are parameters, never text.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Final

import sqlglot
from sqlglot import Token, TokenType, exp
from sqlglot.errors import SqlglotError

from shared.catalog import IteratorType
from shared.errors import ModelInvalid
from shared.iterator import bound_value
from shared.run import Window

_PARAMETER: Final[Mapping[str, str]] = {
    "duckdb": "${name}",
    "snowflake": "?",
    "bigquery": "@{name}",
    "redshift": "${number}",
    "databricks": ":{name}",
}
"""How a bound parameter is written, by name or by its number from 1; a dialect that is not here is not connected."""

_WRITES: Final = (
    exp.Insert, exp.Update, exp.Delete, exp.Merge, exp.Create, exp.Drop, exp.Alter, exp.Into,
)  # fmt: skip
"""What may hide inside a statement that begins like a SELECT."""
_OPENING: Final = frozenset({TokenType.SELECT, TokenType.WITH, TokenType.FROM, TokenType.L_PAREN})
"""What a SELECT begins with, in any of the dialects."""


@dataclass(frozen=True, slots=True)
class Iterator:
    """The column that orders changes.

    ``column`` is spelled as the query's result spells it. ``type`` is never the undecided ``timestamp``. ``zone`` is
    what dates and zone-less times are local to. ``warehouse_type`` is the warehouse's own word for the column's type.
    """

    column: str
    type: IteratorType
    zone: str = "UTC"
    warehouse_type: str = ""


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


def require_one_select(sql: str, dialect: str) -> bool:
    """Raise unless the text is one query that only reads; say whether that could be decided here.

    What this parser does not know is not refused for that: False leaves it to the warehouse, which is asked for the
    columns before any row. Sub-queries, WITH and set operations are queries; a semicolon at the end is tolerated.

    Raises:
        ModelInvalid: it is empty, several statements, or does anything but read; with line and column.
    """
    tokens = _tokens(sql, dialect)
    if tokens is None:
        return False
    statement = _without_end(tokens)
    if not statement:
        raise ModelInvalid("the data model's SQL is empty; write one SELECT")
    _require_one_statement(sql, statement)
    if statement[0].token_type not in _OPENING:
        raise _not_a_select(sql, statement[0])
    try:
        parsed = sqlglot.parse_one(_cut(sql, statement), dialect=dialect)
    except (SqlglotError, RecursionError):
        return False
    write = parsed.find(*_WRITES)
    if write is not None:
        raise _not_a_select(sql, _token_of(write, statement))
    return True


def columns_query(model_sql: str, dialect: str) -> Query:
    """Give the query that returns a model's columns and no row."""
    return _around(model_sql, dialect, condition=" LIMIT 0")


def windowed(model_sql: str, *, dialect: str, iterator: Iterator | None, window: Window) -> Query:
    """Give the query that returns a model's rows inside a window; all rows where it has no bound.

    Raises:
        ValueError: a bound is not a whole unit of the iterator, or there are bounds and no iterator.
    """
    condition, parameters = _inside(window, iterator, dialect)
    return _around(model_sql, dialect, condition=condition, parameters=parameters)


def preview_query(model_sql: str, *, dialect: str, iterator: Iterator | None, window: Window, rows: int) -> Query:
    """Give the query that returns some of a model's rows inside a window, at most ``rows``.

    Raises:
        ValueError: as ``windowed`` does.
    """
    condition, parameters = _inside(window, iterator, dialect)
    return _around(model_sql, dialect, condition=f"{condition} LIMIT {rows:d}", parameters=parameters)


def count_query(model_sql: str, *, dialect: str, iterator: Iterator | None, window: Window) -> Query:
    """Give the query that returns one row with one column ``row_count``: the model's rows inside a window.

    Raises:
        ValueError: as ``windowed`` does.
    """
    condition, parameters = _inside(window, iterator, dialect)
    selected = "COUNT(*) AS row_count"
    return _around(model_sql, dialect, selected=selected, condition=condition, parameters=parameters)


def _around(
    model_sql: str,
    dialect: str,
    *,
    selected: str = "*",
    condition: str = "",
    parameters: Mapping[str, Bound] | None = None,
) -> Query:
    tokens = _tokens(model_sql, dialect)
    model = model_sql if tokens is None else _cut(model_sql, _without_end(tokens))
    text = f"SELECT {selected} FROM (\n{model}\n) AS data_model{condition}"  # noqa: S608 - running the declared SQL is the purpose; bounds are parameters
    return Query(text, parameters or {}, lines_before=1)


def _inside(window: Window, iterator: Iterator | None, dialect: str) -> tuple[str, dict[str, Bound]]:
    bounds = {"window_low": (">=", window.low), "window_high": ("<", window.high)}
    conditions: list[str] = []
    parameters: dict[str, Bound] = {}
    for name, (operator, instant) in bounds.items():
        if instant is None:
            continue
        if iterator is None:
            raise ValueError("a window with bounds needs an iterator")
        parameters[name] = Bound(bound_value(instant, iterator.type, iterator.zone), iterator.warehouse_type)
        parameter = _PARAMETER[dialect].format(name=name, number=len(parameters))
        conditions.append(f"{_column(iterator, dialect)} {operator} {parameter}")
    if iterator is None or not conditions:
        return "", {}
    condition = " AND ".join(conditions)
    if window.includes_null:
        condition = f"({condition}) OR {_column(iterator, dialect)} IS NULL"
    return f" WHERE {condition}", parameters


def _column(iterator: Iterator, dialect: str) -> str:
    # Quoted, so that it means exactly the spelling that the result has, by every dialect's rule for case.
    return exp.to_identifier(iterator.column, quoted=True).sql(dialect=dialect)


def _tokens(sql: str, dialect: str) -> list[Token] | None:
    """Split text into tokens, without comments; None where the tokenizer gives up, e.g. inside an open quote."""
    try:
        return sqlglot.tokenize(sql, dialect=dialect)
    except SqlglotError:
        return None


def _without_end(tokens: list[Token]) -> list[Token]:
    end = len(tokens)
    while end and tokens[end - 1].token_type is TokenType.SEMICOLON:
        end -= 1
    return tokens[:end]


def _cut(sql: str, tokens: Sequence[Token]) -> str:
    """Give the text up to the last of the tokens: what follows is semicolons and comments."""
    return sql[: tokens[-1].end + 1] if tokens else sql


def _require_one_statement(sql: str, tokens: Sequence[Token]) -> None:
    opened: list[Token] = []
    for before, token in zip((None, *tokens), tokens, strict=False):
        if before is not None and before.token_type is TokenType.SEMICOLON:
            raise ModelInvalid(
                f"the data model's SQL holds several statements, the second at {_place(sql, token)}; write one SELECT"
            )
        if token.token_type is TokenType.L_PAREN:
            opened.append(token)
        elif token.token_type is TokenType.R_PAREN:
            if not opened:  # It would close ours around the model and put the rest outside of it.
                raise ModelInvalid(
                    f"the data model's SQL closes a parenthesis at {_place(sql, token)} that it never opened"
                )
            opened.pop()
    if opened:
        raise ModelInvalid(f"the data model's SQL opens a parenthesis at {_place(sql, opened[-1])} and never closes it")


def _not_a_select(sql: str, token: Token) -> ModelInvalid:
    return ModelInvalid(
        f"the data model's SQL must be one SELECT (WITH and set operations are allowed) and only read; "
        f"found {token.text.upper()!r} at {_place(sql, token)}"
    )


def _token_of(write: exp.Expression, tokens: Sequence[Token]) -> Token:
    """Find the keyword that a writing expression is named after; expressions do not know their place."""
    return next((token for token in tokens if token.text.upper() == write.key.upper()), tokens[0])


def _place(sql: str, token: Token) -> str:
    line = sql.count("\n", 0, token.start) + 1
    column = token.start - sql.rfind("\n", 0, token.start)
    return f"line {line}, column {column}"
