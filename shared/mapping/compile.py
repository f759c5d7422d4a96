"""From the columns of a user data model to a mapping plan, or to all the reasons why there is none."""

from collections import defaultdict
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from shared.catalog import Environment, NullPolicy
from shared.columns import warehouse_type
from shared.errors import MappingRefused
from shared.mapping.destinations import ENVIRONMENT, RESERVED, Destination, ValueType, destination_of
from shared.mapping.meanings import why_not
from shared.mapping.plan import Constant, Leaf, MappingPlan


def compile_user_mapping(
    schema: Any,
    *,
    environment: Environment,
    on_null: NullPolicy,
    iterator: str | None,
    rename: Mapping[str, str] = MappingProxyType({}),
) -> MappingPlan:
    """Map the columns of a user data model by their names.

    Args:
        schema: Arrow schema (``pa.Schema``) of the query's result.
        environment: Goes into every batch.
        on_null: What a NULL in an attribute column means.
        iterator: The iterator column, left out of the batches; compared without regard to case.
        rename: Other names for columns, where the warehouse cannot spell an attribute's; compared in the same way.

    Raises:
        MappingRefused: columns have no meaning or share a destination, or none is an identity. The message names
            every such column, its type and the cure.
    """
    columns = [field for field in schema if iterator is None or field.name.lower() != iterator.lower()]
    meanings = [meaning_of(field, rename) for field in columns]
    destinations = [destination for destination, _ in meanings]
    reasons = [
        f"column {shown(field.name)} ({warehouse_type(field)}): {reason}"
        for field, (_, reason) in zip(columns, meanings, strict=True)
        if reason
    ]
    reasons += _shared_destinations(columns, destinations)
    reasons += [
        f"rename: there is no column {shown(old)} to be called {shown(new)}"
        for old, new in rename.items()
        if old.lower() not in {field.name.lower() for field in columns}
    ]
    if not any(destination.is_identity for destination in destinations):
        reasons.append(
            "no column is an identity, so no row belongs to anybody: name one, with AS, "
            f"like one of {', '.join(RESERVED)}"
        )
    if reasons:
        raise MappingRefused(
            f"the data model's columns cannot all become mParticle fields ({len(reasons)} to correct):\n"
            + "\n".join(f"- {reason}" for reason in reasons)
        )
    return MappingPlan(
        leaves=tuple(
            Leaf(field.name, destination.path, destination.value, destination.is_identity)
            for field, destination in zip(columns, destinations, strict=True)
        ),
        constants=(Constant((ENVIRONMENT,), environment.value),),
        on_null=on_null,
    )


def meaning_of(field: Any, rename: Mapping[str, str]) -> tuple[Destination, str | None]:
    """Say where a column (``pa.Field``) goes, and why it cannot, if so: half a sentence with the cure."""
    names = {old.lower(): new for old, new in rename.items()}
    name = names.get(field.name.lower(), field.name)
    destination = destination_of(name)
    return destination, _why_refused(field, name, destination)


def _why_refused(field: Any, name: str, destination: Destination) -> str | None:
    if destination.value is ValueType.ATTRIBUTE and not name:
        return "it has no name; give it one with AS"
    return why_not(destination.value, field.type)


def _shared_destinations(columns: list[Any], destinations: list[Destination]) -> list[str]:
    claims: defaultdict[Destination, list[Any]] = defaultdict(list)
    for field, destination in zip(columns, destinations, strict=True):
        claims[destination].append(field)
    return [
        f"columns {', '.join(f'{shown(field.name)} ({warehouse_type(field)})' for field in fields)} all go to "
        f"{shown(str(destination))}; select one of them, or rename the others with AS"
        for destination, fields in claims.items()
        if len(fields) > 1
    ]


def shown(name: str, most_chars: int = 60) -> str:
    """Give a name as messages do: in quotes, and not much longer than a line."""
    return repr(name if len(name) <= most_chars else name[:most_chars] + "…")
