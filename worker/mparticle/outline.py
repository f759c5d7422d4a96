"""What one row's batch says, in order: from a mapping plan to the parts of a row.

Commas, keys and brackets depend on which columns have a value. Where a column has one in every row of a chunk, nothing
depends on it; ``Shape`` says which columns do, and an outline is made for one combination of shapes.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Union

import orjson

from shared.catalog import NullPolicy
from shared.mapping.destinations import DELETED_USER_ATTRIBUTES, SOURCE_REQUEST_ID, USER_ATTRIBUTES
from shared.mapping.plan import EVENT, EVENT_DATA, Constant, Path
from worker.mparticle.assemble import Layout, Put, Say, Texts, lay_out
from worker.mparticle.buffers import Mask
from worker.mparticle.escape import quoted

_Parts = list[Say | Put]
_When = tuple[int, ...] | None
"""The masks that must all hold: ``()`` is always, None is never."""
_Tree = dict[str | int, Union["_Tree", Constant, int]]
"""Fields of an object, or the only entry of a list under 0: objects, constants, and leaves by their numbers."""

_DELETED: Final[_Tree] = {}
"""Stands in a tree for the names of absent attributes."""


@dataclass(frozen=True, slots=True)
class Shape:
    """What belongs around a column's values, whether every row has one, and whether they are booleans in a mask."""

    opening: bytes
    closing: bytes
    is_everywhere: bool
    is_truth: bool

    @classmethod
    def of(cls, text: Texts) -> "Shape":
        """Give the shape of a column of texts."""
        return cls(text.opening, text.closing, text.present is None, text.truth is not None)


@dataclass(frozen=True, slots=True)
class Outline:
    """The layouts of a row's parts, and the masks that they need.

    Column i of a layout is field i; behind the fields comes the row's position in its chunk. Of n fields, mask i has
    the rows where field i has a value, mask n + i those where it is true, both only where they tell something. Derived
    masks follow: the opposite of one mask before, or the union of two.

    Attributes:
        row: The whole row without events, from behind ``opening`` to its comma.
        head: What stands between a row's id and its events, each member behind a comma.
        event: The row's one event.
        derived: What the derived masks are made of.
    """

    row: Layout
    head: Layout
    event: Layout | None
    derived: tuple[tuple[int, ...], ...]

    def masks(self, fields: Sequence[Texts]) -> list[Mask | None]:
        """Give all masks by their numbers, from the texts of the fields."""
        return masks_of(self.derived, fields)


def opening(chunk_id: str) -> bytes:
    """Give the text in front of every row of a chunk: up to the colon before the row's position."""
    return b'{"' + SOURCE_REQUEST_ID.encode() + b'":' + quoted(chunk_id)[:-1]


def outline(
    paths: Sequence[Path], constants: Sequence[Constant], on_null: NullPolicy, shapes: Sequence[Shape]
) -> Outline:
    """Lay out the rows of a chunk.

    Args:
        paths: Where each field goes; fields are what the layouts' columns are numbered by.
        constants: What is said in every row besides.
        on_null: What a missing user attribute means.
        shapes: What the columns of the fields are like in this chunk.
    """
    draft = _Draft(paths, on_null, shapes)
    tree = _tree(paths, constants)
    events = tree.pop(EVENT[0], None)
    if on_null is NullPolicy.DELETE:
        tree.setdefault(DELETED_USER_ATTRIBUTES, _DELETED)
    head, _ = draft.joined(draft.members(tree), seen=())
    event = draft.event(events[0]) if isinstance(events, dict) else None
    return Outline(
        lay_out([Say(b":"), Put(len(shapes)), Say(b'"'), *head, Say(b"},")]),
        lay_out(head),
        None if event is None else lay_out(event),
        tuple(draft.derived),
    )


def entry_layout(paths: Sequence[Path], shapes: Sequence[Shape]) -> tuple[Layout, tuple[tuple[int, ...], ...]]:
    """Lay out an object that is an entry of a list, behind a comma; also tell what its derived masks are made of."""
    draft = _Draft(paths, NullPolicy.OMIT, shapes)
    fields, _ = draft.joined(draft.members(_tree(paths, ())))
    return lay_out([Say(b",{"), *fields, Say(b"}")]), tuple(draft.derived)


def masks_of(derived: Sequence[tuple[int, ...]], fields: Sequence[Texts]) -> list[Mask | None]:
    """Give all masks by their numbers, from the texts of the fields and what the derived masks are made of."""
    masks = [field.present for field in fields] + [field.truth for field in fields]
    for origin in derived:
        first, *others = (mask for mask in map(masks.__getitem__, origin) if mask is not None)
        masks.append(first | others[0] if others else ~first)
    return masks


def _tree(paths: Sequence[Path], constants: Sequence[Constant]) -> _Tree:
    tree: _Tree = {}
    fields: list[tuple[Path, Constant | int]] = [(constant.path, constant) for constant in constants]
    fields += [(path, number) for number, path in enumerate(paths)]
    for path, field in fields:
        node = tree
        for name in path[:-1]:
            inner = node.setdefault(name, {})
            if not isinstance(inner, dict):
                raise TypeError(f"the mapping plan has {name!r} both as a field and as an object")
            node = inner
        node[path[-1]] = field
    return tree


class _Draft:
    """An outline in the making: parts, and when each of them is said."""

    def __init__(self, paths: Sequence[Path], on_null: NullPolicy, shapes: Sequence[Shape]) -> None:
        self.derived: list[tuple[int, ...]] = []
        self._paths = paths
        self._on_null = on_null
        self._shapes = shapes

    def members(self, tree: _Tree) -> list[tuple[_Parts, _When]]:
        """Give the members of an object, without the commas between."""
        return [self._node(quoted(str(name)) + b":", node) for name, node in tree.items()]

    def event(self, node: "_Tree | Constant | int") -> _Parts:
        """Give a row's event, which is always said, and its data, too."""
        tree: _Tree = dict(node) if isinstance(node, dict) else {}
        data = tree.pop(EVENT_DATA[-1], None)
        members, _ = self.joined(self.members(data) if isinstance(data, dict) else [])
        key = quoted(str(EVENT_DATA[-1])) + b":"
        fields, _ = self.joined([*self.members(tree), ([Say(key + b"{"), *members, Say(b"}")], ())])
        return [Say(b"{"), *fields, Say(b"}")]

    def joined(self, members: Sequence[tuple[_Parts, _When]], *, seen: _When = None) -> tuple[_Parts, _When]:
        """Put commas between those members that are said; also tell when any is.

        Args:
            members: Parts, and when they are said.
            seen: When something is said before the first of them.
        """
        parts: _Parts = []
        for said, when in members:
            if when is None:
                continue
            if seen is not None:
                parts.append(Say(b",", when + seen))
            parts += said
            seen = self._either(seen, when)
        return parts, seen

    def _node(self, key: bytes, node: "_Tree | Constant | int") -> tuple[_Parts, _When]:
        if isinstance(node, Constant):
            return [Say(key + orjson.dumps(node.value))], ()
        if isinstance(node, int):
            return self._leaf(key, node)
        if node is _DELETED:
            return self._enclosed(key + b"[", self._deleted(), b"]")
        if 0 in node:
            return self._enclosed(key + b"[", [self._node(b"", node[0])], b"]")
        return self._enclosed(key + b"{", self.members(node), b"}")

    def _enclosed(self, start: bytes, members: Sequence[tuple[_Parts, _When]], end: bytes) -> tuple[_Parts, _When]:
        parts, when = self.joined(members)
        if when is None:
            return [], None
        return [Say(start, when), *parts, Say(end, when)], when

    def _leaf(self, key: bytes, number: int) -> tuple[_Parts, _When]:
        shape = self._shapes[number]
        present = () if shape.is_everywhere else (number,)
        value: _Parts
        if shape.is_truth:
            truth = (len(self._shapes) + number,)
            value = [Say(b"true", present + truth), Say(b"false", present, unless=truth)]
        else:
            value = [Say(shape.opening, present), Put(number), Say(shape.closing, present)]
        if self._on_null is NullPolicy.NULL and present and self._is_attribute(number):
            return [Say(key), *value, Say(b"null", unless=present)], ()
        return [Say(key, present), *value], present

    def _deleted(self) -> list[tuple[_Parts, _When]]:
        members: list[tuple[_Parts, _When]] = []
        for number, path in enumerate(self._paths):
            if self._is_attribute(number) and not self._shapes[number].is_everywhere:
                absent = (self._derive(number),)
                members.append(([Say(quoted(str(path[-1])), absent)], absent))
        return members

    def _is_attribute(self, number: int) -> bool:
        return self._paths[number][0] == USER_ATTRIBUTES

    def _either(self, one: _When, other: _When) -> _When:
        if one is None or other is None:
            return other if one is None else one
        if not one or not other:
            return ()
        return (self._derive(one[0], other[0]),)

    def _derive(self, *origin: int) -> int:
        self.derived.append(origin)
        return 2 * len(self._shapes) + len(self.derived) - 1
