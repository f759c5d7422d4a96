"""Files that SQL names by relative paths: find them in the text and root them in the connection's folder.

DuckDB checks a relative path against the process's working directory before it looks anywhere else, and a worker's
working directory is neither the connection's folder nor safe to open up. A path that begins with ``~/`` is rooted in
DuckDB's ``home_directory``, which is set to that folder. DuckDB's own parser says where the paths stand.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import duckdb

_HOME: Final = b"~/"
_QUOTE: Final = b"'"
_READERS: Final = ("read_", "parquet_", "sniff_csv", "glob")
"""What the names of functions begin with whose first argument names files."""


@dataclass(frozen=True, slots=True)
class RootedSql:
    """A query whose files are rooted, and where (byte positions in the original, ascending) that added text."""

    text: str
    insertions: tuple[int, ...] = ()

    def original_position(self, position: int) -> int:
        """Give the byte position in the original of a byte position in the text."""
        for insertion in self.insertions:
            if position <= insertion:
                break
            position = max(position - len(_HOME), insertion)
        return position


def root_files(parser: duckdb.DuckDBPyConnection, sql: str) -> RootedSql:
    """Root the relative paths of a query; text that is no SELECT is given back as it is."""
    # All rows are fetched, although there is one: a result that is not drained blocks the connection.
    ((serialised,),) = parser.execute("SELECT json_serialize_sql($1)", [sql]).fetchall()
    tree = json.loads(serialised)
    text = sql.encode()
    quotes = (place for place, path in _named_files(tree) if _is_relative(path))
    # Only where the parser's place is really a quote: a path may also come from an escape string or a parameter.
    insertions = tuple(sorted({place + 1 for place in quotes if text[place : place + 1] == _QUOTE}))
    ends = (*insertions, len(text))
    pieces = [text[start:end] for start, end in zip((0, *insertions), ends, strict=True)]
    return RootedSql(_HOME.join(pieces).decode(), insertions)


def _named_files(tree: Any) -> Iterator[tuple[int, str]]:
    for node in _nodes(tree):
        if node.get("type") == "BASE_TABLE":
            name = str(node.get("table_name"))
            if any(mark in name for mark in "./*"):  # Otherwise it is a table's name in quotes.
                yield node["query_location"], name
        elif node.get("type") == "TABLE_FUNCTION":
            function = node["function"]
            if str(function["function_name"]).startswith(_READERS):
                for constant in _nodes(function["arguments"][:1]):
                    literal = constant.get("literal")
                    if isinstance(literal, dict) and literal.get("kind") == "STRING":
                        yield constant["query_location"], literal["text"]


def _nodes(tree: Any) -> Iterator[dict[str, Any]]:
    waiting = [tree]
    while waiting:
        node = waiting.pop()
        if isinstance(node, dict):
            yield node
            waiting.extend(node.values())
        elif isinstance(node, list):
            waiting.extend(node)


def _is_relative(path: str) -> bool:
    return not path.startswith(("/", "~", "file:")) and "://" not in path
