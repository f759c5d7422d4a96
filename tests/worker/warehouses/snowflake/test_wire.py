from datetime import UTC, date, datetime, time
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest

from shared.columns import JSON, column
from shared.errors import ModelInvalid
from worker.warehouses.base import Label
from worker.warehouses.conform import conform
from worker.warehouses.snowflake.wire import announced

LABEL = Label("run 7")


def received(sent: Any, announced_type: Any, *, kind: str = "FIXED", scale: int = 0) -> pa.Array:
    metadata = {"logicalType": kind, "scale": str(scale), "precision": "38"}
    batch = pa.record_batch([sent], schema=pa.schema([pa.field("C", sent.type, metadata=metadata)]))
    schema = pa.schema([column("C", announced_type, kind)])
    (made,) = conform(announced(batch, schema, LABEL), schema, batch_rows=100, label=LABEL)
    return made.column(0)


def instants(*values: tuple[int, int] | None) -> pa.Array:
    """Give seconds and nanoseconds as long timestamps are sent; NULL holds values, as it may."""
    return pa.StructArray.from_arrays(
        [
            pa.array([value[0] if value else 7 for value in values], pa.int64()),
            pa.array([value[1] if value else 7 for value in values], pa.int32()),
        ],
        ["epoch", "fraction"],
        mask=pa.array([value is None for value in values]),
    )


def with_offset(array: pa.Array, *offsets: int) -> pa.Array:
    members = [array.field(at) for at in range(array.type.num_fields)]
    return pa.StructArray.from_arrays(
        [*members, pa.array(offsets, pa.int32())],
        [*(field.name for field in array.type), "timezone"],
        mask=array.is_null(),
    )


@pytest.mark.parametrize("sent", [pa.int8(), pa.int16(), pa.int32(), pa.int64()])
def test_a_whole_number_is_the_same_however_narrow_it_is_sent(sent: pa.DataType) -> None:
    for announced_type in (pa.int64(), pa.decimal128(38, 0)):
        assert received(pa.array([-128, 127, None], sent), announced_type).to_pylist() == [-128, 127, None]


def test_a_decimal_keeps_its_digits_however_it_is_sent() -> None:
    values = [Decimal("-0.0001"), Decimal("1.2000"), None]
    assert received(pa.array([-1, 12_000, None], pa.int16()), pa.decimal128(18, 4), scale=4).to_pylist() == values
    assert received(pa.array(values, pa.decimal128(38, 4)), pa.decimal128(18, 4), scale=4).to_pylist() == values


def test_a_slice_of_decimals_is_that_slice() -> None:
    sent = pa.array([1, 2, 3, 4], pa.int32()).slice(1, 2)
    assert received(sent, pa.decimal128(10, 2), scale=2).to_pylist() == [Decimal("0.02"), Decimal("0.03")]


def test_a_number_wider_than_announced_is_refused_without_its_value() -> None:
    with pytest.raises(ModelInvalid) as refused:
        received(pa.array([Decimal(10**20)], pa.decimal128(38, 0)), pa.int64())
    assert "'C'" in str(refused.value)
    assert "100000000000000000000" not in str(refused.value)


@pytest.mark.parametrize(
    ("sent", "kind", "announced_type", "values"),
    [
        (pa.array([1.5, None]), "REAL", pa.float64(), [1.5, None]),
        (pa.array(["", "Zoë 😀", None]), "TEXT", pa.string(), ["", "Zoë 😀", None]),
        (pa.array([True, None]), "BOOLEAN", pa.bool_(), [True, None]),
        (pa.array([b"\x00\xff", None]), "BINARY", pa.binary(), [b"\x00\xff", None]),
        (pa.array([date(1, 1, 1), date(9999, 12, 31)]), "DATE", pa.date32(), [date(1, 1, 1), date(9999, 12, 31)]),
        (pa.array(['{"a":1}', None]), "VARIANT", JSON, ['{"a":1}', None]),
        (pa.array(['{"type":"Point"}']), "GEOGRAPHY", JSON, ['{"type":"Point"}']),
        (pa.array([[1.5, 2.5], None], pa.list_(pa.float32(), 2)), "VECTOR", pa.list_(pa.float64()), [[1.5, 2.5], None]),
        (pa.array([[1, 2]], pa.list_(pa.int32(), 2)), "VECTOR", pa.list_(pa.float64()), [[1, 2]]),
    ],
)
def test_other_values_arrive_as_they_are(sent: Any, kind: str, announced_type: Any, values: list[Any]) -> None:
    assert received(sent, announced_type, kind=kind).to_pylist() == values


@pytest.mark.parametrize(
    ("count", "scale", "unit"),
    [(86_399, 0, "us"), (86_399_000, 3, "us"), (86_399_000_000, 6, "us"), (86_399_000_000_000, 9, "ns")],
)
def test_a_time_is_counted_in_units_of_its_scale(count: int, scale: int, unit: str) -> None:
    sent = pa.array([count, None], pa.int64())
    values = received(sent, pa.time64(unit), kind="TIME", scale=scale).cast(pa.time64("us")).to_pylist()
    assert values == [time(23, 59, 59), None]


def test_a_time_keeps_its_nanoseconds() -> None:
    sent = pa.array([86_399_999_999_999], pa.int64())
    assert received(sent, pa.time64("ns"), kind="TIME", scale=9).cast(pa.int64()).to_pylist() == [86_399_999_999_999]


@pytest.mark.parametrize(("zone", "kind"), [(None, "TIMESTAMP_NTZ"), ("UTC", "TIMESTAMP_LTZ")])
@pytest.mark.parametrize("scale", [0, 3, 6])
def test_a_short_timestamp_reaches_every_year(zone: str | None, kind: str, scale: int) -> None:
    moments = [datetime(year, 1, 1, tzinfo=UTC if zone else None) for year in (1, 1969, 9999)]
    sent = pa.array([-62_135_596_800 * 10**scale, -31_536_000 * 10**scale, 253_370_764_800 * 10**scale, None])
    assert received(sent, pa.timestamp("us", zone), kind=kind, scale=scale).to_pylist() == [*moments, None]


def test_a_long_timestamp_keeps_its_nanoseconds() -> None:
    sent = instants((0, 1), (-1, 999_999_999), None)
    made = received(sent, pa.timestamp("ns"), kind="TIMESTAMP_NTZ", scale=9)
    assert made.cast(pa.int64()).to_pylist() == [1, -1, None]


@pytest.mark.parametrize("scale", [7, 8])
def test_a_long_timestamp_may_be_one_integer(scale: int) -> None:
    made = received(pa.array([3]), pa.timestamp("ns"), kind="TIMESTAMP_NTZ", scale=scale)
    assert made.cast(pa.int64()).to_pylist() == [3 * 10 ** (9 - scale)]


@pytest.mark.parametrize(
    "sent", [instants((253_402_214_400, 0)), pa.array([253_402_214_400 * 10**7]), instants((-62_135_596_800, 0))]
)
def test_a_time_beyond_nanoseconds_is_refused_with_its_cure(sent: Any) -> None:
    with pytest.raises(ModelInvalid, match=r"'C' holds a time.*TIMESTAMP_NTZ\(6\)"):
        received(sent, pa.timestamp("ns"), kind="TIMESTAMP_NTZ", scale=7)


@pytest.mark.parametrize("scale", [0, 3])
def test_an_instant_with_its_offset_is_told_in_utc(scale: int) -> None:
    short = pa.StructArray.from_arrays([pa.array([0, 60 * 10**scale])], ["epoch"])
    made = received(with_offset(short, 1440, 1440 + 330), pa.timestamp("us", "UTC"), kind="TIMESTAMP_TZ", scale=scale)
    assert made.to_pylist() == [datetime(1970, 1, 1, tzinfo=UTC), datetime(1970, 1, 1, 0, 1, tzinfo=UTC)]


def test_a_long_instant_with_its_offset_is_told_in_utc() -> None:
    sent = with_offset(instants((1, 5_000), None), 1440 - 300, 0)
    made = received(sent, pa.timestamp("us", "UTC"), kind="TIMESTAMP_TZ", scale=6)
    assert made.to_pylist() == [datetime(1970, 1, 1, 0, 0, 1, 5, UTC), None]
    made = received(sent, pa.timestamp("ns", "UTC"), kind="TIMESTAMP_TZ", scale=9)
    assert made.cast(pa.int64()).to_pylist() == [1_000_005_000, None]


def test_a_structured_value_is_refused_with_its_cure() -> None:
    with pytest.raises(ModelInvalid, match=r"'C' is structured.*semi-structured ARRAY"):
        received(pa.array([["a"]]), JSON, kind="ARRAY")


def test_a_decfloat_is_refused() -> None:
    sent = pa.array([{"exponent": 1, "significand": b"\x01"}])
    with pytest.raises(ModelInvalid, match="'C' is DECFLOAT"):
        received(sent, pa.int64(), kind="DECFLOAT")
