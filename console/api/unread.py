"""Requests that could not be read, in our words: where, what was expected and the cure, and never what stands there.

The framework's own words give an offset, or nothing but that something is wrong.
"""

from collections.abc import Mapping
from json import JSONDecodeError
from typing import Any, Final

from fastapi.exceptions import RequestValidationError

_CURE: Final = "send one JSON object, in UTF-8"
_EXPECTED: Final[Mapping[str, str]] = {
    "Expecting value": "expected a value",
    "Expecting property name": "expected a field's name in double quotes",
    "Expecting ':'": "expected a colon behind a field's name",
    "Expecting ','": "expected a comma, or the end of an object or a list",
    "Illegal trailing comma": "expected no comma before the end of an object or a list",
    "Extra data": "expected nothing behind the end of the value",
    "Unterminated string": "a text begins that has no end",
    "Invalid control character": "expected line breaks and other control characters of a text as escapes, such as \\n",
    "Invalid \\": "expected an escape that JSON has, such as \\n or \\u00e9",
}
"""By how the words of Python's own parser begin, some of which quote what they found."""
_NO_OBJECT: Final = frozenset({"dict_type", "model_type", "model_attributes_type"})
_JSON_NAMES: Final[Mapping[type, str]] = {
    list: "a list",
    str: "a text",
    bool: "true or false",
    int: "a number",
    float: "a number",
    type(None): "null",
}


def sentences_of(error: RequestValidationError) -> list[str]:
    """Give what is wrong with a request, a mistake each."""
    return [_told(found, error.__cause__) for found in error.errors()]


def sentence_of(cause: BaseException | None) -> str:
    """Give what is wrong with a body that made its parser fail so."""
    match cause:
        case JSONDecodeError():
            expected = (told for begins, told in _EXPECTED.items() if cause.msg.startswith(begins))
            what = next(expected, "expected something else")
            return f"body: no JSON at line {cause.lineno}, column {cause.colno}: {what}; {_CURE}"
        case UnicodeDecodeError():
            # What was decoded before it counts as characters, as people's editors count columns.
            before = cause.object[: cause.start].decode(cause.encoding, "replace")
            line, column = before.count("\n") + 1, len(before) - before.rfind("\n")
            return f"body: no UTF-8 at line {line}, column {column}; {_CURE}"
        case RecursionError():
            return f"body: objects and lists are nested too deeply; {_CURE}"
        case ValueError():  # Python reads whole numbers of some thousand digits at most.
            return f"body: a number has more digits than are read; {_CURE}"
        case _:
            return f"body: it cannot be read; {_CURE}"


def _told(found: Mapping[str, Any], cause: BaseException | None) -> str:
    kind, path = found["type"], ".".join(str(part) for part in found["loc"][1:])
    if kind == "json_invalid":
        return sentence_of(cause)
    if path or found["loc"][:1] != ("body",):
        return f"{path or 'request'}: {found['msg'].removeprefix('Value error, ')}"
    if kind == "missing":
        return f"body: there is none; {_CURE}"
    if kind in _NO_OBJECT:
        return _no_object(found["input"])
    return f"body: {found['msg'].removeprefix('Value error, ')}"


def _no_object(given: object) -> str:
    if isinstance(given, bytes):
        return "body: it is not sent as JSON; send the header Content-Type: application/json"
    return f"body: expected a JSON object, got {_JSON_NAMES.get(type(given), 'something else')}"
