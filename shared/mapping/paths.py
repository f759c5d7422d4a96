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
from typing import Final, assert_never

from shared.mapping.batch_fields import BATCH, UNSETTABLE
from shared.mapping.event_fields import EVENT_TYPES
from shared.mapping.plan import EVENT, Path
from shared.mapping.tree import OPEN, Entries, Field, Group, Keys, Node, PerType, rows_of

_INDEX: Final = re.compile(r"\[(?:0|\*)?\]$")
_ANY_INDEX: Final = re.compile(r"\[[^\]]*\]")
_EVENTS: Final = ("events",)
"""The one list that no column fills as a whole: a row is one event."""
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
    found = {event_type: end for event_type in EVENT_TYPES if (end := _walk(BATCH, rest, event_type)) is not None}
    by_type = {event_type: end.node for event_type, end in found.items() if isinstance(end.node, Field | Entries)}
    if by_type:
        first = found[next(iter(by_type))]
        return Place(first.path, MappingProxyType(by_type), first.enclosing)
    if found:
        example = _example(next(iter(found.values())), plain)
        return Unknown(f"is an object and not a field; map what it has, such as {example!r}")
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
    return tuple(dict.fromkeys(path for path, _, _ in rows_of(BATCH) if path != _EVENTS))


def _walk(node: Node, rest: str, event_type: str, here: _Found | None = None) -> _Found | None:
    """Follow a path from a node, as events of a type have it; give where it ends, or None if it ends nowhere."""
    if not rest and here is not None:
        return here
    only: tuple[str, ...] = ()
    child: Node | None
    match node:
        case PerType(of=groups):
            return _walk(groups[event_type], rest, event_type, here)
        case Group(fields=fields):
            written, rest = _next(rest)
            name = _INDEX.sub("", written)
            child = fields.get(name)
            if name != written and not isinstance(child, Entries):
                return None
        case Keys(of=Group() as child, only=only):
            name, _, rest = rest.rpartition(".")
        case Keys(of=Keys() as child, only=only):
            name, rest = _next(rest)
        case Keys(of=child, only=only):
            name, rest = rest, ""
        case Field() | Entries():
            return None
        case _:
            assert_never(node)
    if child is None or not name or (only and name not in only):
        return None
    end = _entered(name, child, here or _Found((), node), is_whole=not rest)
    return _walk(end.node, rest, event_type, end)


def _entered(name: str, child: Node, here: _Found, *, is_whole: bool) -> _Found:
    """Go one name further: into the only entry of a list, unless the list is meant as a whole."""
    path: Path = (*here.path, name)
    if isinstance(child, Entries) and (not is_whole or path == _EVENTS):
        path, child = (*path, 0), child.of
    if isinstance(child, Group) and child.required and path != EVENT:
        return _Found(path, child, (*here.enclosing, Enclosing(path, child)))
    return _Found(path, child, here.enclosing)


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
