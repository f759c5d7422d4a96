"""A mapping plan: which column becomes which field of a batch, as a run freezes it.

The plan is a list of leaves, each a column and a path from the top of the batch, and of constants. Paths may be of any
depth, so that a plan for events needs no other form. They are lists of names and not dotted text, because the name of
a user attribute may hold a dot.
"""

from dataclasses import dataclass
from typing import Any, Final

from shared.catalog import NullPolicy
from shared.errors import PayloadUnknown
from shared.mapping.destinations import ValueType

PLAN_VERSION: Final = 1


@dataclass(frozen=True, slots=True)
class Leaf:
    """One column and the field that it becomes; ``is_identity`` says that a value ties the row to a profile."""

    column: str
    path: tuple[str, ...]
    value: ValueType
    is_identity: bool


@dataclass(frozen=True, slots=True)
class Constant:
    """A field that is the same in every batch."""

    path: tuple[str, ...]
    value: str


@dataclass(frozen=True, slots=True)
class MappingPlan:
    """How rows of one query become batches; leaves are in the query's column order, no two share a path."""

    leaves: tuple[Leaf, ...]
    constants: tuple[Constant, ...]
    on_null: NullPolicy

    def to_json(self) -> dict[str, Any]:
        """Give the plan as plain JSON values, with the version of their form."""
        return {
            "version": PLAN_VERSION,
            "on_null": self.on_null.value,
            "constants": [{"path": list(constant.path), "value": constant.value} for constant in self.constants],
            "leaves": [
                {
                    "column": leaf.column,
                    "path": list(leaf.path),
                    "value": leaf.value.value,
                    "is_identity": leaf.is_identity,
                }
                for leaf in self.leaves
            ],
        }

    @classmethod
    def from_json(cls, frozen: dict[str, Any]) -> "MappingPlan":
        """Rebuild a plan from what ``to_json`` gave.

        Raises:
            PayloadUnknown: the plan has a form that this version cannot read.
        """
        if frozen.get("version") != PLAN_VERSION:
            raise PayloadUnknown(
                f"a mapping plan has version {frozen.get('version')!r}, expected {PLAN_VERSION}: "
                "it was frozen by another release; let a worker of that release finish the run"
            )
        try:
            return cls(
                leaves=tuple(
                    Leaf(leaf["column"], tuple(leaf["path"]), ValueType(leaf["value"]), bool(leaf["is_identity"]))
                    for leaf in frozen["leaves"]
                ),
                constants=tuple(
                    Constant(tuple(constant["path"]), constant["value"]) for constant in frozen["constants"]
                ),
                on_null=NullPolicy(frozen["on_null"]),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise PayloadUnknown(
                f"a mapping plan of version {PLAN_VERSION} is not complete: {error!r}; the run's snapshot was damaged"
            ) from error
