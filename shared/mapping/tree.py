"""What a batch may hold, as a tree: fields, objects of known or free names, lists, and an event's own fields.

The trees themselves stand in ``batch_fields``, ``event_fields`` and ``commerce_fields``; this module is their grammar.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from shared.mapping.destinations import ValueType

OPEN: Final = "<{}>"
"""In the path of a whole table's row, a name that whoever maps it is free to choose."""


@dataclass(frozen=True, slots=True)
class Field:
    """One value."""

    value: ValueType
    choices: tuple[str, ...] = ()
    is_identity: bool = False


@dataclass(frozen=True, slots=True)
class Group:
    """An object of known names; where it is sent, it must have those ``required`` and one at least of ``any_of``."""

    fields: "Mapping[str, Node]"
    required: tuple[str, ...] = ()
    any_of: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Keys:
    """An object of free names, or of those ``only``, all of whose values are alike.

    Attributes:
        of: What each value is.
        word: What a name is called, such as ``purpose``.
        only: The names that mParticle knows, where it is not free.
    """

    of: "Field | Group | Keys"
    word: str = "name"
    only: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Entries:
    """A list of objects: columns fill its only entry, or a column of structs all of them."""

    of: Group


@dataclass(frozen=True, slots=True)
class PerType:
    """An event's own fields, by the type of the event."""

    of: Mapping[str, Group]


Node = Field | Group | Keys | Entries | PerType


def merged(found: Mapping[str, Node]) -> Field | Entries:
    """Give the one field that values must fit, whichever of these event types their row is of: the strictest.

    Fields of one name are of one type in all events, and differ in their choices at most.
    """
    fields = [node for node in found.values() if isinstance(node, Field | Entries)]
    first = fields[0]
    if not isinstance(first, Field) or not first.choices:
        return first
    others = [set(field.choices) for field in fields if isinstance(field, Field)]
    return Field(first.value, tuple(one for one in first.choices if all(one in other for other in others)))


def rows_of(node: Node, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Field | Entries, str]]:
    """Give every field below a node: the names on its way, what it accepts, and the event type that has it, or ``""``.

    A list gives a row for itself and rows for the fields of its entries.
    """
    match node:
        case Field():
            yield path, node, ""
        case Group(fields=fields):
            for name, child in fields.items():
                yield from rows_of(child, (*path, name))
        case Keys(of=of, only=only, word=word):
            for name in only or (OPEN.format(word),):
                yield from rows_of(of, (*path, name))
        case Entries(of=of):
            yield path, node, ""
            yield from rows_of(of, path)
        case PerType(of=groups):
            for event_type, group in groups.items():
                for below, field, _ in rows_of(group, path):
                    yield below, field, event_type
