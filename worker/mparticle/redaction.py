"""MParticle's words without the values of the rows they speak of.

What mParticle answers ends in logs, in a run's error and on screens, and it may quote what a batch held. The keys stay:
a sentence that names the field is worth reading.
"""

import json
import re
from collections.abc import Iterator
from typing import Any, Final

_OURS: Final = ("source_request_id", "environment")
"""Fields whose values are ours and no row's."""
_HIDDEN: Final = "…"
_TAIL_CHARS: Final = 4
"""A cut value of at least this length at the end of the words is taken for the beginning of a row's value."""


def on_one_line(text: str) -> str:
    """Give a text with every run of white space and unprintable characters as one space."""
    return " ".join("".join(character if character.isprintable() else " " for character in text).split())


def without_values(words: str, body: bytes) -> str:
    """Replace every value of a body's rows that stands in ``words``, also one that is cut off at their end.

    Case and white space make no difference; numbers are compared by their digits as they were sent.

    Args:
        words: what mParticle answered to the body, on one line.
        body: the JSON array that was sent.
    """
    batches = json.loads(body, parse_float=str, parse_int=str)
    values = {on_one_line(text) for batch in batches for text in _values(batch)} - {""}
    folded = words.casefold()
    found = sorted((value for value in values if value.casefold() in folded), key=len, reverse=True)
    if found:
        any_value = "|".join(map(re.escape, found))
        words = re.sub(rf"(?<!\w)(?:{any_value})(?!\w)", _HIDDEN, words, flags=re.IGNORECASE)
    end = words.removesuffix(_HIDDEN)
    beginnings = {value.casefold() for value in values}
    for size in range(len(end), _TAIL_CHARS - 1, -1):
        tail = end[-size:].casefold()
        if any(len(value) > len(tail) and value.startswith(tail) for value in beginnings):
            return end[:-size] + _HIDDEN
    return words


def _values(node: Any, key: str = "") -> Iterator[str]:
    match node:
        case dict():
            for name, inner in node.items():
                yield from _values(inner, name)
        case list():
            for inner in node:
                yield from _values(inner, key)
        case str() if key not in _OURS:
            yield node
