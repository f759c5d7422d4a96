"""Snowflake's types as Arrow's: one schema, fixed from a query's description before it runs.

========================================  =============================================================================
NUMBER(p, 0), p up to 18                  ``int64``
NUMBER(p, 0) beyond (INT, BIGINT, ...)    ``decimal128(38, 0)``
NUMBER(p, s)                              ``decimal128(p, s)``
FLOAT                                     ``double``
VARCHAR, BOOLEAN, BINARY, DATE            ``string``, ``bool``, ``binary``, ``date32``
TIME(0-6), TIME(7-9)                      ``time64[us]``, ``time64[ns]``
TIMESTAMP_NTZ                             ``timestamp[us]`` up to scale 6, ``timestamp[ns]`` beyond
TIMESTAMP_LTZ, TIMESTAMP_TZ               the same in UTC; what offset was stored is not kept
VARIANT, OBJECT, ARRAY, MAP               JSON text
GEOGRAPHY, GEOMETRY                       JSON text: GeoJSON
VECTOR                                    ``list<double>``; integers up to 2^31 are exact
========================================  =============================================================================

A timestamp of scale 7 to 9 that lies outside of 1677 to 2262 is refused when it comes: nanoseconds reach no further.
"""

from collections.abc import Iterable
from typing import Any, Final

import pyarrow as pa
from snowflake.connector.constants import FIELD_ID_TO_NAME

from shared.columns import JSON, column
from shared.errors import ModelInvalid
from worker.warehouses.base import Label

_INT64_DIGITS: Final = 18
_DECIMAL128_DIGITS: Final = 38
_MICROSECONDS: Final = 6
_PLAIN: Final = {
    "REAL": ("FLOAT", pa.float64()),
    "TEXT": ("VARCHAR", pa.string()),
    "BOOLEAN": ("BOOLEAN", pa.bool_()),
    "BINARY": ("BINARY", pa.binary()),
    "DATE": ("DATE", pa.date32()),
    "VECTOR": ("VECTOR", pa.list_(pa.float64())),
} | {name: (name, JSON) for name in ("VARIANT", "OBJECT", "ARRAY", "MAP", "GEOGRAPHY", "GEOMETRY")}
_ZONES: Final = {"TIMESTAMP_NTZ": None, "TIMESTAMP_LTZ": "UTC", "TIMESTAMP_TZ": "UTC"}


def schema_of(description: Iterable[Any], label: Label) -> pa.Schema:
    """Give the schema of a result that the client describes.

    Raises:
        ModelInvalid: a column is of a type that cannot be read.
    """
    return pa.schema([_column(described, label) for described in description])


def _column(described: Any, label: Label) -> Any:
    kind = FIELD_ID_TO_NAME.get(described.type_code, str(described.type_code))
    if kind in _PLAIN:
        word, arrow_type = _PLAIN[kind]
        return column(described.name, arrow_type, word)
    if kind == "FIXED" and described.scale is not None:
        precision = described.precision or _DECIMAL128_DIGITS
        return column(described.name, _number(precision, described.scale), f"NUMBER({precision},{described.scale})")
    scale = 9 if described.scale is None else described.scale
    unit = "us" if scale <= _MICROSECONDS else "ns"
    if kind == "TIME":
        return column(described.name, pa.time64(unit), f"TIME({scale})")
    if kind in _ZONES:
        return column(described.name, pa.timestamp(unit, _ZONES[kind]), f"{kind}({scale})")
    raise unreadable(described.name, "DECFLOAT" if kind == "FIXED" else kind, label)


def unreadable(name: str, kind: str, label: Label) -> ModelInvalid:
    """Say that a column's type cannot be read, and the cure."""
    return ModelInvalid(
        f"{label}: column {name!r} is {kind}, which cannot be read without loss; cast it in the data model, e.g. to "
        "NUMBER or VARCHAR"
    )


def _number(precision: int, scale: int) -> Any:
    if scale == 0:
        return pa.int64() if precision <= _INT64_DIGITS else pa.decimal128(_DECIMAL128_DIGITS, 0)
    return pa.decimal128(precision, scale)
