"""Arrow to mParticle, type by type: what every type that a driver may deliver becomes, or why it is refused.

Whatever planning accepts must be encoded, in every layout that may be around it, and whatever it refuses is refused by
column name and with a cure.
"""

from collections.abc import Callable
from datetime import date, datetime, time
from decimal import Decimal
from itertools import pairwise
from typing import Any
from uuid import UUID

import numpy as np
import pyarrow as pa
import pytest

from shared.catalog import Environment, NullPolicy
from shared.columns import JSON
from shared.errors import MappingRefused
from shared.mapping.compile import compile_user_mapping
from worker.mparticle.check import Checks
from worker.mparticle.encode import Encoder

MOMENT = datetime(2026, 3, 1, 1, 2, 3, 120_000)  # noqa: DTZ001 - the zone is the column's
UUID_TEXT = "6ba7b810-9dad-11d1-80b4-00c04fd430c8"


def of(kind: Any, value: Any) -> Any:
    """Give an array of one value and a NULL."""
    return pa.array([value, None], kind)


def union(*, dense: bool) -> Any:
    codes, children = pa.array([0, 0], pa.int8()), [pa.array([1, 2])]
    if dense:
        return pa.UnionArray.from_dense(codes, pa.array([0, 1], pa.int32()), children)
    return pa.UnionArray.from_sparse(codes, children)


def in_dictionary(array: Any) -> Any:
    return pa.DictionaryArray.from_arrays(pa.array([0, 1], pa.int8()), array)


def in_runs(array: Any) -> Any:
    return pa.RunEndEncodedArray.from_arrays(pa.array([1, 2], pa.int32()), array)


SEEN = [
    (of(pa.timestamp(unit, zone), MOMENT), f'"2026-03-01T01:02:03{digits}{"Z" if zone else ""}"', "cast")
    for unit, digits in {"s": "", "ms": ".120", "us": ".120", "ns": ".120"}.items()
    for zone in (None, "UTC", "Asia/Tokyo", "+02:00")
]
ACCEPTED: list[tuple[Any, str, str]] = [
    # (a value and a NULL, what it is as an attribute, what it is as an identity or a word of why it is none)
    (of(pa.bool_(), True), "true", "cast"),  # noqa: FBT003 - a value
    (pa.ExtensionArray.from_storage(pa.bool8(), of(pa.int8(), 2)), "true", "cast"),
    *((of(getattr(pa, f"int{bits}")(), -7), "-7", '"-7"') for bits in (8, 16, 32, 64)),
    *((of(getattr(pa, f"uint{bits}")(), 7), "7", '"7"') for bits in (8, 16, 32, 64)),
    (of(pa.uint64(), 2**64 - 1), str(2**64 - 1), f'"{2**64 - 1}"'),
    (of(pa.float16(), np.float16(1.5)), "1.5", "digit"),
    (of(pa.float32(), 0.1), "0.1", "digit"),
    (of(pa.float64(), 0.1), "0.1", "digit"),
    *(
        (of(kind(7, 2), Decimal("-1.50")), "-1.50", "decimal places")
        for kind in (pa.decimal32, pa.decimal64, pa.decimal128, pa.decimal256)
    ),
    *(
        (of(kind(7, 0), Decimal(15)), "15", '"15"')
        for kind in (pa.decimal32, pa.decimal64, pa.decimal128, pa.decimal256)
    ),
    *(
        (of(kind, Decimal("0E-38").quantize(Decimal(f"1E-{kind.scale}"))), f"0.{'0' * kind.scale}", "decimal places")
        for kind in (pa.decimal32(9, 9), pa.decimal64(18, 18), pa.decimal128(38, 20), pa.decimal256(76, 38))
    ),
    (of(pa.decimal256(76, 38), Decimal(f"{'9' * 38}.{'9' * 38}")), f"{'9' * 38}.{'9' * 38}", "decimal places"),
    (of(pa.decimal256(76, 38), Decimal("1E-38")), f"0.{'0' * 37}1", "decimal places"),
    (of(pa.decimal256(76, 0), Decimal("9" * 76)), "9" * 76, f'"{"9" * 76}"'),
    (of(pa.decimal128(5, -2), Decimal("-1E+4")), "-10000", "decimal places"),
    *((of(kind, 'Zoë "Z"'), r'"Zoë \"Z\""', r'"Zoë \"Z\""') for kind in (pa.string(), pa.large_string())),
    (of(pa.string_view(), "a"), '"a"', '"a"'),
    (pa.ExtensionArray.from_storage(pa.uuid(), of(pa.binary(16), UUID(UUID_TEXT).bytes)), f'"{UUID_TEXT}"', '"'),
    (of(pa.opaque(pa.string(), "name", "vendor"), "a"), '"a"', '"a"'),
    (of(pa.date32(), date(2026, 3, 1)), '"2026-03-01"', "cast"),
    (of(pa.date64(), date(2026, 3, 1)), '"2026-03-01"', "cast"),
    (of(pa.time32("s"), time(1, 2, 3)), '"01:02:03"', "cast"),
    (of(pa.time32("ms"), time(1, 2, 3, 120_000)), '"01:02:03.120"', "cast"),
    (of(pa.time64("us"), time(1, 2, 3, 5)), '"01:02:03.000005"', "cast"),
    (of(pa.time64("ns"), time(1, 2, 3, 5)), '"01:02:03.000005"', "cast"),
    *SEEN,
    *(
        (of(kind, ["a", None]), '["a"]', "cast")
        for kind in (
            pa.list_(pa.string()),
            pa.large_list(pa.string()),
            pa.list_(pa.string(), 2),
            pa.list_view(pa.string()),
            pa.large_list_view(pa.string()),
        )
    ),
    (of(pa.list_(pa.decimal256(50, 2)), [Decimal("1.50")]), "[1.50]", "cast"),
    (of(pa.list_(pa.list_(pa.int8())), [[1], None]), '"[[1],null]"', "cast"),
    (of(pa.struct([("a", pa.int8())]), {"a": None}), r'"{\"a\":null}"', "cast"),
    (of(pa.list_(pa.struct([("a", pa.int8())])), [{"a": 1}]), r'"[{\"a\":1}]"', "cast"),
    (of(pa.map_(pa.string(), pa.float64()), [("a", 1.5)]), r'"{\"a\":1.5}"', "cast"),
    (of(JSON, '"a"'), '"a"', "quotes"),
    (of(JSON, " 1.50 "), "1.50", "quotes"),
    (of(JSON, "true"), "true", "quotes"),
    (of(JSON, '[\n  "a",\n  null,\n  1.0\n]'), '["a",1.0]', "quotes"),
    (of(JSON, '{ "a": [1, null] }'), r'"{\"a\":[1,null]}"', "quotes"),
    (of(pa.json_(pa.large_string()), "[[ ]]"), '"[[]]"', "quotes"),
    (of(pa.json_(pa.string_view()), "7"), "7", "quotes"),
    (of(pa.list_(pa.string()), ['"a"', "null", "1.0"]).cast(pa.list_(JSON)), '["a",1.0]', "cast"),
    (of(pa.list_(pa.string()), ['"a"', "null", "{}"]).cast(pa.list_(JSON)), r'"[\"a\",null,{}]"', "cast"),
    (
        of(pa.struct([("j", pa.string())]), {"j": '[ "a" ]'}).cast(pa.struct([("j", JSON)])),
        r'"{\"j\":[\"a\"]}"',
        "cast",
    ),
]
REFUSED = [
    *((of(kind, b"abcd"), "bytes") for kind in (pa.binary(), pa.large_binary(), pa.binary_view(), pa.binary(4))),
    *((of(pa.duration(unit), 1), "span of time") for unit in ("s", "ms", "us", "ns")),
    (of(pa.month_day_nano_interval(), (1, 2, 3)), "span of time"),
    (of(pa.opaque(pa.binary(), "geometry", "vendor"), b"a"), "bytes"),
    (union(dense=True), "one type"),
    (union(dense=False), "one type"),
    (
        pa.MapArray.from_arrays(pa.array([0, 1, 1], pa.int32()), of(JSON, "1")[:1], pa.array([1])),
        "map's keys",
    ),
]
LAYOUTS: dict[str, Callable[[Any], Any]] = {
    "plain": lambda array: array,
    "sliced": lambda array: pa.concat_arrays([array[1:], array, array])[1:3],
    "dictionary": in_dictionary,
    "sliced dictionary": lambda array: in_dictionary(pa.concat_arrays([array, array, array])),
    "runs": in_runs,
    "part of runs": lambda array: pa.RunEndEncodedArray.from_arrays(pa.array([3, 9], pa.int32()), array)[2:4],
}
INSIDE: dict[str, Callable[[Any], Any]] = {
    "list": lambda array: pa.ListArray.from_arrays(pa.array([0, 1, 2], pa.int32()), array),
    "list of list": lambda array: INSIDE["list"](INSIDE["list"](array)),
    "struct": lambda array: pa.StructArray.from_arrays([array], ["inner"]),
    "map": lambda array: pa.MapArray.from_arrays(pa.array([0, 1, 2], pa.int32()), pa.array(["k", "l"]), array),
}


def kinds(lines: list[Any]) -> list[str]:
    return [f"{number}-{line[0].type}" for number, line in enumerate(lines)]


def encoded(**columns: Any) -> list[str]:
    """Give the batches of a table's rows, without what stands before the fields of the columns."""
    table = pa.table(columns)
    plan = compile_user_mapping(
        table.schema, environment=Environment.DEVELOPMENT, on_null=NullPolicy.OMIT, iterator=None
    )
    written = Encoder(plan, checks=Checks()).encode(table, chunk_id="c")
    return [bytes(written.data[start:end]).decode() for start, end in pairwise(written.offsets.tolist())]


@pytest.mark.parametrize("line", ACCEPTED, ids=kinds(ACCEPTED))
def test_a_type_becomes_an_attribute_in_every_layout(line: tuple[Any, str, str]) -> None:
    array, attribute, _ = line
    for layout, laid_out in LAYOUTS.items():
        valued, empty = encoded(email=["a@x", "b@x"], a=laid_out(array))
        assert f'"user_attributes":{{"a":{attribute}}}' in valued, layout
        assert "user_attributes" not in empty, layout


@pytest.mark.parametrize("line", ACCEPTED, ids=kinds(ACCEPTED))
def test_a_type_that_is_accepted_may_be_inside_of_anything(line: tuple[Any, str, str]) -> None:
    for laid_out in LAYOUTS.values():
        for inside in INSIDE.values():
            assert len(encoded(email=["a@x", "b@x"], a=inside(laid_out(line[0])))) == 2


@pytest.mark.parametrize("line", ACCEPTED, ids=kinds(ACCEPTED))
def test_a_type_is_an_identity_or_is_refused_as_one(line: tuple[Any, str, str]) -> None:
    array, _, identity = line
    for layout, laid_out in LAYOUTS.items():
        columns = {"email": laid_out(array), "customer_id": ["a", "b"]}
        if identity.startswith('"'):
            valued, empty = encoded(**columns)
            assert f'"email":{identity}' in valued, layout
            assert '"email"' not in empty, layout
        else:
            with pytest.raises(MappingRefused, match=r"column 'email' .*SQL") as refused:
                encoded(**columns)
            assert identity in str(refused.value)


@pytest.mark.parametrize("name", ["mpid", "mp_deviceid"])
@pytest.mark.parametrize("line", ACCEPTED, ids=kinds(ACCEPTED))
def test_a_type_is_read_as_an_integer_or_a_uuid_or_is_refused(line: tuple[Any, str, str], name: str) -> None:
    for laid_out in LAYOUTS.values():
        try:
            batches = encoded(**{name: laid_out(line[0]), "email": ["a", "b"]})
        except MappingRefused as refused:
            sentence = str(refused)
            assert f"column '{name}' " in sentence
            assert "SQL" in sentence
        else:
            assert f'"{name}"' not in batches[-1]


@pytest.mark.parametrize("line", REFUSED, ids=kinds(REFUSED))
def test_a_type_without_a_meaning_is_refused_by_name_with_the_cure(line: tuple[Any, str]) -> None:
    array, reason = line
    for wrap in (lambda same: same, in_dictionary, *INSIDE.values()):
        with pytest.raises(MappingRefused, match=f"column 'a' .*{reason}.*SQL"):
            encoded(email=["a@x", "b@x"], a=wrap(array))
