"""A mapping plan: which column becomes which field of a batch, as a run freezes it.

The plan is a list of leaves, each a column and a path from the top of the batch, of constants, and of needs: fields
that an object must have where it is sent. Paths are lists of names and not dotted text, because the name of an
attribute may hold a dot; the number 0 in a path is the only entry of a list, such as a row's one event.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from shared.catalog import NullPolicy
from shared.errors import PayloadUnknown
from shared.mapping.destinations import ValueType

PLAN_VERSION: Final = 2
_READABLE: Final = frozenset({1, 2})

Path = tuple[str | int, ...]

ANY_NAME: Final = "*"
"""In place of the name of a member that stands for every one: JSON tells which there are."""

EVENT: Final[Path] = ("events", 0)
EVENT_TYPE: Final[Path] = (*EVENT, "event_type")
EVENT_DATA: Final[Path] = (*EVENT, "data")
EVENT_TIME: Final[Path] = (*EVENT_DATA, "timestamp_unixtime_ms")


@dataclass(frozen=True, slots=True)
class Leaf:
    """One column and the field that it becomes.

    A member of ``objects`` whose only member has ``ANY_NAME`` is one object, of free names and values of one kind.

    Attributes:
        column: The column's name; of a member, the name of a field of the list's structs.
        path: Where the value goes; of a member, from the top of the list's entry.
        value: What the field accepts.
        is_identity: Whether a value ties the row to a profile.
        choices: The words that a ``choice`` may be.
        event_types: Rows with events of these types only have the field; empty: all rows.
        members: What the entries of ``objects`` are made of.
        needs: What each of these entries must have.
    """

    column: str
    path: Path
    value: ValueType
    is_identity: bool = False
    choices: tuple[str, ...] = ()
    event_types: tuple[str, ...] = ()
    members: tuple["Leaf", ...] = ()
    needs: tuple["Need", ...] = ()

    @property
    def has_any_name(self) -> bool:
        """Whether it is one object of free names, and no list."""
        return [member.path for member in self.members] == [(ANY_NAME,)]


@dataclass(frozen=True, slots=True)
class Constant:
    """A field that is the same in every batch, or in those with events of ``event_types``."""

    path: Path
    value: str | bool | int | float
    event_types: tuple[str, ...] = ()


class Needed(StrEnum):
    """How many of the needed fields must be there."""

    ALL = "all"
    ANY = "any"


@dataclass(frozen=True, slots=True)
class Need:
    """An object, where anything of it is sent, must have these ``fields``; ``event_types`` as of a leaf.

    A row's event and its ``data`` are always sent. A field may be an object itself.
    """

    path: Path
    fields: tuple[str, ...]
    needed: Needed = Needed.ALL
    event_types: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class MappingPlan:
    """How rows of one query become batches; leaves are in the query's column order, no two share a path."""

    leaves: tuple[Leaf, ...]
    constants: tuple[Constant, ...]
    on_null: NullPolicy
    needs: tuple[Need, ...] = ()

    @property
    def has_events(self) -> bool:
        """Whether each row is an event; otherwise its batch has none."""
        fields: tuple[Leaf | Constant, ...] = (*self.constants, *self.leaves)
        return any(field.path[: len(EVENT)] == EVENT for field in fields)

    @property
    def names(self) -> frozenset[str]:
        """Every name in its paths: what may be told of a batch's fields, because no row holds it."""
        paths = [leaf.path for leaf in self.leaves] + [constant.path for constant in self.constants]
        paths += [member.path for leaf in self.leaves for member in leaf.members]
        return frozenset(str(name) for path in paths for name in path)

    def to_json(self) -> dict[str, Any]:
        """Give the plan as plain JSON values, with the version of their form."""
        return {
            "version": PLAN_VERSION,
            "on_null": self.on_null.value,
            "constants": [
                {
                    "path": list(constant.path),
                    "value": constant.value,
                    **_unless_empty(event_types=list(constant.event_types)),
                }
                for constant in self.constants
            ],
            "leaves": [_leaf_to_json(leaf) for leaf in self.leaves],
            "needs": [_need_to_json(need) for need in self.needs],
        }

    @classmethod
    def from_json(cls, frozen: dict[str, Any]) -> "MappingPlan":
        """Rebuild a plan from what ``to_json`` gave, in this release or the one before.

        Raises:
            PayloadUnknown: the plan has a form that this version cannot read.
        """
        if frozen.get("version") not in _READABLE:
            raise PayloadUnknown(
                f"a mapping plan has version {frozen.get('version')!r}, expected {PLAN_VERSION}: "
                "it was frozen by another release; let a worker of that release finish the run"
            )
        try:
            return cls(
                leaves=tuple(_leaf(leaf) for leaf in frozen["leaves"]),
                constants=tuple(
                    Constant(
                        tuple(constant["path"]), constant["value"], event_types=tuple(constant.get("event_types", ()))
                    )
                    for constant in frozen["constants"]
                ),
                on_null=NullPolicy(frozen["on_null"]),
                needs=tuple(_need(need) for need in frozen.get("needs", ())),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise PayloadUnknown(
                f"a mapping plan of version {frozen['version']} is not complete: {error!r}; the run's snapshot was "
                "damaged"
            ) from error


def _leaf_to_json(leaf: Leaf) -> dict[str, Any]:
    return {
        "column": leaf.column,
        "path": list(leaf.path),
        "value": leaf.value.value,
        "is_identity": leaf.is_identity,
        **_unless_empty(
            choices=list(leaf.choices),
            event_types=list(leaf.event_types),
            members=[_leaf_to_json(member) for member in leaf.members],
            needs=[_need_to_json(need) for need in leaf.needs],
        ),
    }


def _leaf(frozen: dict[str, Any]) -> Leaf:
    return Leaf(
        frozen["column"],
        tuple(frozen["path"]),
        ValueType(frozen["value"]),
        bool(frozen["is_identity"]),
        choices=tuple(frozen.get("choices", ())),
        event_types=tuple(frozen.get("event_types", ())),
        members=tuple(_leaf(member) for member in frozen.get("members", ())),
        needs=tuple(_need(need) for need in frozen.get("needs", ())),
    )


def _need_to_json(need: Need) -> dict[str, Any]:
    return {
        "path": list(need.path),
        "fields": list(need.fields),
        "needed": need.needed.value,
        **_unless_empty(event_types=list(need.event_types)),
    }


def _need(frozen: dict[str, Any]) -> Need:
    return Need(
        tuple(frozen["path"]),
        tuple(frozen["fields"]),
        Needed(frozen["needed"]),
        event_types=tuple(frozen.get("event_types", ())),
    )


def _unless_empty(**lists: list[Any]) -> dict[str, list[Any]]:
    return {name: entries for name, entries in lists.items() if entries}
