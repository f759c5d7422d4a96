from typing import Any

import pyarrow as pa
import pytest

from shared.columns import JSON
from shared.mapping.destinations import ValueType
from shared.mapping.meanings import why_not

INTERVAL = pa.month_day_nano_interval()
TEXTS = [pa.string(), pa.large_string(), pa.string_view(), pa.dictionary(pa.int8(), pa.string()), pa.uuid(), pa.null()]
INTEGERS = [pa.int8(), pa.uint64(), pa.decimal128(38, 0), pa.decimal256(50, 0), pa.dictionary(pa.int8(), pa.int64())]


@pytest.mark.parametrize(
    "arrow_type",
    [
        *TEXTS,
        *INTEGERS,
        pa.float16(),
        pa.decimal32(5, 2),
        pa.decimal64(5, 2),
        pa.bool_(),
        pa.bool8(),
        pa.json_(),
        pa.date64(),
        pa.time64("ns"),
        pa.timestamp("ns", "Asia/Tokyo"),
        pa.run_end_encoded(pa.int32(), pa.string()),
        pa.list_(pa.string()),
        pa.list_(pa.string(), 3),
        pa.list_view(pa.int8()),
        pa.large_list_view(pa.int8()),
        pa.struct([("a", pa.map_(pa.string(), pa.list_(pa.date32())))]),
    ],
)
def test_an_attribute_can_be_of_nearly_any_type(arrow_type: Any) -> None:
    assert why_not(ValueType.ATTRIBUTE, arrow_type) is None


@pytest.mark.parametrize(
    "arrow_type",
    [
        pa.binary(),
        pa.large_binary(),
        pa.binary_view(),
        pa.binary(4),
        pa.duration("s"),
        INTERVAL,
        pa.sparse_union([pa.field("a", pa.int8())]),
        pa.list_(pa.binary()),
        pa.struct([("ok", pa.int8()), ("bad", pa.list_(pa.duration("s")))]),
        pa.map_(pa.string(), pa.binary()),
        pa.map_(pa.binary(), pa.string()),
        pa.map_(pa.struct([("a", pa.int8())]), pa.string()),
        pa.dictionary(pa.int8(), pa.binary()),
        pa.opaque(pa.binary(), "geometry", "vendor"),
        pa.struct([pa.field("a", pa.int8()), pa.field("a", pa.int8())]),
    ],
)
def test_what_has_no_json_form_is_refused_with_the_cure_in_sql(arrow_type: Any) -> None:
    assert "SQL" in (why_not(ValueType.ATTRIBUTE, arrow_type) or "")


@pytest.mark.parametrize("value", [ValueType.STRING, ValueType.INT64])
def test_identities_are_text_or_whole_numbers(value: ValueType) -> None:
    assert all(why_not(value, arrow_type) is None for arrow_type in [*TEXTS, *INTEGERS])
    for arrow_type in (pa.float64(), pa.bool_(), pa.decimal128(5, 2), pa.date32(), pa.list_(pa.string()), pa.binary()):
        assert "SQL" in (why_not(value, arrow_type) or "")


def test_uuids_are_text() -> None:
    assert all(why_not(ValueType.UUID, arrow_type) is None for arrow_type in TEXTS)
    assert all("SQL" in (why_not(ValueType.UUID, arrow_type) or "") for arrow_type in INTEGERS)


@pytest.mark.parametrize("value", [ValueType.STRING, ValueType.UUID, ValueType.INT64])
@pytest.mark.parametrize("wrapped", [JSON, pa.dictionary(pa.int8(), JSON), pa.run_end_encoded(pa.int32(), JSON)])
def test_json_identifies_nobody(value: ValueType, wrapped: Any) -> None:
    assert "extract it as text in SQL" in (why_not(value, wrapped) or "")


def test_json_may_be_inside_of_anything_but_a_maps_keys() -> None:
    for arrow_type in (pa.list_(JSON), pa.struct([("a", JSON)]), pa.map_(pa.string(), JSON)):
        assert why_not(ValueType.ATTRIBUTE, arrow_type) is None
    assert "keys" in (why_not(ValueType.ATTRIBUTE, pa.map_(JSON, pa.string())) or "")
