"""A field transformation: what an event data model's columns become, as an operator declares it.

Source: mParticle, "Field Transformations": three types of mapping, and every selected column is covered by one.
"""

from enum import StrEnum
from math import isfinite
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from shared.fields import Declared, Slug, Title

Text = Annotated[str, Field(min_length=1)]
StaticValue = bool | int | float | str


class MappingType(StrEnum):
    """What a mapping does."""

    COLUMN = "column"
    """A column's values go to the destination."""
    STATIC = "static"
    """Every batch has the value there."""
    IGNORE = "ignore"
    """The column is not sent."""


class FieldMapping(Declared):
    """One column or one value, and the field that it becomes."""

    mapping_type: MappingType
    source: Text | None = Field(None, description="the column's name")
    destination: Text | None = Field(None, description="such as events.data.event_name or user_identities.email")
    value: StaticValue | None = Field(None, description="of a static mapping: a string, number or boolean")

    @model_validator(mode="after")
    def _has_what_its_type_needs(self) -> Self:
        kind = self.mapping_type
        for name, wanted in (
            ("source", kind is not MappingType.STATIC),
            ("destination", kind is not MappingType.IGNORE),
            ("value", kind is MappingType.STATIC),
        ):
            given = getattr(self, name) is not None
            if given != wanted:
                raise ValueError(f"a mapping of the type {kind} {'needs a' if wanted else 'has no'} {name}")
        return self

    @model_validator(mode="after")
    def _can_be_kept(self) -> Self:
        if isinstance(self.value, float) and not isfinite(self.value):
            raise ValueError(f"value: {self.value} has no JSON form; give a finite number")
        if isinstance(self.value, int) and not -(2**63) <= self.value < 2**63:
            raise ValueError("value: expected a whole number of 64 bits at most; give it as a text instead")
        if any("\0" in one for one in (self.source, self.destination, self.value) if isinstance(one, str)):
            raise ValueError("source, destination and value hold no U+0000")
        return self


class FieldTransformation(Declared):
    """How the columns of an event data model become fields of batches; several pipelines may share one."""

    id: Slug
    name: Title
    destination_type: Literal["event_batch"] = "event_batch"
    mappings: Annotated[tuple[FieldMapping, ...], Field(min_length=1)]
