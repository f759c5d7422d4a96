"""A window's bounds as the client's typed parameters, in the type of the column that they are compared with."""

from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal
from typing import Any, Final

from databricks.sql.parameters import (
    BigIntegerParameter,
    DateParameter,
    DecimalParameter,
    IntegerParameter,
    SmallIntParameter,
    TimestampNTZParameter,
    TimestampParameter,
    TinyIntParameter,
)

from shared.sql import Bound
from worker.warehouses.databricks.schema import word_of

_INTEGERS: Final = {
    "tinyint": (TinyIntParameter, 2**7),
    "smallint": (SmallIntParameter, 2**15),
    "int": (IntegerParameter, 2**31),
}
"""What binds each of the smaller integers, and the first that it cannot hold."""


def bound_parameters(bounds: Mapping[str, Bound]) -> list[Any] | None:
    """Give the parameters of a query by name; None where it has none, as the client wants it."""
    return [_parameter(name, bound) for name, bound in bounds.items()] or None


def _parameter(name: str, bound: Bound) -> Any:
    value = bound.value
    if isinstance(value, datetime):
        return (TimestampNTZParameter if value.tzinfo is None else TimestampParameter)(value, name=name)
    if not isinstance(value, int):
        return DateParameter(value, name=name)
    word = word_of(bound.warehouse_type)
    if word == "decimal":
        return DecimalParameter(Decimal(value), name=name)
    kind, limit = _INTEGERS.get(word, (BigIntegerParameter, 2**63))
    # One that the column's type cannot hold is compared as a bigint rather than refused: no row reaches it.
    return (kind if -limit <= value < limit else BigIntegerParameter)(value, name=name)
