"""MParticle's words without the values of the rows they speak of.

What mParticle answers ends in logs, in a run's error and on screens, and it may quote what a batch held. The keys stay:
a sentence that names the field is worth reading.
"""

import re
from collections.abc import Iterator
from typing import Any, Final

import orjson

_OURS: Final = ("source_request_id", "environment")
"""Fields whose values are ours and no row's."""
_HIDDEN: Final = "…"
_TAIL_CHARS: Final = 4
"""A cut value of at least this length at the end of the words is taken for the beginning of a row's value."""


def without_values(words: str, body: bytes) -> str:
    """Replace every value of a body's rows that stands in ``words``, also one that is cut off at their end.

    Args:
        words: what mParticle answered to the body.
        body: the JSON array that was sent.
    """
    values = {text for batch in orjson.loads(body) for text in _values(batch)}
    found = sorted((value for value in values if value in words), key=len, reverse=True)
    if found:
        words = re.sub("|".join(rf"(?<!\w){re.escape(value)}(?!\w)" for value in found), _HIDDEN, words)
    end = words.removesuffix(_HIDDEN)
    for size in range(len(end), _TAIL_CHARS - 1, -1):
        if any(len(value) > size and value.startswith(end[-size:]) for value in values):
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
        case str() if node and key not in _OURS:
            yield node
        case int() | float() if not isinstance(node, bool):
            yield str(node)
