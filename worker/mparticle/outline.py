"""What one row's batch says, in order: from a mapping plan to the parts of a row.

Commas, keys and brackets depend on which columns have a value. Where a column has one in every row of a block, nothing
depends on it; ``Shape`` says which columns do, and an outline is made for one combination of shapes.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Union

from shared.catalog import NullPolicy
from shared.mapping.destinations import DELETED_USER_ATTRIBUTES, SOURCE_REQUEST_ID, USER_ATTRIBUTES
from shared.mapping.plan import Constant, MappingPlan
from worker.mparticle.assemble import Layout, Put, Say, Texts, lay_out
from worker.mparticle.buffers import Mask
from worker.mparticle.escape import quoted

_Parts = list[Say | Put]
_When = tuple[int, ...] | None
"""The masks that must all hold: ``()`` is always, None is never."""
_Tree = dict[str, Union["_Tree", Constant, int]]
"""Fields of an object: objects, constants, and leaves by their numbers."""

_DELETED: Final[_Tree] = {}
"""Stands in a tree for the names of absent attributes."""


@dataclass(frozen=True, slots=True)
class Shape:
    """What belongs around a column's values, whether every row has one, and whether they are booleans in a mask."""

    opening: bytes
    closing: bytes
    is_everywhere: bool
    is_truth: bool


@dataclass(frozen=True, slots=True)
class Outline:
    """The layout of a row, and the masks that it needs.

    Column i of the layout is leaf i of the plan; behind the leaves comes the row's position in its chunk. Of n leaves,
    mask i has the rows where leaf i has a value, mask n + i those where it is true, both only where they tell
    something. Derived masks follow: the opposite of one mask before, or the union of two.
    """

    layout: Layout
    derived: tuple[tuple[int, ...], ...]

    def masks(self, leaves: Sequence[Texts]) -> list[Mask | None]:
        """Give all masks by their numbers, from the texts of the leaves."""
        masks = [leaf.present for leaf in leaves] + [leaf.truth for leaf in leaves]
        for origin in self.derived:
            first, *others = (mask for mask in map(masks.__getitem__, origin) if mask is not None)
            masks.append(first | others[0] if others else ~first)
        return masks


def opening(chunk_id: str) -> bytes:
    """Give the text in front of every row of a chunk: up to the colon before the row's position."""
    return b'{"' + SOURCE_REQUEST_ID.encode() + b'":' + quoted(chunk_id)[:-1]


def outline(plan: MappingPlan, shapes: Sequence[Shape]) -> Outline:
    """Lay out the rows of a block whose columns, one for each leaf of the plan, have these shapes.

    A row's text begins where ``opening`` ends and itself ends with a comma.
    """
    draft = _Draft(plan, shapes)
    fields, _ = draft.joined(draft.members(_tree(plan)), seen=())
    parts = [Say(b":"), Put(len(shapes)), Say(b'"'), *fields, Say(b"},")]
    return Outline(lay_out(parts), tuple(draft.derived))


def _tree(plan: MappingPlan) -> _Tree:
    tree: _Tree = {}
    constants = [(constant.path, constant) for constant in plan.constants]
    leaves = [(leaf.path, number) for number, leaf in enumerate(plan.leaves)]
    fields: list[tuple[tuple[str, ...], Constant | int]] = [*constants, *leaves]
    for path, field in fields:
        node = tree
        for name in path[:-1]:
            inner = node.setdefault(name, {})
            if not isinstance(inner, dict):
                raise TypeError(f"the mapping plan has {name!r} both as a field and as an object")
            node = inner
        node[path[-1]] = field
    if plan.on_null is NullPolicy.DELETE:
        tree[DELETED_USER_ATTRIBUTES] = _DELETED
    return tree


class _Draft:
    """An outline in the making: parts, and when each of them is said."""

    def __init__(self, plan: MappingPlan, shapes: Sequence[Shape]) -> None:
        self.derived: list[tuple[int, ...]] = []
        self._plan = plan
        self._shapes = shapes

    def members(self, tree: _Tree) -> list[tuple[_Parts, _When]]:
        """Give the members of an object, without the commas between."""
        return [self._member(name, node) for name, node in tree.items()]

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

    def _member(self, name: str, node: "_Tree | Constant | int") -> tuple[_Parts, _When]:
        key = quoted(name) + b":"
        if isinstance(node, Constant):
            return [Say(key + quoted(node.value))], ()
        if isinstance(node, int):
            return self._leaf(key, node)
        if node is _DELETED:
            return self._enclosed(key + b"[", self._deleted(), b"]")
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
        if self._plan.on_null is NullPolicy.NULL and present and self._is_attribute(number):
            return [Say(key), *value, Say(b"null", unless=present)], ()
        return [Say(key, present), *value], present

    def _deleted(self) -> list[tuple[_Parts, _When]]:
        members: list[tuple[_Parts, _When]] = []
        for number, leaf in enumerate(self._plan.leaves):
            if self._is_attribute(number) and not self._shapes[number].is_everywhere:
                absent = (self._derive(number),)
                members.append(([Say(quoted(leaf.path[-1]), absent)], absent))
        return members

    def _is_attribute(self, number: int) -> bool:
        return self._plan.leaves[number].path[0] == USER_ATTRIBUTES

    def _either(self, one: _When, other: _When) -> _When:
        if one is None or other is None:
            return other if one is None else one
        if not one or not other:
            return ()
        return (self._derive(one[0], other[0]),)

    def _derive(self, *origin: int) -> int:
        self.derived.append(origin)
        return 2 * len(self._shapes) + len(self.derived) - 1
