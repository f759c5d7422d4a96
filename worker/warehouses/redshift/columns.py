"""Redshift's types as Arrow's: what a query's description promises, and how it is kept."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import pyarrow as pa
from redshift_connector.config import FC_BINARY, FC_TEXT
from redshift_connector.utils.oids import RedshiftOID as Oid
from redshift_connector.utils.type_utils import int4_recv, int8_recv, text_recv

from shared.columns import JSON, column
from shared.errors import ModelInvalid
from worker.warehouses.base import Label
from worker.warehouses.redshift import values

_HEADER: Final = 4
"""What a type modifier counts besides a length or a precision and scale."""

RECEIVED: Final[Mapping[int, tuple[int, Callable[[bytes, int, int], Any]]]] = {
    Oid.NUMERIC: (FC_TEXT, text_recv),
    Oid.DATE: (FC_TEXT, text_recv),
    Oid.TIME: (FC_TEXT, text_recv),
    Oid.TIMETZ: (FC_TEXT, text_recv),
    Oid.TIMESTAMP: (FC_BINARY, int8_recv),
    Oid.TIMESTAMPTZ: (FC_BINARY, int8_recv),
    Oid.INTERVALY2M: (FC_BINARY, int4_recv),
    Oid.INTERVALD2S: (FC_BINARY, int8_recv),
    Oid.VARBYTE: (FC_TEXT, text_recv),
}
"""By type, the wire format to ask for and how to take it; other types as the client does."""


@dataclass(frozen=True, slots=True)
class Described:
    """A column of a result, as the server describes it."""

    name: str
    oid: int
    modifier: int


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a result: its field, and how its received values become an array of the field's type."""

    field: Any
    to_arrow: Callable[[Sequence[Any], Any], Any]


_PLAIN: Final[Mapping[int, tuple[str, Any, Callable[[Sequence[Any], Any], Any]]]] = {
    Oid.BOOLEAN: ("boolean", pa.bool_(), pa.array),
    Oid.SMALLINT: ("smallint", pa.int16(), pa.array),
    Oid.INTEGER: ("integer", pa.int32(), pa.array),
    Oid.BIGINT: ("bigint", pa.int64(), pa.array),
    Oid.OID: ("oid", pa.int64(), pa.array),
    Oid.REAL: ("real", pa.float32(), pa.array),
    Oid.FLOAT: ("double precision", pa.float64(), pa.array),
    Oid.CHAR: ('"char"', pa.string(), pa.array),
    Oid.NAME: ("name", pa.string(), pa.array),
    Oid.TEXT: ("text", pa.string(), pa.array),
    Oid.UNKNOWN: ("unknown", pa.string(), pa.array),
    Oid.DATE: ("date", pa.date32(), values.dates),
    Oid.TIME: ("time", pa.time64("us"), values.times),
    Oid.TIMETZ: ("timetz", pa.string(), pa.array),
    Oid.TIMESTAMP: ("timestamp", pa.timestamp("us"), values.timestamps),
    Oid.TIMESTAMPTZ: ("timestamptz", pa.timestamp("us", "UTC"), values.timestamps),
    Oid.INTERVALY2M: ("interval year to month", pa.month_day_nano_interval(), values.months),
    Oid.INTERVALD2S: ("interval day to second", pa.duration("us"), pa.array),
    Oid.SUPER: ("super", JSON, values.json_texts),
    Oid.VARBYTE: ("varbyte", pa.binary(), values.bytes_of_hex),
}
_REFUSED: Final = {
    Oid.GEOMETRY: ("geometry", "select ST_AsText(...) or ST_AsGeoJSON(...) of it"),
    Oid.GEOMETRYHEX: ("geometry", "select ST_AsText(...) or ST_AsGeoJSON(...) of it"),
    Oid.GEOGRAPHY: ("geography", "select ST_AsText(...) or ST_AsGeoJSON(...) of it"),
    Oid.INTERVAL: ("interval", "select a number instead, e.g. DATEDIFF(second, ...), or cast it to VARCHAR"),
}


def column_of(described: Described, *, label: Label) -> Column:
    """Give a described column as Arrow's.

    Raises:
        ModelInvalid: its type cannot be read without loss; the sentence names the column and the cure.
    """
    name, oid, modifier = described.name, described.oid, described.modifier
    if oid == Oid.NUMERIC:
        return _numeric(name, modifier, label)
    if oid in {Oid.STRING, Oid.BPCHAR}:
        word = "varchar" if oid == Oid.STRING else "char"
        word = word if modifier < 0 else f"{word}({modifier - _HEADER})"
        return Column(column(name, pa.string(), word), pa.array)
    if oid in _PLAIN:
        word, arrow_type, to_arrow = _PLAIN[oid]
        return Column(column(name, arrow_type, word), to_arrow)
    word, cure = _REFUSED.get(
        oid, (f"of a type with the OID {oid}", "cast it to VARCHAR (HLL_CARDINALITY of a sketch)")
    )
    raise ModelInvalid(f"{label}: column {name!r} is {word}, which is not read; {cure} in the data model")


def _numeric(name: str, modifier: int, label: Label) -> Column:
    if modifier < 0:
        raise ModelInvalid(
            f"{label}: column {name!r} is NUMERIC without a precision and scale; cast it in the data model, "
            "e.g. CAST(... AS NUMERIC(38, 10))"
        )
    precision, scale = divmod(modifier - _HEADER, 2**16)
    return Column(column(name, pa.decimal128(precision, scale), f"numeric({precision},{scale})"), values.numbers)
