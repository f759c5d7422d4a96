"""JSON text of a warehouse's semi-structured type, read as the values that it stands for.

Every value may be of another kind, so these columns, and no others, are read value by value. A number is never taken
through a float: parsing only tells what kind a value is, what is written is cut out of the text. ``undefined``, NaN and
infinities, which Snowflake writes, are no JSON and count as ``null``.
"""

import re
from functools import cache, partial
from typing import Any, Final

import numpy as np
import orjson
import pyarrow as pa

from shared.mapping.meanings import is_json
from worker.mparticle.buffers import both
from worker.mparticle.columns import Column, Sizes

NO_JSON: Final = "\0"
"""Stands in other JSON for what cannot be parsed. No JSON holds this character, only its escape."""

_BLANKS: Final = b" \t\n\r"
_STRING: Final = rb'"[^"\\]*(?:\\.[^"\\]*)*"?'
"""One that nothing ends goes on to the end: otherwise each of its quotes would be tried as a beginning."""
_BETWEEN: Final = re.compile(rb"(?s)(" + _STRING + rb")|[ \t\n\r]+")
ENTRIES: Final = re.compile(rb"(?s)" + _STRING + rb"|[^ \t\n\r,\[\]]+")
_BEYOND_JSON: Final = re.compile(rb"(?si)(" + _STRING + rb")|[+-]?\b(?:undefined|nan|inf(?:inity)?)\b")
_COMPOUND: Final = frozenset({dict, list})

_Value = tuple[bytes | None, int, int, int]
"""What is written, None for ``null``; characters of a text; entries of a list; characters of its longest text."""


def values_of(column: Column, *, keeps_lists: bool = True) -> Column:
    """Read a column of JSON, or of strings that are JSON, as attributes.

    Objects, and arrays that hold an array or an object, become strings of JSON; all arrays where lists are not kept.
    ``null`` is left out of other arrays. What is no JSON is ``unfit``.
    """
    texts = _texts(column)
    # Many rows often share few values.
    read = list(map(cache(partial(_value, keeps_lists=keeps_lists)), texts))
    written = [value[0] for value in read]
    present = np.array([text is not None for text in written], dtype=np.bool_)
    unfit = np.array([text == b"" for text in written], dtype=np.bool_)
    chars, entries, entry_chars = np.array([value[1:] for value in read], dtype=np.int32).reshape(-1, 3).T
    spread = slice(None) if column.codes is None else column.codes
    return Column(
        pa.array([text or b"" for text in written], pa.binary()),
        column.codes,
        both(column.present, None if present.all() else present[spread]),
        column.rows(unfit) if unfit.any() else None,
        sizes=Sizes(chars, entries, entry_chars),
    )


def compact(column: Column) -> Column:
    """Write a column of JSON without blanks, as it stands inside of other JSON; :data:`NO_JSON` for what is none."""
    return Column(pa.array(map(cache(_inside), _texts(column)), pa.binary()), column.codes, column.present)


def parsed(text: bytes) -> tuple[Any, bytes]:
    """Give what a text says, and the text as JSON.

    Raises:
        orjson.JSONDecodeError: it is no JSON.
    """
    try:
        return orjson.loads(text), text
    except orjson.JSONDecodeError:
        text = _BEYOND_JSON.sub(lambda found: found[1] or b"null", text)
        return orjson.loads(text), text


def _texts(column: Column) -> list[bytes | None]:
    values = column.values
    strings = values.storage if is_json(values.type) else values
    texts: list[bytes | None] = strings.cast(pa.binary()).to_pylist()
    return texts


def _value(text: bytes | None, *, keeps_lists: bool) -> _Value:
    if text is None:
        return None, 0, 0, 0
    try:
        value, text = parsed(text)
    except orjson.JSONDecodeError:
        return b"", 0, 0, 0
    match value:
        case None:
            return None, 0, 0, 0
        case str():
            return orjson.dumps(value), len(value), 0, 0
        case list() if keeps_lists and _COMPOUND.isdisjoint(map(type, value)):
            longest = max((len(entry) for entry in value if type(entry) is str), default=0)
            if None not in value:
                return _without_blanks(value, text), 0, len(value), longest
            entries = [entry for entry in ENTRIES.findall(text) if entry != b"null"]
            return b"[" + b",".join(entries) + b"]", 0, len(entries), longest
        case dict() | list():
            document = _without_blanks(value, text).decode()
            return orjson.dumps(document), len(document), 0, 0
        case _:
            return text.strip(), 0, 0, 0


def _inside(text: bytes | None) -> bytes:
    try:
        return b"" if text is None else _without_blanks(*parsed(text))
    except orjson.JSONDecodeError:
        return NO_JSON.encode()


def _without_blanks(value: Any, text: bytes) -> bytes:
    """Give a text, which says ``value``, without the blanks between its parts."""
    try:
        written = orjson.dumps(value)
    except orjson.JSONEncodeError:
        return _BETWEEN.sub(rb"\1", text)  # It reads more levels than it writes.
    # Where only blanks differ it is the same text: no digit and no key that is there twice was lost. Ten times faster.
    if written.translate(None, _BLANKS) == text.translate(None, _BLANKS):
        return written
    return _BETWEEN.sub(rb"\1", text)
