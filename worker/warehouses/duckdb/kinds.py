"""DuckDB's types as Arrow's: what is cast in SQL, what is refused, and where JSON hides in text."""

from typing import Any, Final

import pyarrow as pa

from shared.columns import JSON
from shared.errors import ModelInvalid
from worker.warehouses.base import Label

_CASTS: Final = {
    **dict.fromkeys(("enum", "bit", "bignum", "uhugeint", "interval", "union", "geometry"), "VARCHAR"),
    "time with time zone": "VARCHAR",
    "variant": "JSON",
}
"""What Arrow would lose or garble, and what it is cast to."""
_NESTED: Final = frozenset({"list", "array", "struct", "map", "tuple"})


def word(kind: Any) -> str:
    """Give DuckDB's word for a type, without an enumeration's values."""
    return "ENUM" if kind.id == "enum" else str(kind).strip('"')


def replacement(name: str, kind: Any, *, label: Label) -> str | None:
    """Give the SQL that a column must be replaced with so that Arrow can hold it; None if it is fine.

    Raises:
        ModelInvalid: such a type is inside of another one.
    """
    target = _CASTS.get(kind.id)
    if target is not None:
        quoted = '"' + name.replace('"', '""') + '"'
        return f"CAST({quoted} AS {target}) AS {quoted}"
    if _holds_lossy(kind):
        raise ModelInvalid(
            f"{label}: column {name!r} is {kind}, which cannot be read without loss; cast it in the data model, e.g. "
            "to JSON or VARCHAR, inside as well as outside"
        )
    return None


def arrow_type(delivered: Any, kind: Any) -> Any:
    """Give the Arrow type that says what the values are, from the one that DuckDB delivers: JSON comes as text."""
    if str(kind) == "JSON" or kind.id == "variant":
        return JSON
    match kind.id:
        case "list":
            return pa.list_(_field(delivered.value_field, kind.children[0]))
        case "array":
            return pa.list_(_field(delivered.value_field, kind.children[0]), delivered.list_size)
        case "struct" | "tuple":
            return pa.struct([_field(field, child) for field, child in zip(delivered, kind.children, strict=True)])
        case "map":
            key, value = kind.children
            return pa.map_(_field(delivered.key_field, key), _field(delivered.item_field, value))
        case _:
            return delivered


def _field(field: Any, child: tuple[str, Any]) -> Any:
    return field.with_type(arrow_type(field.type, child[1]))


def _holds_lossy(kind: Any) -> bool:
    if kind.id not in _NESTED:
        return kind.id in _CASTS
    return any(_holds_lossy(child) for name, child in kind.children if name != "size")
