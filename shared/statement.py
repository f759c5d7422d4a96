"""Whether a data model's SQL is one SELECT that only reads, as far as it can be told without its warehouse (pure)."""

from collections.abc import Sequence
from typing import Final

import sqlglot
from sqlglot import Token, TokenType, exp
from sqlglot.errors import SqlglotError

from shared.errors import ModelInvalid

_WRITES: Final = (
    exp.Insert, exp.Update, exp.Delete, exp.Merge, exp.Create, exp.Drop, exp.Alter, exp.Into,
)  # fmt: skip
"""What may hide inside a statement that begins like a SELECT."""
_OPENING: Final = frozenset({TokenType.SELECT, TokenType.WITH, TokenType.FROM, TokenType.L_PAREN})
"""What a SELECT begins with, in any of the dialects."""


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


def without_end(sql: str, dialect: str) -> str:
    """Give a statement without the semicolons and comments at its end; as it is where that cannot be told."""
    tokens = _tokens(sql, dialect)
    return sql if tokens is None else _cut(sql, _without_end(tokens))


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
