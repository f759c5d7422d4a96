"""Field transformations and plans for tests, in few words."""

from typing import Any

import pyarrow as pa
import pytest

from shared.catalog import Environment, NullPolicy
from shared.errors import MappingRefused
from shared.mapping.compile_events import compile_event_mapping
from shared.mapping.plan import MappingPlan
from shared.transformation import FieldMapping, FieldTransformation, MappingType, StaticValue

Mapped = dict[str, str | None]
"""Column, or ``static`` and a word, to the destination; None where the column is ignored."""

WHO = ("email", pa.string())
SESSION_START: Mapped = {"static session_start": "events.event_type"}


def mapping(source: str, destination: str | None) -> FieldMapping:
    """``"column"``, or ``"static word"``; without destination the column is ignored."""
    if destination is None:
        return FieldMapping(mapping_type=MappingType.IGNORE, source=source)
    if source.startswith("static "):
        return static(destination, source.removeprefix("static "))
    return FieldMapping(mapping_type=MappingType.COLUMN, source=source, destination=destination)


def static(destination: str, value: StaticValue) -> FieldMapping:
    return FieldMapping(mapping_type=MappingType.STATIC, destination=destination, value=value)


def transformation(mappings: Mapped, *others: FieldMapping) -> FieldTransformation:
    declared = tuple(mapping(source, destination) for source, destination in mappings.items())
    return FieldTransformation(id="events", name="Events", mappings=(*declared, *others))


def compiled(
    columns: list[tuple[str, Any]],
    mappings: Mapped,
    *others: FieldMapping,
    iterator: str | None = None,
    on_null: NullPolicy = NullPolicy.OMIT,
) -> MappingPlan:
    """Compile for these columns and one more, which is the identity."""
    return compile_event_mapping(
        pa.schema([WHO, *columns]),
        transformation({"email": "user_identities.email", **mappings}, *others),
        environment=Environment.PRODUCTION,
        on_null=on_null,
        iterator=iterator,
    )


def reasons(columns: list[tuple[str, Any]], mappings: Mapped, *others: FieldMapping, **options: Any) -> list[str]:
    """Give the reasons why there is no plan, one by one."""
    with pytest.raises(MappingRefused) as refused:
        compiled(columns, mappings, *others, **options)
    first, *found = str(refused.value).split("\n- ")
    assert f"({len(found)} to correct)" in first
    return found
