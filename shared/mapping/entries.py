"""Columns whose values are lists of structs: what becomes of the structs' fields.

A list of products may be a column ``LIST<STRUCT<...>>``, whose fields are checked when a run is planned, or JSON, whose
entries only come with the rows: of those every field is listed that an entry may have, and an object of free names is
one field. A field of a struct in a struct is named ``outer.inner``.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import Any

from pyarrow import types

from shared.mapping.destinations import ValueType
from shared.mapping.meanings import is_json, is_list, unwrapped, why_not
from shared.mapping.plan import ANY_NAME, Leaf, Need, Path
from shared.mapping.tree import Entries, Field, Group, Keys, Node


@dataclass(slots=True)
class Members:
    """What the entries of a list are made of, or the reasons why they cannot be: half sentences with the cure."""

    leaves: list[Leaf] = field(default_factory=list)
    reasons: list[str] = field(default_factory=list)
    needs: tuple[Need, ...] = ()


def members_of(entries: Entries, arrow_type: Any) -> Members:
    """Give what becomes of a column of this type (``pa.DataType``) as a list of such entries."""
    group, plain = entries.of, unwrapped(arrow_type)
    found = Members(needs=(Need((), group.required),) if group.required else ())
    listed = unwrapped(plain.value_type) if is_list(plain) else None
    if is_json(plain) or is_json(listed):
        found.leaves = list(_of_json(group))
        return found
    if listed is None or not types.is_struct(listed):
        found.reasons.append("a list of structs is expected, or JSON; make the column one in SQL")
        return found
    _add_fields(found, group, listed)
    absent = [name for name in group.required if name not in {leaf.path[0] for leaf in found.leaves}]
    if absent and not found.reasons:
        found.reasons.append(f"its structs have no field {', '.join(absent)}, which each entry needs; add it in SQL")
    return found


def _add_fields(found: Members, group: Group, struct: Any) -> None:
    claimed: dict[str, str] = {}
    for part in struct:
        name = named_like(part.name, group.fields)
        if name is None:
            (nearest,) = get_close_matches(part.name.lower(), group.fields, 1, 0.0)
            found.reasons.append(
                f"its structs' field {part.name!r} is none that an entry has; the nearest is {nearest!r}: rename it or "
                "leave it out in SQL"
            )
        elif name in claimed:
            found.reasons.append(f"its structs' fields {claimed[name]!r} and {part.name!r} are both {name!r}")
        else:
            claimed[name] = part.name
            _add(found, part, group.fields[name], (name,))


def _add(found: Members, part: Any, node: Node, path: Path) -> None:
    match node:
        case Field():
            if reason := why_not(node.value, part.type, is_identity=False):
                found.reasons.append(f"its structs' field {part.name!r}: {reason}")
            found.leaves.append(Leaf(part.name, path, node.value, choices=node.choices))
        case Entries():
            below = members_of(node, part.type)
            found.reasons += [f"its structs' field {part.name!r}: {reason}" for reason in below.reasons]
            found.leaves.append(
                Leaf(part.name, path, ValueType.OBJECTS, members=tuple(below.leaves), needs=below.needs)
            )
        case Keys(of=Field() as of):
            struct = unwrapped(part.type)
            if not types.is_struct(struct):
                found.reasons.append(
                    f"its structs' field {part.name!r} must be a struct itself, because its names are fixed when a run "
                    "is planned; make it one in SQL"
                )
                return
            for inner in struct:
                name = f"{part.name}.{inner.name}"
                if reason := why_not(of.value, inner.type, is_identity=False):
                    found.reasons.append(f"its structs' field {name!r}: {reason}")
                found.leaves.append(Leaf(name, (*path, inner.name), of.value))
        case _:
            raise TypeError(f"no list's entries hold a {type(node).__name__}")


def _of_json(group: Group) -> Iterator[Leaf]:
    for name, node in group.fields.items():
        match node:
            case Field():
                yield Leaf(name, (name,), node.value, choices=node.choices)
            case Entries(of=of):
                needs = (Need((), of.required),) if of.required else ()
                yield Leaf(name, (name,), ValueType.OBJECTS, members=tuple(_of_json(of)), needs=needs)
            case Keys(of=Field() as of):
                any_name = Leaf(ANY_NAME, (ANY_NAME,), of.value)
                yield Leaf(name, (name,), ValueType.OBJECTS, members=(any_name,))
            case _:
                raise AssertionError(f"no list's entries hold a {type(node).__name__}")


def named_like(name: str, names: Iterable[str]) -> str | None:
    """Give the one of some names that is meant: the same, or else the only one that differs in case alone."""
    known = list(names)
    if name in known:
        return name
    alike = [one for one in known if one.casefold() == name.casefold()]
    return alike[0] if len(alike) == 1 else None
