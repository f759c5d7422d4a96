"""Every destination of a field transformation as a table: what it takes, in which events, and when it is needed."""

from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Final

from shared.mapping.destinations import ValueType
from shared.mapping.event_fields import EVENT_TYPES, EVENTS
from shared.mapping.paths import Place, dotted, find, templates
from shared.mapping.plan import EVENT_DATA
from shared.mapping.tree import Entries, Field

_TAKES: Final[Mapping[ValueType, str]] = MappingProxyType(
    {
        ValueType.STRING: "text or whole number",
        ValueType.UUID: "UUID",
        ValueType.INT64: "whole number",
        ValueType.ATTRIBUTE: "text, number, boolean or a list of those",
        ValueType.SCALAR: "text, number or boolean",
        ValueType.TEXT: "text",
        ValueType.NUMBER: "number",
        ValueType.BOOLEAN: "true or false",
        ValueType.EPOCH_MS: "instant",
        ValueType.IP: "IP address",
        ValueType.CHOICE: "one of",
        ValueType.TEXTS: "list of texts",
        ValueType.OBJECTS: "list of structs, or JSON",
    }
)


def destinations_table() -> str:
    """Give all destinations as a Markdown table, in the order of mParticle's documentation."""
    lines = ["| destination | takes | in events of the type | needed |", "|---|---|---|---|"]
    lines += [f"| {' | '.join(row)} |" for template in templates() for row in _rows(".".join(template))]
    return "\n".join(lines) + "\n"


def _rows(text: str) -> Iterator[tuple[str, str, str, str]]:
    """Give one row, or several where events of several types take something else."""
    place = find(text)
    if not isinstance(place, Place):
        raise TypeError(f"{text} {place.reason}")
    for node in dict.fromkeys(map(_takes, place.by_type.values())):
        event_types = [event_type for event_type, one in place.by_type.items() if _takes(one) == node]
        is_own = len(place.by_type) < len(EVENT_TYPES)
        yield f"`{text}`", node, ", ".join(event_types) if is_own else "", _needed(place, event_types)


def _takes(node: Field | Entries) -> str:
    if isinstance(node, Entries):
        return _TAKES[ValueType.OBJECTS]
    takes = _TAKES[node.value]
    if node.choices:
        takes = f"{takes} {', '.join(f'`{word}`' for word in node.choices)}"
    return f"identity: {takes}" if node.is_identity else takes


def _needed(place: Place, event_types: list[str]) -> str:
    name = place.path[-1]
    if place.path[:-1] == EVENT_DATA:
        needing = [event_type for event_type in event_types if name in EVENTS[event_type].required]
        return "yes" if needing == event_types else ", ".join(needing)
    if place.path == (*EVENT_DATA[:-1], "event_type"):
        return "yes"
    around = place.enclosing[-1] if place.enclosing else None
    if around is None or around.path != place.path[:-1] or name not in around.group.required:
        return ""
    return f"with `{dotted(around.path)}`"
