from typing import Any

import pyarrow as pa
import pytest
from snowflake.connector._internal.type_codes import SNOWFLAKE_TYPE_TO_CODE
from snowflake.connector.cursor import ResultMetadata

from shared.columns import JSON, warehouse_type
from shared.errors import ModelInvalid
from worker.warehouses.base import Label
from worker.warehouses.snowflake.columns import schema_of

LABEL = Label("run 7")
TYPES = {
    ("FIXED", 1, 0): ("NUMBER(1,0)", pa.int64()),
    ("FIXED", 18, 0): ("NUMBER(18,0)", pa.int64()),
    ("FIXED", 19, 0): ("NUMBER(19,0)", pa.decimal128(38, 0)),
    ("FIXED", 38, 0): ("NUMBER(38,0)", pa.decimal128(38, 0)),
    ("FIXED", 18, 4): ("NUMBER(18,4)", pa.decimal128(18, 4)),
    ("FIXED", 38, 37): ("NUMBER(38,37)", pa.decimal128(38, 37)),
    ("REAL", None, None): ("FLOAT", pa.float64()),
    ("TEXT", None, None): ("VARCHAR", pa.string()),
    ("BOOLEAN", None, None): ("BOOLEAN", pa.bool_()),
    ("BINARY", None, None): ("BINARY", pa.binary()),
    ("DATE", None, None): ("DATE", pa.date32()),
    ("TIME", 0, 0): ("TIME(0)", pa.time64("us")),
    ("TIME", 0, 9): ("TIME(9)", pa.time64("ns")),
    ("TIMESTAMP_NTZ", 0, 0): ("TIMESTAMP_NTZ(0)", pa.timestamp("us")),
    ("TIMESTAMP_NTZ", 0, 6): ("TIMESTAMP_NTZ(6)", pa.timestamp("us")),
    ("TIMESTAMP_NTZ", 0, 7): ("TIMESTAMP_NTZ(7)", pa.timestamp("ns")),
    ("TIMESTAMP_LTZ", 0, 3): ("TIMESTAMP_LTZ(3)", pa.timestamp("us", "UTC")),
    ("TIMESTAMP_LTZ", 0, 9): ("TIMESTAMP_LTZ(9)", pa.timestamp("ns", "UTC")),
    ("TIMESTAMP_TZ", 0, 9): ("TIMESTAMP_TZ(9)", pa.timestamp("ns", "UTC")),
    ("VARIANT", None, None): ("VARIANT", JSON),
    ("OBJECT", None, None): ("OBJECT", JSON),
    ("ARRAY", None, None): ("ARRAY", JSON),
    ("MAP", None, None): ("MAP", JSON),
    ("GEOGRAPHY", None, None): ("GEOGRAPHY", JSON),
    ("GEOMETRY", None, None): ("GEOMETRY", JSON),
    ("VECTOR", None, None): ("VECTOR", pa.list_(pa.float64())),
}
UNREADABLE = ("DECFLOAT", "FILE", "INTERVAL_YEAR_MONTH", "INTERVAL_DAY_TIME", "TIMESTAMP")


def described(kind: str, precision: int | None, scale: int | None) -> Any:
    return ResultMetadata("C", SNOWFLAKE_TYPE_TO_CODE[kind], None, None, precision, scale, is_nullable=True)


@pytest.mark.parametrize("given", TYPES)
def test_every_type_is_announced_with_its_own_word(given: tuple[str, int | None, int | None]) -> None:
    word, arrow_type = TYPES[given]
    (field,) = schema_of([described(*given)], LABEL)
    assert field.type == arrow_type
    assert warehouse_type(field) == word


@pytest.mark.parametrize("kind", UNREADABLE)
def test_what_cannot_be_read_is_refused_by_its_column(kind: str) -> None:
    with pytest.raises(ModelInvalid, match=rf"run 7: column 'C' is {kind}.*cast it in the data model"):
        schema_of([described(kind, None, None)], LABEL)


def test_every_type_of_the_client_has_been_thought_of() -> None:
    thought_of = {SNOWFLAKE_TYPE_TO_CODE[kind] for kind, *_ in TYPES} | {SNOWFLAKE_TYPE_TO_CODE[k] for k in UNREADABLE}
    assert set(SNOWFLAKE_TYPE_TO_CODE.values()) == thought_of
