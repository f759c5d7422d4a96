"""The typed fields of an event: what each accepts from which Arrow type, and what does not fit."""

from datetime import UTC, date, datetime
from decimal import Decimal
from ipaddress import ip_address
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.mapping.destinations import ValueType
from shared.mapping.plan import Leaf
from worker.mparticle.columns import Column
from worker.mparticle.read import read
from worker.mparticle.typed import instants_ms
from worker.mparticle.values import field_texts

UNFIT = "unfit"


def column_of(value: ValueType, array: Any, choices: tuple[str, ...] = ()) -> Column:
    return read(Leaf("a", ("a",), value, choices=choices), array)


def written(value: ValueType, array: Any, choices: tuple[str, ...] = ()) -> list[str | None]:
    """Give the JSON of each row's field; None where it is absent."""
    column = column_of(value, array, choices)
    texts = field_texts(value, column)
    found: list[str | None] = []
    for row in range(len(array)):
        if column.present is not None and not column.present[row]:
            found.append(None)
        elif column.unfit is not None and column.unfit[row]:
            found.append(UNFIT)
        elif texts.truth is not None:
            found.append("true" if texts.truth[row] else "false")
        else:
            at = row if texts.index is None else int(texts.index[row])
            found.append((texts.opening + texts.pool[at].as_py() + texts.closing).decode())
    return found


def layouts(array: Any) -> list[Any]:
    """The same rows plain, as a slice, in a dictionary and in runs."""
    count = len(array)
    return [
        array,
        pa.concat_arrays([array, array])[count:],
        pa.DictionaryArray.from_arrays(pa.array(range(count), pa.int8()), array),
        pa.RunEndEncodedArray.from_arrays(pa.array(range(1, count + 1), pa.int32()), array),
    ]


DIGITS = pa.decimal128(38, 0)
LINES: list[tuple[ValueType, Any, list[str | None]]] = [
    (ValueType.NUMBER, pa.array([1, -2, None], pa.int32()), ["1", "-2", None]),
    (ValueType.NUMBER, pa.array([2**64 - 1, None], pa.uint64()), [str(2**64 - 1), None]),
    (ValueType.NUMBER, pa.array([0.1, float("nan"), float("inf"), None]), ["0.1", None, None, None]),
    (ValueType.NUMBER, pa.array([Decimal("1.50"), None], pa.decimal128(9, 2)), ["1.50", None]),
    (
        ValueType.NUMBER,
        pa.array(
            ["1.50", "-0", "1E5", "12345678901234567890.10", "01", "+1", " 1", "", "dear", "NaN", "0x1", "1.", None]
        ),
        ["1.50", "-0", "1E5", "12345678901234567890.10", *[UNFIT] * 8, None],
    ),
    (ValueType.NUMBER, pa.array(["1\n", "\u0661"]), [UNFIT, UNFIT]),
    (ValueType.INT64, pa.array([1, None], pa.int8()), ["1", None]),
    (ValueType.INT64, pa.array([2**63 - 1, 2**63], pa.uint64()), [str(2**63 - 1), UNFIT]),
    (ValueType.INT64, pa.array([Decimal(7), Decimal(10**30), None], DIGITS), ["7", UNFIT, None]),
    (
        ValueType.INT64,
        pa.array(["7", "-7", "7.0", "x", "9223372036854775808", "", None]),
        ["7", "-7", UNFIT, UNFIT, UNFIT, None, None],
    ),
    (ValueType.BOOLEAN, pa.array([True, False, None]), ["true", "false", None]),
    (
        ValueType.BOOLEAN,
        pa.ExtensionArray.from_storage(pa.bool8(), pa.array([2, 0, None], pa.int8())),
        ["true", "false", None],
    ),
    (ValueType.BOOLEAN, pa.array([1, 0, 2, -1, None], pa.int16()), ["true", "false", UNFIT, UNFIT, None]),
    (ValueType.BOOLEAN, pa.array([1, 0, 2, None], pa.uint64()), ["true", "false", UNFIT, None]),
    (
        ValueType.BOOLEAN,
        pa.array([Decimal(1), Decimal(0), Decimal(2), Decimal(10**30), None], DIGITS),
        ["true", "false", UNFIT, UNFIT, None],
    ),
    (
        ValueType.BOOLEAN,
        pa.array(["true", "FALSE", "True", "yes", "1", "", None]),
        ["true", "false", "true", UNFIT, UNFIT, UNFIT, None],
    ),
    (ValueType.EPOCH_MS, pa.array([5, -5, None], pa.int64()), ["5", "-5", None]),
    (ValueType.EPOCH_MS, pa.array([2**63 - 1, 2**63, None], pa.uint64()), [str(2**63 - 1), UNFIT, None]),
    (ValueType.EPOCH_MS, pa.array([Decimal(5), Decimal(10**30), None], DIGITS), ["5", UNFIT, None]),
    (ValueType.EPOCH_MS, pa.array([date(1970, 1, 2), date(1969, 12, 31), None]), ["86400000", "-86400000", None]),
    (ValueType.EPOCH_MS, pa.array([86_400_000, None], pa.date64()), ["86400000", None]),
    (ValueType.EPOCH_MS, pa.array([1, -1, None], pa.timestamp("s")), ["1000", "-1000", None]),
    (ValueType.EPOCH_MS, pa.array([1, -1, None], pa.timestamp("ms", "UTC")), ["1", "-1", None]),
    (ValueType.EPOCH_MS, pa.array([1_999, -1, None], pa.timestamp("us", "Asia/Tokyo")), ["1", "-1", None]),
    (ValueType.EPOCH_MS, pa.array([1_999_999, -1, None], pa.timestamp("ns", "UTC")), ["1", "-1", None]),
    (
        ValueType.IP,
        pa.array(["1.2.3.4", "::1", "2001:db8::1", "1.2.3", "1.2.3.400", "fe80::1%eth0", "", "01.2.3.4", "é", None]),
        ['"1.2.3.4"', '"::1"', '"2001:db8::1"', *[UNFIT] * 6, None],
    ),
    (ValueType.TEXT, pa.array(['a"', "", None]), ['"a\\""', '""', None]),
    (ValueType.TEXT, pa.array([1.5, float("nan"), None]), ['"1.5"', None, None]),
    (ValueType.TEXT, pa.array([True, None]), ['"true"', None]),
    (ValueType.TEXT, pa.array([Decimal("1.50"), None], pa.decimal128(9, 2)), ['"1.50"', None]),
    (ValueType.TEXT, pa.array([date(2026, 3, 1), None]), ['"2026-03-01"', None]),
    (ValueType.TEXT, pa.array([1_000, None], pa.timestamp("ms", "UTC")), ['"1970-01-01T00:00:01Z"', None]),
    (ValueType.TEXTS, pa.array(["a", "", None]), ['["a"]', '[""]', None]),
    (ValueType.TEXTS, pa.array([["a", None, 'b"'], [], None]), ['["a","b\\""]', "[]", None]),
    (ValueType.SCALAR, pa.array(["a", None]), ['"a"', None]),
    (ValueType.SCALAR, pa.array([1.5, None]), ["1.5", None]),
    (ValueType.SCALAR, pa.array([True, None]), ["true", None]),
    (ValueType.SCALAR, pa.array([[1, None], [], None]), ['"[1,null]"', '"[]"', None]),
    (ValueType.SCALAR, pa.array([{"a": 1}, None]), ['"{\\"a\\":1}"', None]),
    (
        ValueType.SCALAR,
        pa.array(["[1, 2]", "1.10", '"x"', "null", "{", None], pa.json_()),
        ['"[1,2]"', "1.10", '"x"', None, UNFIT, None],
    ),
    (
        ValueType.UUID,
        pa.array(["68753A44-4D6F-1226-9C60-0050E4C00067", "", "x", None]),
        ['"68753A44-4D6F-1226-9C60-0050E4C00067"', None, UNFIT, None],
    ),
]
LINES += [(value, pa.nulls(2), [None, None]) for value in ValueType]


@pytest.mark.parametrize("line", LINES, ids=[f"{number}-{line[0]}-{line[1].type}" for number, line in enumerate(LINES)])
def test_a_field_accepts_what_says_its_value_exactly_in_every_layout(
    line: tuple[ValueType, Any, list[str | None]],
) -> None:
    value, array, expected = line
    for laid_out in layouts(array):
        assert written(value, laid_out) == expected, laid_out.type


def test_a_choice_is_one_of_its_words_and_nothing_like_them() -> None:
    for laid_out in layouts(pa.array(["view", "click", "View", "view ", "", None])):
        found = written(ValueType.CHOICE, laid_out, ("view", "click"))
        assert found == ['"view"', '"click"', UNFIT, UNFIT, UNFIT, None]


@pytest.mark.parametrize("value", [ValueType.TEXT, ValueType.CHOICE, ValueType.IP, ValueType.NUMBER, ValueType.TEXTS])
@pytest.mark.parametrize("kind", [pa.large_string(), pa.string_view()])
def test_the_layout_of_text_does_not_matter(value: ValueType, kind: Any) -> None:
    array = pa.array(["1", "::1", "x", None])
    assert written(value, array.cast(kind), ("x",)) == written(value, array, ("x",))


@pytest.mark.parametrize("value", [value for value in ValueType if value is not ValueType.OBJECTS])
def test_no_rows_are_no_values(value: ValueType) -> None:
    assert (
        written(value, pa.array([], pa.string()) if value is not ValueType.EPOCH_MS else pa.array([], pa.int64())) == []
    )


MOMENTS = st.datetimes(datetime(1, 1, 2), datetime(9999, 12, 30))  # noqa: DTZ001 - hypothesis wants them without a zone


@settings(deadline=None)
@given(st.lists(st.none() | MOMENTS, max_size=6), st.sampled_from(["s", "ms", "us"]), st.booleans())
def test_an_instant_is_its_milliseconds_since_1970_floored(
    moments: list[datetime | None],
    unit: str,
    is_zoned: bool,
) -> None:
    epoch = datetime(1970, 1, 1, tzinfo=UTC)
    micros = [None if one is None else (one.replace(tzinfo=UTC) - epoch) // (datetime.resolution) for one in moments]
    per = {"s": 10**6, "ms": 10**3, "us": 1}[unit]
    counts = [None if one is None else one // per for one in micros]
    array = pa.array(counts, pa.int64()).cast(pa.timestamp(unit, "UTC" if is_zoned else None))
    assert written(ValueType.EPOCH_MS, array) == [None if one is None else str(one * per // 1000) for one in counts]


@settings(deadline=None)
@given(st.lists(st.none() | st.ip_addresses().map(str) | st.text("0123456789abcdef:.%", max_size=12), max_size=8))
def test_an_address_is_what_python_says_is_one(texts: list[str | None]) -> None:
    def is_one(text: str) -> bool:
        try:
            return bool(ip_address(text)) and "%" not in text
        except ValueError:
            return False

    found = written(ValueType.IP, pa.array(texts, pa.string()))
    assert found == [None if text is None else f'"{text}"' if is_one(text) else UNFIT for text in texts]


def test_the_instants_of_shared_values_are_those_of_their_rows() -> None:
    column = column_of(ValueType.EPOCH_MS, pa.array([7, 5, 7], pa.int64()).dictionary_encode())
    assert instants_ms(column).tolist() == [7, 5, 7]
    assert instants_ms(column_of(ValueType.EPOCH_MS, pa.nulls(2))).dtype == np.int64
