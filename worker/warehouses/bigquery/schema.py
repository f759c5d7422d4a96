"""BigQuery's types in Arrow: one fixed schema, made of what a query's dry run announces.

=====================  ============================================================================================
BigQuery               Arrow
=====================  ============================================================================================
INT64, FLOAT64, BOOL   ``int64``, ``double``, ``bool``
NUMERIC, BIGNUMERIC    ``decimal128(38, 9)``, ``decimal256(76, 38)``, whatever precision a column declares
STRING, BYTES          ``string``, ``binary``
DATE, TIME             ``date32``, ``time64[us]``
DATETIME, TIMESTAMP    ``timestamp[us]``, ``timestamp[us, UTC]``
JSON                   ``arrow.json``; inside of another type ``string``, its JSON text
GEOGRAPHY              ``string``, well-known text
INTERVAL               ``month_day_nano_interval``
RANGE                  ``struct`` of ``start`` and ``end``
STRUCT, ARRAY          ``struct``, ``list``; BigQuery stores a NULL array as an empty one
=====================  ============================================================================================

Source: BigQuery, "Use the BigQuery Storage Read API to read table data", section "Arrow schema details".
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import pyarrow as pa
from google.cloud.bigquery import SchemaField
from google.cloud.bigquery.enums import TimestampPrecision

from shared.columns import JSON, column
from shared.errors import ModelInvalid
from worker.warehouses.base import Label

_WORDS: Final = {"INTEGER": "INT64", "FLOAT": "FLOAT64", "BOOLEAN": "BOOL", "RECORD": "STRUCT"}
"""What the API calls a type that SQL calls otherwise."""
_SCALARS: Final[Mapping[str, Any]] = {
    "INT64": pa.int64(),
    "FLOAT64": pa.float64(),
    "NUMERIC": pa.decimal128(38, 9),
    "BIGNUMERIC": pa.decimal256(76, 38),
    "BOOL": pa.bool_(),
    "STRING": pa.string(),
    "BYTES": pa.binary(),
    "DATE": pa.date32(),
    "TIME": pa.time64("us"),
    "DATETIME": pa.timestamp("us"),
    "TIMESTAMP": pa.timestamp("us", "UTC"),
    "JSON": pa.string(),
    "GEOGRAPHY": pa.string(),
    "INTERVAL": pa.month_day_nano_interval(),
}


def schema_of(fields: Sequence[SchemaField], label: Label) -> pa.Schema:
    """Give the Arrow schema of a result; fields know the type as SQL writes it.

    Raises:
        ModelInvalid: a column's type cannot be read, or not without loss; the sentence names the column.
    """
    columns = []
    for field in fields:
        word = _word(field)
        arrow_type = JSON if word == "JSON" else _arrow_type(field, field.name, label)
        columns.append(column(field.name, arrow_type, word))
    return pa.schema(columns)


def _arrow_type(field: SchemaField, name: str, label: Label) -> Any:
    """Give one field's type; ``name`` is how an operator finds it, with the fields around it."""
    kind = _WORDS.get(field.field_type, field.field_type)
    if kind == "STRUCT":
        members = [(part.name, _arrow_type(part, f"{name}.{part.name}", label)) for part in field.fields]
        arrow_type = pa.struct(members)
    elif kind == "RANGE":
        ends = _SCALARS[field.range_element_type.element_type]
        arrow_type = pa.struct([("start", ends), ("end", ends)])
    elif kind not in _SCALARS:
        raise ModelInvalid(
            f"{label}: column {name!r} is {kind}, a type that cannot be read; cast it in the data model, e.g. to STRING"
        )
    elif kind == "TIMESTAMP" and field.timestamp_precision is not TimestampPrecision.MICROSECOND:
        raise ModelInvalid(
            f"{label}: column {name!r} is a TIMESTAMP of picoseconds, which cannot be read without loss; write "
            "TIMESTAMP_TRUNC(..., MICROSECOND) in the data model, or cast it to STRING"
        )
    else:
        arrow_type = _SCALARS[kind]
    return pa.list_(arrow_type) if field.mode == "REPEATED" else arrow_type


def _word(field: SchemaField) -> str:
    kind = _WORDS.get(field.field_type, field.field_type)
    if kind == "STRUCT":
        kind = f"STRUCT<{', '.join(f'{part.name} {_word(part)}' for part in field.fields)}>"
    elif kind == "RANGE":
        kind = f"RANGE<{field.range_element_type.element_type}>"
    return f"ARRAY<{kind}>" if field.mode == "REPEATED" else str(kind)
