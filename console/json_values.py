"""Arrow values as JSON and as text, without losing a digit: what listings and downloads are made of (pure).

=====================  ==================================================================
decimals               numbers with all their digits, never with an exponent
dates, times           ISO 8601 text; instants in UTC, ending in ``Z``
binary                 base64
``arrow.json``         the JSON that it is; as text where it cannot be parsed
NaN, infinities        ``"NaN"``, ``"Infinity"``, ``"-Infinity"``
lists, structs, maps   arrays and objects of those
=====================  ==================================================================
"""

import base64
import math
from collections.abc import Callable
from typing import Any, Final

import orjson
import pyarrow as pa

from console.json_text import as_text, exact

Convert = Callable[[Any], Any]

_UTC: Final = "UTC"


def json_values(column: pa.ChunkedArray) -> list[Any]:
    """Give a column's values as ``orjson`` writes them exactly."""
    convert = _converter(column.type)
    return [None if value is None else convert(value) for value in _with_texts(column).to_pylist()]


def texts(column: pa.ChunkedArray) -> list[str | None]:
    """Give a column's values as text: a string as it is, everything else as its JSON."""
    return [None if value is None else as_text(value) for value in json_values(column)]


def _with_texts(column: pa.ChunkedArray) -> Any:
    """Have Arrow write times, at any depth: Python's own know no nanoseconds."""
    try:
        return column.cast(_map_times(column.type, _in_utc)).cast(_map_times(column.type, lambda _: pa.string()))
    except (pa.ArrowNotImplementedError, pa.ArrowInvalid):
        return column  # Nested in a way that Arrow cannot cast; Python's times say as much, down to microseconds.


def _in_utc(arrow_type: Any) -> Any:
    is_instant = pa.types.is_timestamp(arrow_type) and arrow_type.tz is not None
    return pa.timestamp(arrow_type.unit, _UTC) if is_instant else arrow_type


def _map_times(arrow_type: Any, other: Convert) -> Any:
    """Give the same type with another for what is temporal in it."""
    types = pa.types
    if types.is_timestamp(arrow_type) or types.is_date(arrow_type) or types.is_time(arrow_type):
        return other(arrow_type)
    if types.is_list(arrow_type):
        return pa.list_(_map_times(arrow_type.value_type, other))
    if types.is_large_list(arrow_type):
        return pa.large_list(_map_times(arrow_type.value_type, other))
    if types.is_struct(arrow_type):
        return pa.struct([field.with_type(_map_times(field.type, other)) for field in arrow_type])
    if types.is_map(arrow_type):
        return pa.map_(_map_times(arrow_type.key_type, other), _map_times(arrow_type.item_type, other))
    if types.is_dictionary(arrow_type) or types.is_run_end_encoded(arrow_type):
        return _map_times(arrow_type.value_type, other)
    return arrow_type


def _converter(arrow_type: Any) -> Convert:
    """Give what turns one value, as Python has it, into what ``orjson`` writes; a time is text already."""
    if isinstance(arrow_type, pa.BaseExtensionType):
        return _json_or_text if arrow_type.extension_name == "arrow.json" else str
    nested = _nested(arrow_type)
    if nested is not None:
        return nested
    return next((convert for is_such, convert in _CONVERTERS if is_such(arrow_type)), str)


def _nested(arrow_type: Any) -> Convert | None:
    types = pa.types
    if types.is_dictionary(arrow_type) or types.is_run_end_encoded(arrow_type):
        return _converter(arrow_type.value_type)
    if types.is_struct(arrow_type):
        fields = {field.name: _converter(field.type) for field in arrow_type}
        return lambda row: {name: _or_none(convert, row[name]) for name, convert in fields.items()}
    if types.is_map(arrow_type):
        key, item = _converter(arrow_type.key_type), _converter(arrow_type.item_type)
        return lambda pairs: {as_text(key(name)): _or_none(item, value) for name, value in pairs}
    if hasattr(arrow_type, "value_type"):
        entry = _converter(arrow_type.value_type)
        return lambda values: [_or_none(entry, value) for value in values]
    return None


def _or_none(convert: Convert, value: Any) -> Any:
    return None if value is None else convert(value)


def _json_or_text(value: str) -> Any:
    try:
        orjson.loads(value)
    except orjson.JSONDecodeError:
        return value
    # Outside of its strings JSON may be broken into lines, inside it cannot be; JSON Lines may not.
    return orjson.Fragment(value.replace("\n", " ").replace("\r", " "))


def _number_or_text(value: float) -> float | str:
    if math.isfinite(value):
        return value
    return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"


def _itself(value: Any) -> Any:
    return value


def _base64(value: bytes) -> str:
    return base64.b64encode(value).decode()


def _iso(value: object) -> str:
    return str(value).replace(" ", "T", 1)


_CONVERTERS: Final[tuple[tuple[Callable[[Any], bool], Convert], ...]] = (
    (pa.types.is_boolean, _itself),
    (pa.types.is_integer, _itself),
    (pa.types.is_floating, _number_or_text),
    (pa.types.is_decimal, exact),
    (pa.types.is_timestamp, _iso),
    (pa.types.is_binary, _base64),
    (pa.types.is_large_binary, _base64),
    (pa.types.is_fixed_size_binary, _base64),
    (pa.types.is_binary_view, _base64),
)
