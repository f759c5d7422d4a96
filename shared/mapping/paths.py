"""Destinations as operators write them, and where they lead.

A path is the names on the way to a field, with dots between: ``events.data.product_action.products.price``. ``$.`` may
stand before it, and ``[0]``, ``[*]`` or ``[]`` behind the name of a list; they change nothing. A name that is free to
choose takes the rest of the path, dots and spaces included. Names are compared with regard to case.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from difflib import SequenceMatcher
from functools import cache
from types import MappingProxyType
from typing import Final

from shared.mapping.batch_fields import BATCH, UNSETTABLE
from shared.mapping.event_fields import EVENT_TYPES
from shared.mapping.plan import Path
from shared.mapping.tree import OPEN, Entries, Field, Group, Keys, Node, PerType, rows_of

_INDEX: Final = re.compile(r"\[(?:0|\*)?\]$")
_ANY_INDEX: Final = re.compile(r"\[[^\]]*\]")
_DEEP: Final = 2
"""So many names that are right leave no doubt which object is meant."""
_SAME_END: Final = 0.3
"""What an equal last name counts for, beside a likeness between 0 and 1."""


@dataclass(frozen=True, slots=True)
class Enclosing:
    """An object with needs of its own on the way to a destination."""

    path: Path
    group: Group


@dataclass(frozen=True, slots=True)
class Place:
    """Where a destination is in a batch and what it accepts there.

    Attributes:
        path: From the top of the batch; 0 is the only entry of a list.
        by_type: Event type to what rows of that type accept there; all types where it is not an event's own field.
        enclosing: The objects around it that have needs, without the event and its ``data``.
    """

    path: Path
    by_type: Mapping[str, Field | Entries]
    enclosing: tuple[Enclosing, ...] = ()

    def __str__(self) -> str:
        """Give the path as operators write it."""
        return dotted(self.path)


@dataclass(frozen=True, slots=True)
class Unknown:
    """Why a path is no destination: a sentence that goes on from the path, with the cure."""

    reason: str


@dataclass(frozen=True, slots=True)
class _Found:
    path: Path
    node: Node
    enclosing: tuple[Enclosing, ...] = ()


def find(text: str) -> Place | Unknown:
    """Give the destination that a path names, or say why there is none and which is the nearest."""
    rest = text.removeprefix("$.")
    plain = _ANY_INDEX.sub("", rest)
    for unsettable, reason in UNSETTABLE.items():
        if plain == unsettable or plain.startswith(f"{unsettable}."):
            return Unknown(f"cannot be mapped: {reason}")
    found = _walk(BATCH, rest)
    ends = {event_type: end for event_type, end in found.items() if end and isinstance(end.node, Field | Entries)}
    if ends:
        first = next(iter(ends.values()))
        by_type = {event_type: end.node for event_type, end in ends.items() if isinstance(end.node, Field | Entries)}
        return Place(first.path, MappingProxyType(by_type), first.enclosing)
    if open_ended := next((end for end in found.values() if end), None):
        return Unknown(f"is an object and not a field; map what it has, such as {_example(open_ended, plain)!r}")
    return Unknown(f"does not exist; the nearest that does is {nearest(text)!r}")


def dotted(path: Path) -> str:
    """Give a path as operators write it."""
    return ".".join(name for name in path if isinstance(name, str))


def nearest(text: str) -> str:
    """Give the destination whose path is most like a text; names that are free to choose are taken from it."""
    wanted = _ANY_INDEX.sub("", text.removeprefix("$."))
    parts = tuple(wanted.split("."))
    matcher = SequenceMatcher(b=wanted.lower(), autojunk=False)
    best, found = (False, -1.0), ""
    for template in [one for one in templates() if one[:_DEEP] == parts[:_DEEP]] or templates():
        candidate = _filled(template, parts)
        matcher.set_seq1(candidate.lower())
        has_whole_end = candidate.endswith(f".{wanted}")
        same_end = _SAME_END * (template[-1].lower() == parts[-1].lower())
        # The two quick ratios are bounds of the slow one: most candidates are ruled out by them.
        if all((has_whole_end, bound() + same_end) > best for bound in (matcher.real_quick_ratio, matcher.quick_ratio)):
            likeness = (has_whole_end, matcher.ratio() + same_end)
            best, found = max((best, found), (likeness, candidate), key=lambda pair: pair[0])
    return found


@cache
def templates() -> tuple[tuple[str, ...], ...]:
    """Give the names on the way to every destination, each once; free names as ``<word>``."""
    return tuple(dict.fromkeys(path for path, _, _ in rows_of(BATCH) if path != ("events",)))


def _walk(node: Node, rest: str, found: _Found | None = None) -> dict[str, _Found | None]:
    """Follow a path from a node; give where it ends for each event type, or None where it ends nowhere."""
    here = found or _Found((), node)
    if not rest and found:
        return dict.fromkeys(EVENT_TYPES, here)
    match node:
        case PerType(of=groups):
            return {event_type: _walk(group, rest, here)[event_type] for event_type, group in groups.items()}
        case Group(fields=fields):
            name, rest = _next(rest)
            child = fields.get(_INDEX.sub("", name)) if name not in fields else fields[name]
            if child is None or (name not in fields and not isinstance(child, Entries)):
                return dict.fromkeys(EVENT_TYPES)
            return _enter(_INDEX.sub("", name), child, rest, here)
        case Keys(of=Group() as of, only=only):
            name, _, rest = rest.rpartition(".")
        case Keys(of=Keys() as of, only=only):
            name, rest = _next(rest)
        case Keys(of=of, only=only):
            name, rest = rest, ""
        case _:
            return dict.fromkeys(EVENT_TYPES)
    if not name or (only and name not in only):
        return dict.fromkeys(EVENT_TYPES)
    return _enter(name, of, rest, here)


def _enter(name: str, child: Node, rest: str, here: _Found) -> dict[str, _Found | None]:
    path: Path = (*here.path, name)
    enclosing = here.enclosing
    group: Node = child
    if isinstance(child, Entries):
        if not rest:
            end: Node = child if path != ("events",) else child.of
            return dict.fromkeys(EVENT_TYPES, _Found(path, end, enclosing))
        path, group = (*path, 0), child.of
    if isinstance(group, Group) and group.required and path != ("events", 0):
        enclosing = (*enclosing, Enclosing(path, group))
    return _walk(group, rest, _Found(path, group, enclosing))


def _next(rest: str) -> tuple[str, str]:
    name, _, below = rest.partition(".")
    return name, below


def _example(found: _Found, plain: str) -> str:
    below: Iterator[tuple[str, ...]] = (path for path, _, _ in rows_of(found.node))
    return f"{plain.rstrip('.')}.{'.'.join(next(below))}"


def _filled(template: tuple[str, ...], parts: tuple[str, ...]) -> str:
    """Put the names that stand in the same place in place of those free to choose, and the last one of all."""
    names = list(template)
    for place, name in enumerate(template):
        if name.startswith(OPEN[0]) and name.endswith(OPEN[-1]):
            is_last = place == len(template) - 1
            given = parts[-1] if is_last else parts[place] if len(parts) == len(template) else ""
            names[place] = given or name
    return ".".join(names)
