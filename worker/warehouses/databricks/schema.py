"""Databricks's types to one Arrow schema, from the names that ``DESCRIBE QUERY`` gives.

An announced type is kept for the whole result. ``VARIANT`` is JSON text. What the client can only fetch as text stays
text: intervals, geometries. Nested types are Arrow's own, as far as all that is inside has a type that arrives whole.
"""

import re
from collections.abc import Iterable, Iterator
from typing import Any, Final

import pyarrow as pa

from shared.columns import JSON, column
from shared.errors import ModelInvalid
from worker.warehouses.base import Label

_PLAIN: Final = {
    "boolean": pa.bool_(),
    "tinyint": pa.int8(),
    "smallint": pa.int16(),
    "int": pa.int32(),
    "bigint": pa.int64(),
    "float": pa.float32(),
    "double": pa.float64(),
    "string": pa.string(),
    "char": pa.string(),
    "varchar": pa.string(),
    "binary": pa.binary(),
    "date": pa.date32(),
    "timestamp": pa.timestamp("us", "UTC"),
    "timestamp_ltz": pa.timestamp("us", "UTC"),
    "timestamp_ntz": pa.timestamp("us"),
    "time": pa.time64("us"),
    "void": pa.null(),
}
_AS_TEXT: Final = frozenset({"interval", "geography", "geometry"})
_DECIMAL: Final = re.compile(r"decimal\((\d+), ?(\d+)\)")
_CUT_SHORT: Final = re.compile(r"\.\.\. \d+ more fields")
_OPENING, _CLOSING = "<(", ">)"


def word_of(type_name: str) -> str:
    """Give a type's first word: ``decimal`` of ``decimal(10,2)``, ``array`` of ``array<int>``."""
    found = re.match(r"\w+", type_name.strip())
    return found[0].lower() if found else ""


def schema_of(columns: Iterable[tuple[str, str]], label: Label) -> pa.Schema:
    """Give the schema of a result from its columns' names and types.

    Raises:
        ModelInvalid: a column has a type that cannot be read without loss; the sentence names it and the cure.
    """
    return pa.schema([_field(name, type_name, label) for name, type_name in columns])


def require_fields(sent: pa.Schema, announced: pa.Schema, label: Label) -> None:
    """Raise unless structs have the fields that were announced: casting would fill others with NULL, and lose these.

    Raises:
        ModelInvalid: a column's have not; the sentence names it.
    """
    for field, wanted in zip(sent, announced, strict=True):
        if not _has_fields(field.type, wanted.type):
            raise ModelInvalid(
                f"{label}: column {wanted.name!r} arrived as {field.type}, which is not what Databricks announced "
                f"({wanted.type}); use to_json(...) in the data model"
            )


def _has_fields(sent: Any, wanted: Any) -> bool:
    if pa.types.is_struct(wanted) and pa.types.is_struct(sent):
        return [part.name for part in sent] == [part.name for part in wanted] and all(
            _has_fields(one.type, other.type) for one, other in zip(sent, wanted, strict=True)
        )
    if pa.types.is_list(wanted) and pa.types.is_list(sent):
        return _has_fields(sent.value_type, wanted.value_type)
    if pa.types.is_map(wanted) and pa.types.is_map(sent):
        return _has_fields(sent.key_type, wanted.key_type) and _has_fields(sent.item_type, wanted.item_type)
    return True


class _Unreadable(Exception):
    """Why a type cannot be read, as half a sentence."""


def _field(name: str, type_name: str, label: Label) -> Any:
    try:
        return column(name, _arrow(type_name), type_name)
    except _Unreadable as reason:
        raise ModelInvalid(f"{label}: column {name!r} is {type_name}, {reason}") from None


def _arrow(type_name: str) -> Any:
    word = word_of(type_name)
    if word == "variant":
        return JSON
    return pa.string() if word in _AS_TEXT else _native(type_name)


def _native(type_name: str) -> Any:
    text = type_name.strip()
    word = word_of(text)
    if word == "decimal":
        if (found := _DECIMAL.fullmatch(text.lower())) is None:
            raise _Unreadable("which tells no precision; cast the column in the data model")
        return pa.decimal128(int(found[1]), int(found[2]))
    if word in {"array", "map", "struct"}:
        return _nested(word, text)
    if word == "variant" or word in _AS_TEXT:
        raise _Unreadable(f"and {word} cannot be read inside of another type; use to_json(...) in the data model")
    if word not in _PLAIN:
        raise _Unreadable("a type that cannot be read; cast the column in the data model, e.g. to STRING")
    return _PLAIN[word]


def _nested(word: str, text: str) -> Any:
    _, _, inside = text.partition("<")
    if not inside.endswith(">") or _CUT_SHORT.search(inside):
        raise _Unreadable("which Databricks does not spell out; use to_json(...) in the data model")
    parts = list(_split(inside[:-1]))
    if word == "array" and len(parts) == 1:
        return pa.list_(_native(parts[0]))
    if word == "map" and len(parts) == 2:  # noqa: PLR2004 - key and value
        return pa.map_(_native(parts[0]), _native(parts[1]))
    if word == "struct":
        return pa.struct([_member(part) for part in parts])
    raise _Unreadable("which cannot be understood; use to_json(...) in the data model")


def _member(part: str) -> tuple[str, Any]:
    name, colon, type_name = part.partition(":")
    if not colon:
        raise _Unreadable("whose fields have names that cannot be told apart; use to_json(...) in the data model")
    return name.strip().strip("`"), _native(type_name)


def _split(text: str) -> Iterator[str]:
    """Split at the commas that stand outside of all brackets; an empty text has no parts."""
    depth = begin = 0
    for place, character in enumerate(text):
        if character in _OPENING:
            depth += 1
        elif character in _CLOSING:
            depth -= 1
        elif character == "," and not depth:
            yield text[begin:place]
            begin = place + 1
    if text:
        yield text[begin:]
