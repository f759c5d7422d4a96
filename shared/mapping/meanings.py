"""Which Arrow types have a meaning as a field of a batch, and what to do about those that have none.

What the types become:

================================  ==================================================================================
integers, floats, decimals        JSON numbers; decimals with their exact digits, none left out and without an
                                  exponent; NaN and infinities count as NULL
booleans                          ``true`` and ``false``
strings, ``arrow.uuid``           JSON strings
dates, times                      ISO 8601 text
timestamps                        ISO 8601 text; with a zone in UTC, ending in ``Z``; 0, 3, 6 or 9 sub-second digits
lists of the above                lists; NULL entries are left out
structs, maps, other lists        their JSON text, as a string; NULL inside stays ``null``
dictionary, run-end encoded       what their values become
NULL                              always NULL
``arrow.json``                    what the JSON value is: a string, a number with its digits as they are written, a
                                  boolean; ``null`` is NULL; an array of those is a list; an object, and an array
                                  that holds an array or an object, is its JSON text, as a string
lists of ``arrow.json``           what a JSON array of the same values becomes
================================  ==================================================================================

Years outside 1 to 9999 and times outside a day have no ISO form and count as NULL, like NaN. Binary values, durations,
intervals and unions have no meaning. Inside of JSON text, JSON stands as it is and not as a string. JSON is no
identity, because ``"7"``, ``7`` and ``7.0`` would be three.

A field of an event takes what becomes its one type without a guess (``_TAKEN``); where values decide, as with text for
a number, rows are refused one by one.
"""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, Final

import pyarrow as pa
from pyarrow import types

from shared.mapping.destinations import ValueType

_NO_JSON: Final = "JSON has no one type; extract the value in SQL and cast it to {}"
_TAKEN: Final[Mapping[ValueType, tuple[tuple[str, ...], str]]] = MappingProxyType(
    {
        ValueType.TEXT: (
            ("text", "integer", "decimal", "float", "boolean", "date", "time", "timestamp"),
            "text is expected; cast the column to text in SQL",
        ),
        ValueType.NUMBER: (
            ("integer", "decimal", "float", "text"),
            "a number is expected; cast the column to a number in SQL",
        ),
        ValueType.INT64: (("integer", "text"), "a whole number is expected; cast the column to an integer in SQL"),
        ValueType.BOOLEAN: (
            ("boolean", "integer", "text"),
            "true or false is expected; make the column a boolean in SQL",
        ),
        ValueType.EPOCH_MS: (
            ("timestamp", "date", "integer"),
            "an instant is expected, or the milliseconds since 1970; cast the column to a timestamp in SQL",
        ),
        ValueType.UUID: (("text",), "a UUID is expected; cast the column to text in SQL"),
        ValueType.IP: (("text",), "an IP address is expected; cast the column to text in SQL"),
        ValueType.CHOICE: (("text",), "a word is expected; cast the column to text in SQL"),
        ValueType.TEXTS: (
            ("text", "texts"),
            "a list of texts is expected, or a text for a list of one; make the column one in SQL",
        ),
    }
)
"""What the fields of events take, by ``_sort`` of the column's type, and what is said of all others."""


def why_not(value: ValueType, arrow_type: Any, *, is_identity: bool = True) -> str | None:
    """Say why a column of ``arrow_type`` cannot become a field that accepts ``value``, and the cure.

    Args:
        value: What the field accepts; not ``objects``, which depends on what the objects are made of.
        arrow_type: The column's (``pa.DataType``).
        is_identity: Whether the field is one, where fields that are none accept the same.

    Returns:
        Half a sentence for an operator, or None if it can.
    """
    if value in (ValueType.ATTRIBUTE, ValueType.SCALAR):
        return _why_no_attribute(arrow_type)
    if is_identity and value in (ValueType.STRING, ValueType.UUID, ValueType.INT64):
        return _why_no_identity(value, arrow_type)
    taken, otherwise = _TAKEN[value]
    sort = _sort(unwrapped(arrow_type))
    if sort == "null" or sort in taken:
        return None
    return _NO_JSON.format(_CAST[value]) if sort == "json" else otherwise


def unwrapped(arrow_type: Any) -> Any:
    """Give the type of the values themselves: without dictionary, run-end encoding or extension, but for JSON."""
    if types.is_dictionary(arrow_type) or types.is_run_end_encoded(arrow_type):
        return unwrapped(arrow_type.value_type)
    if isinstance(arrow_type, pa.BaseExtensionType):
        match arrow_type.extension_name:
            case "arrow.uuid":
                return pa.string()
            case "arrow.bool8":
                return pa.bool_()
            case "arrow.json":
                return arrow_type
            case _:
                return unwrapped(arrow_type.storage_type)
    return arrow_type


def is_json(arrow_type: Any) -> bool:
    """Whether values are JSON text that stands for what it says."""
    return isinstance(arrow_type, pa.BaseExtensionType) and arrow_type.extension_name == "arrow.json"


def is_text(arrow_type: Any) -> bool:
    """Whether values are strings, in any of Arrow's layouts."""
    return bool(types.is_string(arrow_type) or types.is_large_string(arrow_type) or types.is_string_view(arrow_type))


def is_list(arrow_type: Any) -> bool:
    """Whether values are lists, in any of Arrow's layouts."""
    return bool(
        types.is_list(arrow_type)
        or types.is_large_list(arrow_type)
        or types.is_fixed_size_list(arrow_type)
        or types.is_list_view(arrow_type)
        or types.is_large_list_view(arrow_type)
    )


def is_compound(arrow_type: Any) -> bool:
    """Whether values are made of other values: structs, maps, lists."""
    return bool(types.is_struct(arrow_type) or types.is_map(arrow_type) or is_list(arrow_type))


_CAST: Final[Mapping[ValueType, str]] = MappingProxyType(
    {
        ValueType.NUMBER: "a number",
        ValueType.INT64: "an integer",
        ValueType.BOOLEAN: "a boolean",
        ValueType.EPOCH_MS: "a timestamp",
        ValueType.TEXTS: "a list of texts",
        **dict.fromkeys((ValueType.TEXT, ValueType.UUID, ValueType.IP, ValueType.CHOICE), "text"),
    }
)


def _sort(plain: Any) -> str:
    """Give the word for a type by which ``_TAKEN`` tells what becomes of it; a decimal without places is an integer."""
    if is_json(plain):
        return "json"
    if types.is_integer(plain) or (types.is_decimal(plain) and plain.scale == 0):
        return "integer"
    if is_list(plain):
        return "texts" if is_text(unwrapped(plain.value_type)) else "list"
    return next((word for word, is_so in _SORTS.items() if is_so(plain)), "other")


_SORTS: Final[Mapping[str, Callable[[Any], bool]]] = MappingProxyType(
    {
        "null": types.is_null,
        "text": is_text,
        "decimal": types.is_decimal,
        "float": types.is_floating,
        "boolean": types.is_boolean,
        "date": types.is_date,
        "time": types.is_time,
        "timestamp": types.is_timestamp,
    }
)


def _why_no_identity(value: ValueType, arrow_type: Any) -> str | None:
    plain = unwrapped(arrow_type)
    if is_text(plain) or types.is_null(plain):
        return None
    if is_json(plain):
        return 'JSON is ambiguous as an identity, "7" or 7; extract it as text in SQL, without quotes'
    if value is ValueType.UUID:
        return "a UUID is expected; cast the column to text in SQL"
    if types.is_integer(plain):
        return None
    if types.is_decimal(plain):
        return None if plain.scale == 0 else "an identity has no decimal places; cast the column to an integer in SQL"
    if types.is_floating(plain):
        return "a float does not keep every digit of an id; cast the column to an integer or to text in SQL"
    return "an identity is text or an integer; cast the column to text in SQL"


def _why_no_attribute(arrow_type: Any) -> str | None:
    plain = unwrapped(arrow_type)
    if is_compound(plain):
        return _why_no_compound(plain)
    if _is_bytes(plain):
        return "bytes have no JSON form; encode them in SQL, for example as hexadecimal text"
    if types.is_duration(plain) or types.is_interval(plain):
        return "a span of time has no agreed JSON form; convert it in SQL, for example to a number of seconds"
    if types.is_union(plain):
        return "values of several types in one column have no JSON form; cast the column to one type in SQL"
    return None


def _why_no_compound(plain: Any) -> str | None:
    if is_list(plain):
        return _why_no_attribute(plain.value_type)
    if types.is_map(plain):
        if is_compound(unwrapped(plain.key_type)) or is_json(unwrapped(plain.key_type)):
            return "a map's keys must be text, numbers, dates or booleans; convert the column to JSON text in SQL"
        return _why_no_attribute(plain.key_type) or _why_no_attribute(plain.item_type)
    names = [field.name for field in plain]
    if len(set(names)) < len(names):
        return "two fields of the struct have the same name; rename one in SQL"
    return next((reason for field in plain if (reason := _why_no_attribute(field.type))), None)


def _is_bytes(arrow_type: Any) -> bool:
    return bool(
        types.is_binary(arrow_type)
        or types.is_large_binary(arrow_type)
        or types.is_fixed_size_binary(arrow_type)
        or types.is_binary_view(arrow_type)
    )
