"""Whether a static value is one that its field accepts."""

import re
from collections.abc import Callable, Mapping, Sequence
from difflib import get_close_matches
from ipaddress import ip_address
from types import MappingProxyType
from typing import Final

from shared.mapping.destinations import ValueType
from shared.mapping.tree import Entries, Field
from shared.transformation import StaticValue

_INT64: Final = range(-(2**63), 2**63)
_UUID: Final = re.compile(r"[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}")


def why_not_static(field: Field | Entries, value: StaticValue) -> str | None:
    """Say why a field cannot always have a value: half a sentence for an operator, or None if it can."""
    if isinstance(field, Entries) or field.value is ValueType.TEXTS:
        return "a static value is no list; select one in SQL, and map its column"
    if field.is_identity:
        return "a static identity would give every row to one person; map a column"
    if field.value is ValueType.CHOICE:
        return None if value in field.choices else _no_word(field.choices, value)
    is_one, wanted = _ACCEPTED[field.value]
    return None if is_one(value) else f"{_word(value)} was given, {wanted} is expected"


def _is_int64(value: StaticValue) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value in _INT64


def _is_number(value: StaticValue) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_ip(value: StaticValue) -> bool:
    try:
        ip_address(value if isinstance(value, str) else "")
    except ValueError:
        return False
    return "%" not in str(value)


_ACCEPTED: Final[Mapping[ValueType, tuple[Callable[[StaticValue], bool], str]]] = MappingProxyType(
    {
        ValueType.ATTRIBUTE: (lambda _: True, ""),
        ValueType.SCALAR: (lambda _: True, ""),
        ValueType.TEXT: (lambda value: isinstance(value, str), "a string (in YAML, put quotes around it)"),
        ValueType.NUMBER: (_is_number, "a number"),
        ValueType.INT64: (_is_int64, "a whole number of 64 bits"),
        ValueType.EPOCH_MS: (_is_int64, "a whole number, of milliseconds since 1970,"),
        ValueType.BOOLEAN: (lambda value: isinstance(value, bool), "true or false"),
        ValueType.UUID: (lambda value: isinstance(value, str) and bool(_UUID.fullmatch(value)), "a UUID"),
        ValueType.IP: (_is_ip, "an IPv4 or IPv6 address"),
    }
)


def _word(value: StaticValue) -> str:
    match value:
        case bool():
            return "a boolean"
        case int() | float():
            return "a number"
        case str():
            return "a string"


def _no_word(choices: Sequence[str], value: StaticValue) -> str:
    (nearest,) = get_close_matches(str(value), choices, 1, 0.0)
    return f"{value!r} is none of the words {', '.join(choices)}; the nearest is {nearest!r}"
