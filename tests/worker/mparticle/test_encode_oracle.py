"""The encoder against an oracle that takes rows one by one, on random tables of every type that has a meaning."""

import json
import re
import uuid
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import date, timedelta
from decimal import Decimal
from itertools import pairwise
from math import isfinite
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from jsonschema import Draft7Validator

from shared.catalog import Environment, NullPolicy
from shared.ledger import RejectCode
from shared.mapping.compile import compile_user_mapping
from shared.mapping.destinations import ValueType
from shared.mapping.plan import Leaf, MappingPlan, Path
from worker.mparticle.check import Checks
from worker.mparticle.encode import Encoder
from worker.mparticle.prepared import EncodedRows

CHUNK = "0b9c7e4e-55c1-4a5e-9d6e-2a4d1f0f7a11"
TIGHT = Checks(value_max_chars=6, list_max_entries=3, entry_max_chars=4, max_attributes=3)
SOME = settings(deadline=None, max_examples=150, suppress_health_check=[HealthCheck.too_slow])


@dataclass(frozen=True)
class Document:
    """A struct, map or list of lists: sent as a string of JSON that parses to ``content``."""

    content: Any


@dataclass(frozen=True)
class Json:
    """JSON that a warehouse gave, as its text without blanks."""

    text: str


class NotJsonError(Exception):
    """A text that should be JSON is none."""


BROKEN = object()


class Moment(str):
    """A date or time: text that no limit is for."""

    __slots__ = ()


def value_of(scalar: Any) -> Any:
    """Give what one Arrow scalar becomes as an attribute; None if it has no value."""
    try:
        return attribute_of(unwrapped(scalar))
    except NotJsonError:
        return BROKEN


def attribute_of(scalar: Any) -> Any:
    if not scalar.is_valid:
        return None
    kind = scalar.type
    if is_json(kind):
        return value_of_json(content_of(scalar).text)
    if not pa.types.is_nested(kind):
        return simple_value_of(scalar)
    if pa.types.is_struct(kind) or pa.types.is_map(kind) or pa.types.is_nested(unwrapped_type(kind.value_type)):
        return Document(content_of(scalar))
    if is_json(unwrapped_type(kind.value_type)):
        return value_of_json(written(content_of(scalar)))
    return [entry for entry in map(value_of, scalar.values) if entry is not None]


def value_of_json(text: str) -> Any:
    value = parse(text)
    if isinstance(value, dict) or (isinstance(value, list) and any(isinstance(entry, dict | list) for entry in value)):
        return Document(Json(text))
    return [entry for entry in value if entry is not None] if isinstance(value, list) else value


def content_of(scalar: Any) -> Any:
    """Give what one scalar becomes inside a document, where nothing is left out."""
    scalar = unwrapped(scalar)
    kind = scalar.type
    if not scalar.is_valid:
        return None
    if pa.types.is_struct(kind):
        return {kind.field(number).name: content_of(scalar[number]) for number in range(kind.num_fields)}
    if pa.types.is_map(kind):
        pairs = [(simple_value_of(entry["key"]), content_of(entry["value"])) for entry in scalar.values]
        return {key if isinstance(key, str) else json.dumps(key): value for key, value in pairs}
    if pa.types.is_nested(kind):
        return [content_of(entry) for entry in scalar.values]
    return json_of(scalar.value.as_py()) if is_json(kind) else simple_value_of(scalar)


def json_of(text: str) -> Json:
    """Check a JSON text and drop the blanks outside of its strings."""
    try:
        json.loads(text).__str__().encode()  # Half a surrogate pair is no text.
    except ValueError:
        raise NotJsonError from None
    kept, inside, escaped = "", False, False
    for character in text:
        if inside or not character.isspace():
            kept += character
        inside ^= character == '"' and not escaped
        escaped = character == "\\" and not escaped
    return Json(kept)


def written(content: Any) -> str:
    """Write what a document holds."""
    if isinstance(content, Json):
        return content.text
    if isinstance(content, dict):
        return "{" + ",".join(f"{written(key)}:{written(value)}" for key, value in content.items()) + "}"
    if isinstance(content, list):
        return "[" + ",".join(map(written, content)) + "]"
    return json.dumps(content, ensure_ascii=False)


def simple_value_of(scalar: Any) -> Any:
    kind = scalar.type
    if pa.types.is_temporal(kind):
        written = iso(kind, scalar.value)
        return None if written is None else Moment(written)
    value = scalar.as_py()
    return None if isinstance(value, float) and not isfinite(value) else value


def unwrapped(scalar: Any) -> Any:
    """Take a scalar out of its dictionary, run or extension."""
    kind = scalar.type
    if not scalar.is_valid:
        return scalar
    if pa.types.is_dictionary(kind):
        return unwrapped(scalar.value)
    if pa.types.is_run_end_encoded(kind):
        return unwrapped(scalar.value)
    if isinstance(kind, pa.BaseExtensionType):
        match kind.extension_name:
            case "arrow.uuid":
                return pa.scalar(str(uuid.UUID(bytes=scalar.value.as_py())))
            case "arrow.bool8":
                return pa.scalar(scalar.value.as_py() != 0)
            case "arrow.json":
                return scalar
            case _:
                return scalar.value
    return scalar


def unwrapped_type(kind: Any) -> Any:
    wrapped = pa.types.is_run_end_encoded(kind) or pa.types.is_dictionary(kind)
    return unwrapped_type(kind.value_type) if wrapped else kind


def is_json(kind: Any) -> bool:
    return isinstance(kind, pa.JsonType)


def iso(kind: Any, count: int) -> str | None:
    """Write a count of days or of units since an epoch, by Python's own calendar."""
    if pa.types.is_date32(kind):
        return iso_date(count)
    if pa.types.is_date64(kind):
        return iso_date(count // 86_400_000)
    per_s, digits = {"s": (1, 0), "ms": (10**3, 3), "us": (10**6, 6), "ns": (10**9, 9)}[kind.unit]
    seconds, parts = divmod(count, per_s)
    days, second = divmod(seconds, 86_400)
    fraction = f".{parts:0{digits}}" if parts else ""
    while fraction.endswith("000"):
        fraction = fraction[:-3]
    clock = f"{second // 3600:02}:{second // 60 % 60:02}:{second % 60:02}{fraction}"
    if pa.types.is_time(kind):
        return clock if days == 0 else None
    day = iso_date(days)
    return None if day is None else f"{day}T{clock}{'' if kind.tz is None else 'Z'}"


def iso_date(days: int) -> str | None:
    try:
        return (date(1970, 1, 1) + timedelta(days)).isoformat()
    except OverflowError:
        return None


def batch_of(plan: MappingPlan, row: dict[str, Any], request_id: str, checks: Checks) -> Any:
    """Give the batch of one row, or the code and column of the first rule that it breaks."""
    values = [(leaf, value_of(row[leaf.column])) for leaf in plan.leaves]
    identities = [(leaf, as_identity(value)) for leaf, value in values if leaf.is_identity]
    attributes = [(leaf, value) for leaf, value in values if not leaf.is_identity]
    fault = first_fault(plan, identities, attributes, checks)
    if fault is not None:
        return fault
    batch: dict[str | int, Any] = {"source_request_id": request_id, "environment": "production"}
    for leaf, identity in identities:
        if identity is not None:
            put(batch, leaf.path, int(identity) if leaf.value is ValueType.INT64 else identity)
    for leaf, value in attributes:
        if value is not None:
            put(batch, leaf.path, value)
        elif plan.on_null is NullPolicy.NULL:
            put(batch, leaf.path, None)
        elif plan.on_null is NullPolicy.DELETE:
            batch.setdefault("deleted_user_attributes", []).append(leaf.path[-1])
    return batch


def as_identity(value: Any) -> str | None:
    return None if value is None or value == "" else str(value)


def put(batch: dict[str | int, Any], path: Path, value: Any) -> None:
    for name in path[:-1]:
        batch = batch.setdefault(name, {})
    batch[path[-1]] = value


def first_fault(
    plan: MappingPlan, identities: list[tuple[Leaf, str | None]], attributes: list[tuple[Leaf, Any]], checks: Checks
) -> tuple[RejectCode, str | None] | None:
    present = [(leaf, value) for leaf, value in identities if value is not None]
    if not present:
        return RejectCode.NO_IDENTITY, None
    lists = [(leaf, value) for leaf, value in attributes if isinstance(value, list)]
    rules: list[tuple[RejectCode, list[str]]] = [
        (
            RejectCode.INVALID_UUID,
            [leaf.column for leaf, value in present if leaf.value is ValueType.UUID and not is_uuid(value)],
        ),
        (
            RejectCode.INVALID_INTEGER,
            [leaf.column for leaf, value in present if leaf.value is ValueType.INT64 and not is_int64(value)],
        ),
        (RejectCode.INVALID_JSON, [leaf.column for leaf, value in attributes if value is BROKEN]),
        (
            RejectCode.VALUE_TOO_LONG,
            [leaf.column for leaf, value in attributes if length(value) > checks.value_max_chars],
        ),
        (RejectCode.LIST_TOO_LONG, [leaf.column for leaf, value in lists if len(value) > checks.list_max_entries]),
        (
            RejectCode.LIST_ENTRY_TOO_LONG,
            [leaf.column for leaf, value in lists if max(map(length, value), default=0) > checks.entry_max_chars],
        ),
    ]
    for code, columns in rules:
        if columns:
            return code, columns[0]
    sent = [value for _, value in attributes if value is not None or plan.on_null is NullPolicy.NULL]
    return (RejectCode.TOO_MANY_ATTRIBUTES, None) if len(sent) > checks.max_attributes else None


def is_uuid(text: str) -> bool:
    return re.fullmatch("[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}", text) is not None


def is_int64(text: str) -> bool:
    return re.fullmatch("-?[0-9]{1,19}", text) is not None and -(2**63) <= int(text) < 2**63


def length(value: Any) -> int:
    if isinstance(value, Document):
        return len(written(value.content))
    return len(value) if isinstance(value, str) and not isinstance(value, Moment) else 0


def same(expected: Any, actual: Any) -> bool:
    """Compare an expected value to parsed JSON, in which every number with a point is an exact ``Decimal``."""
    if isinstance(expected, Json):
        return same(parse(expected.text), actual)
    if isinstance(expected, Decimal):
        return type(actual) in {int, Decimal} and Decimal(actual).as_tuple() == expected.as_tuple()
    if isinstance(expected, Document):
        return isinstance(actual, str) and same(expected.content, parse(actual))
    if isinstance(expected, dict):
        return (
            isinstance(actual, dict)
            and expected.keys() == actual.keys()
            and all(same(expected[key], actual[key]) for key in expected)
        )
    if isinstance(expected, list):
        return isinstance(actual, list) and len(expected) == len(actual) and all(map(same, expected, actual))
    if isinstance(expected, float):
        # Shorter text is right if it is the same float; 32-bit floats need fewer digits.
        return float(actual) == expected or np.float32(actual) == np.float32(expected)
    if isinstance(expected, bool) or expected is None:
        return actual is expected
    return type(actual) in {int, str} and bool(actual == expected)


def parse(text: Any) -> Any:
    return json.loads(text, parse_float=Decimal)


TEXT = st.text(st.one_of(st.characters(exclude_categories=["Cs"]), st.sampled_from('"\\\n\x00\x1f\x7fé東')), max_size=8)
Build = Callable[[list[Any]], Any]


def typed(kind: Any) -> Build:
    return lambda values: pa.array(values, kind)


def cast(to: Any, kind: Any) -> Build:
    """Build values of ``kind`` and cast them, because Arrow cannot build extension types inside of others."""
    return lambda values: pa.array(values, kind).cast(to)


def counted(kind: Any) -> Build:
    """Build dates, times and timestamps from their counts, so that any count may come."""
    width = pa.int32() if kind.bit_width == 32 else pa.int64()
    return lambda values: pa.array(values, width).view(kind)


def integers(bits: int, *, signed: bool) -> st.SearchStrategy[int]:
    return st.integers(-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if signed else st.integers(0, 2**bits - 1)


def decimals(kind: Any) -> st.SearchStrategy[Decimal]:
    most = 10**kind.precision - 1
    # Not scaleb(): that rounds to the context's 28 digits.
    return st.integers(-most, most).map(lambda unscaled: Decimal(f"{unscaled}E{-kind.scale}"))


NUMBERS: list[tuple[Build, st.SearchStrategy[Any]]] = [
    *((typed(getattr(pa, f"int{bits}")()), integers(bits, signed=True)) for bits in (8, 16, 32, 64)),
    *((typed(getattr(pa, f"uint{bits}")()), integers(bits, signed=False)) for bits in (8, 16, 32, 64)),
    (typed(pa.float32()), st.floats(width=32)),
    (typed(pa.float64()), st.floats()),
    (
        lambda values: pa.array([None if v is None else np.float16(v) for v in values], pa.float16()),
        st.floats(width=16),
    ),
    (typed(pa.float64()), st.integers(-(10**6), 10**6).map(lambda cents: cents / 100)),
    (typed(pa.bool_()), st.booleans()),
    (lambda values: pa.ExtensionArray.from_storage(pa.bool8(), pa.array(values, pa.int8())), st.integers(-1, 1)),
    *(
        (typed(kind), decimals(kind))
        for kind in (
            pa.decimal32(7, 3),
            pa.decimal64(18, 4),
            pa.decimal128(12, 2),
            pa.decimal128(18, 18),
            pa.decimal128(38, 0),
            pa.decimal128(38, 20),
            pa.decimal128(28, 4),
            pa.decimal256(60, 3),
            pa.decimal256(76, 38),
            pa.decimal256(76, 0),
        )
    ),
    (typed(pa.decimal256(76, 38)), st.sampled_from([Decimal("0E-38"), Decimal("1E-38"), Decimal("-1.5E-20")])),
    (typed(pa.decimal128(38, 4)), st.integers(-(10**10), 10**10).map(lambda unscaled: Decimal(f"{unscaled}E-4"))),
]
INSTANTS: list[tuple[Build, st.SearchStrategy[Any]]] = [
    (counted(pa.date32()), st.one_of(st.integers(-800_000, 3_000_000), integers(32, signed=True))),
    (counted(pa.date32()), st.integers(0, 3)),
    (counted(pa.date64()), st.integers(-800_000, 3_000_000).map(lambda days: days * 86_400_000)),
    *((counted(pa.time32(unit)), st.integers(-5, 86_400 * per_s + 5)) for unit, per_s in (("s", 1), ("ms", 10**3))),
    *(
        (counted(pa.time64(unit)), st.integers(-5, 86_400 * per_s + 5))
        for unit, per_s in (("us", 10**6), ("ns", 10**9))
    ),
    *(
        (
            counted(pa.timestamp(unit, zone)),
            st.one_of(
                integers(64, signed=True),
                st.builds(
                    lambda seconds, thousands, per_s=per_s: seconds * per_s + thousands * max(per_s // 1000, 1),
                    st.integers(-3_000_000_000, 8_000_000_000),
                    st.integers(0, 999),
                ),
            ),
        )
        for unit, per_s in (("s", 1), ("ms", 10**3), ("us", 10**6), ("ns", 10**9))
        for zone in (None, "UTC", "Europe/Berlin")
    ),
]
STRINGS: list[tuple[Build, st.SearchStrategy[Any]]] = [
    *((typed(kind), TEXT) for kind in (pa.string(), pa.large_string(), pa.string_view())),
    (lambda values: pa.array(values, pa.string()).dictionary_encode(), TEXT),
    (typed(pa.dictionary(pa.int8(), pa.large_string())), st.sampled_from(["", "a", "twelve", '"q"'])),
    (lambda values: pc.run_end_encode(pa.array(values, pa.string())), st.sampled_from(["a", "b\n"])),
    (
        lambda values: pa.ExtensionArray.from_storage(pa.uuid(), pa.array(values, pa.binary(16))),
        st.binary(min_size=16, max_size=16),
    ),
    (typed(pa.opaque(pa.string(), "name", "vendor")), TEXT),
]


def shared(build: Build, strategy: st.SearchStrategy[Any]) -> tuple[Build, st.SearchStrategy[Any]]:
    """Put values of any type into a dictionary that also holds a NULL, one nobody uses, and some twice."""

    def build_shared(values: list[Any]) -> Any:
        held = [None, *values[:1], *values]
        codes = [
            0 if value is None and number % 2 else number + len(held) - len(values)
            for number, value in enumerate(values)
        ]
        return pa.DictionaryArray.from_arrays(pa.array(codes, pa.int16()), build(held))

    return build_shared, strategy


def runs(build: Build, strategy: st.SearchStrategy[Any]) -> tuple[Build, st.SearchStrategy[Any]]:
    """Let some values last for up to three rows."""

    def build_runs(values: list[Any]) -> Any:
        ends = [number + 1 for number in range(len(values)) if number % 3 == 0 or number + 1 == len(values)]
        return pa.RunEndEncodedArray.from_arrays(pa.array(ends, pa.int32()), build(values[: len(ends)]))

    return build_runs, strategy


RUNS = [runs(*kind) for kind in (*NUMBERS[::3], *INSTANTS[:2], *STRINGS)]
BLANK = st.sampled_from(["", "", " ", "\n  ", "\t"])
JSON_SCALAR = st.one_of(
    st.sampled_from(["null", "true", "false", '""', '"a b"', '"\\u00e9\\\\"', "-0", "0", "1.10", "1E5", "-1.5e-07"]),
    st.integers(-(2**70), 2**70).map(str),
    st.decimals(allow_nan=False, allow_infinity=False, places=4).map("{:f}".format),
    st.builds(json.dumps, TEXT, ensure_ascii=st.booleans()),
)


def _array(entries: list[str], blank: str) -> str:
    return f"{blank}[{blank}" + f"{blank},{blank}".join(entries) + f"{blank}]"


def _object(names: list[str], values: list[str], blank: str) -> str:
    members = [f"{json.dumps(name)}{blank}:{blank}{value}" for name, value in zip(names, values, strict=False)]
    return "{" + f"{blank},{blank}".join(members) + f"{blank}}}"


JSON_TEXT = st.one_of(
    st.recursive(
        st.builds("{1}{0}{1}".format, JSON_SCALAR, BLANK),
        lambda inner: st.one_of(
            st.builds(_array, st.lists(inner, max_size=4), BLANK),
            st.builds(_object, st.lists(TEXT, max_size=3), st.lists(inner, max_size=3), BLANK),
        ),
        max_leaves=5,
    ),
    st.builds(_array, st.lists(JSON_SCALAR, max_size=4), BLANK),
)
NO_JSON = st.sampled_from(["", "{", "nul", "[1,]", "1 2", "'a'", '{"a":1', '"\n"', '"\\ud800"', "01", "\0"])
ANY_JSON = st.one_of(JSON_TEXT, JSON_TEXT, NO_JSON)
JSONS: list[tuple[Build, st.SearchStrategy[Any]]] = [
    *((typed(pa.json_(kind)), JSON_TEXT) for kind in (pa.string(), pa.large_string(), pa.string_view())),
    (typed(pa.json_()), ANY_JSON),
    (typed(pa.json_()), st.sampled_from(["null", '["a", null]', "7"])),
    shared(typed(pa.json_()), ANY_JSON),
]
RUNS.append(runs(typed(pa.json_()), ANY_JSON))
SCALARS = [
    *NUMBERS,
    *INSTANTS,
    *STRINGS,
    *JSONS,
    *RUNS,
    (lambda values: pa.nulls(len(values)), st.none()),
    (lambda values: pa.array(values, pa.int64()).dictionary_encode(), st.integers(0, 3)),
    (lambda values: pa.array(values, pa.bool_()).dictionary_encode(), st.booleans()),
    (lambda values: pa.array(values, pa.float64()).dictionary_encode(), st.sampled_from([1.5, float("nan")])),
]


def lists(build: Build, strategy: st.SearchStrategy[Any], layout: str) -> tuple[Build, st.SearchStrategy[Any]]:
    def build_lists(values: list[Any]) -> Any:
        # A NULL list may still own entries: here those of the list before it.
        owned: list[list[Any]] = []
        for value in values:
            owned.append(value if value is not None else (owned[-1] if owned else []))
        entries = build([entry for value in owned for entry in value])
        sizes = [len(value) for value in owned]
        bounds = [sum(sizes[:number]) for number in range(len(sizes) + 1)]
        mask = pa.array([value is None for value in values], pa.bool_())
        match layout:
            case "large":
                return pa.LargeListArray.from_arrays(pa.array(bounds, pa.int64()), entries, mask=mask)
            case "view":
                return pa.ListViewArray.from_arrays(
                    pa.array(bounds[:-1], pa.int32()), pa.array(sizes, pa.int32()), entries, mask=mask
                )
            case _:
                return pa.ListArray.from_arrays(pa.array(bounds, pa.int32()), entries, mask=mask)

    return build_lists, st.lists(st.one_of(st.none(), strategy), max_size=5)


PLAIN_LISTS = [
    lists(*scalar, layout)
    for scalar in SCALARS
    for layout in ("plain", "large", "view")
    if layout != "view" or scalar not in [*RUNS, *JSONS]  # Arrow 26 spoils list views of extension types, and runs.
]
FIXED = (typed(pa.list_(pa.string(), 2)), st.lists(st.one_of(st.none(), TEXT), min_size=2, max_size=2))
NUMBER = st.one_of(st.none(), st.integers(-9, 9))
NESTED: list[tuple[Build, st.SearchStrategy[Any]]] = [
    (
        typed(pa.struct([("a", pa.int8()), ('b"', pa.string()), ("c", pa.list_(pa.bool_()))])),
        st.fixed_dictionaries(
            {
                "a": NUMBER,
                'b"': st.one_of(st.none(), TEXT),
                "c": st.one_of(st.none(), st.lists(st.booleans(), max_size=2)),
            }
        ),
    ),
    (typed(pa.struct([])), st.just({})),
    (typed(pa.map_(pa.string(), pa.int64())), st.dictionaries(TEXT, NUMBER, max_size=3).map(lambda d: list(d.items()))),
    (
        typed(pa.map_(pa.date32(), pa.struct([("x", pa.int8())]))),
        st.dictionaries(st.dates(), st.one_of(st.none(), st.just({"x": 1})), max_size=2).map(lambda d: list(d.items())),
    ),
    (typed(pa.list_(pa.list_(pa.int8()))), st.lists(st.one_of(st.none(), st.lists(NUMBER, max_size=2)), max_size=3)),
    (
        typed(pa.large_list(pa.struct([("t", pa.timestamp("us", "UTC"))]))),
        st.lists(st.one_of(st.none(), st.just({"t": 1_700_000_000_123_000})), max_size=3),
    ),
    (
        cast(
            pa.struct([("j", pa.json_()), ("k", pa.list_(pa.json_()))]),
            pa.struct([("j", pa.string()), ("k", pa.list_(pa.string()))]),
        ),
        st.fixed_dictionaries({"j": st.one_of(st.none(), ANY_JSON), "k": st.lists(st.none() | JSON_TEXT, max_size=2)}),
    ),
    (
        cast(pa.map_(pa.string(), pa.json_()), pa.map_(pa.string(), pa.string())),
        st.dictionaries(TEXT, st.none() | ANY_JSON, max_size=2).map(lambda d: list(d.items())),
    ),
    (
        cast(pa.list_(pa.list_(pa.json_())), pa.list_(pa.list_(pa.string()))),
        st.lists(st.none() | st.lists(ANY_JSON, max_size=2), max_size=2),
    ),
]


SHARED = [
    shared(*kind)
    for kind in (
        *NUMBERS[:1],
        *NUMBERS[8:9],
        *INSTANTS[:1],
        *STRINGS[2:3],
        *JSONS,
        *RUNS[:1],
        *PLAIN_LISTS[:1],
        *NESTED,
    )
]
FAMILIES = [NUMBERS, INSTANTS, STRINGS, JSONS, RUNS, SCALARS, PLAIN_LISTS, [FIXED], NESTED, SHARED]
TEXT_IDENTITIES = [
    *STRINGS,
    (typed(pa.int64()), integers(64, signed=True)),
    (typed(pa.uint16()), integers(16, signed=False)),
    (typed(pa.decimal128(38, 0)), decimals(pa.decimal128(38, 0))),
    (typed(pa.decimal128(9, 0)), decimals(pa.decimal128(9, 0))),
    (lambda values: pa.nulls(len(values)), st.none()),
]
UUIDS = [
    (typed(pa.string()), st.one_of(st.uuids().map(str), st.uuids().map(lambda u: str(u).upper()), TEXT)),
    (typed(pa.large_string()), st.uuids().map(lambda u: str(u).replace("-", "_"))),
    (lambda values: pa.array(values, pa.string()).dictionary_encode(), st.sampled_from([str(uuid.UUID(int=7)), "no"])),
    STRINGS[6],
]
MPIDS = [
    (typed(pa.int64()), integers(64, signed=True)),
    (typed(pa.uint64()), integers(64, signed=False)),
    (typed(pa.int8()), integers(8, signed=True)),
    (typed(pa.decimal128(38, 0)), decimals(pa.decimal128(20, 0))),
    (
        typed(pa.string()),
        st.one_of(
            st.sampled_from(
                ["", "-1", "007", "9223372036854775807", "9223372036854775808", "0x1F", "+1", " 1", "1e3", "-"]
            ),
            integers(64, signed=True).map(str),
        ),
    ),
]
IDENTITIES = {
    "Customer_ID": TEXT_IDENTITIES,
    "email": TEXT_IDENTITIES,
    "push_token": TEXT_IDENTITIES,
    "mp_deviceid": UUIDS,
    "IOS_IDFV": UUIDS,
    "mpid": MPIDS,
}
NAMES = ["a", "$Age", 'quo"te', "back\\slash", "naïve 東", "user_attributes", "line\nbreak"]


def is_bare(kind: Any) -> bool:
    """Whether an array is a bitmap and at most two buffers, so that ``hidden`` can take it apart."""
    return (
        not pa.types.is_nested(kind) and kind.id not in OTHERWISE_STORED and not isinstance(kind, pa.BaseExtensionType)
    )


def hidden(array: Any, nulls: list[bool]) -> Any:
    """Make values NULL without removing them: what stands in a NULL slot is arbitrary, and drivers differ."""
    bitmap = pa.array([not null for null in nulls], pa.bool_()).buffers()[1]
    return pa.Array.from_buffers(array.type, len(array), [bitmap, *array.buffers()[1:]])


OTHERWISE_STORED = {
    kind.id
    for kind in (
        pa.null(),
        pa.string_view(),
        pa.dictionary(pa.int8(), pa.string()),
        pa.run_end_encoded(pa.int32(), pa.string()),
    )
}


@st.composite
def tables(draw: st.DrawFn) -> Any:
    """A table of a few rows, in chunks, each a slice of something larger."""
    names = draw(st.lists(st.sampled_from(sorted(IDENTITIES)), min_size=1, max_size=3, unique=True))
    kinds = [(name, draw(st.sampled_from(IDENTITIES[name]))) for name in names]
    names = draw(st.lists(st.sampled_from(NAMES), max_size=5, unique=True))
    kinds += [(name, draw(st.sampled_from(FAMILIES).flatmap(st.sampled_from))) for name in names]
    kinds = draw(st.permutations(kinds))
    rows = draw(st.integers(0, 6))
    before, after = draw(st.integers(0, 3)), draw(st.integers(0, 2))
    whole = before + rows + after
    columns = {}
    for name, (build, strategy) in kinds:
        sometimes = st.one_of(st.none(), strategy) if draw(st.booleans()) else strategy
        array = build(draw(st.lists(sometimes, min_size=whole, max_size=whole)))
        if array.null_count == 0 and is_bare(array.type) and draw(st.booleans()):
            array = hidden(array, draw(st.lists(st.booleans(), min_size=whole, max_size=whole)))
        columns[name] = array.slice(before, rows)
    table = pa.table(columns)
    cut = draw(st.integers(0, rows))
    return pa.concat_tables([table.slice(0, cut), table.slice(cut)]) if draw(st.booleans()) else table


def batches_of(encoded: EncodedRows) -> list[bytes]:
    content = bytes(encoded.data)
    bounds = encoded.offsets.tolist()
    assert bounds[0] == 0
    assert bounds[-1] == len(content)
    texts = [content[start:end] for start, end in pairwise(bounds)]
    assert all(text.endswith(b",") for text in texts)
    return [text[:-1] for text in texts]


def plan_of(table: Any, on_null: NullPolicy) -> MappingPlan:
    return compile_user_mapping(table.schema, environment=Environment.PRODUCTION, on_null=on_null, iterator=None)


@SOME
@given(tables(), st.sampled_from(NullPolicy), st.sampled_from([TIGHT, Checks()]), st.integers(0, 1000))
def test_every_row_becomes_the_batch_or_the_reject_that_the_oracle_says(
    table: Any, on_null: NullPolicy, checks: Checks, first_row: int
) -> None:
    plan = plan_of(table, on_null)
    encoded = Encoder(plan, checks=checks).encode(table, chunk_id=CHUNK, first_row=first_row)
    batches = dict(zip(encoded.rows.tolist(), batches_of(encoded), strict=True))
    rejects = {reject.row: reject for reject in encoded.rejects}
    assert list(batches) == sorted(batches)
    assert list(rejects) == sorted(rejects)
    assert batches.keys() | rejects.keys() == set(range(first_row, first_row + table.num_rows))
    assert not batches.keys() & rejects.keys()
    for number in range(table.num_rows):
        row = {name: table.column(name)[number] for name in table.column_names}
        position = first_row + number
        expected = batch_of(plan, row, f"{CHUNK}:{position}", checks)
        if isinstance(expected, tuple):
            code, column = expected
            assert rejects[position].code is code
            assert column is None or repr(column) in rejects[position].reason
        else:
            assert position in batches, rejects[position]
            assert same(expected, parse(batches[position])), (expected, batches[position])


@SOME
@given(tables(), st.sampled_from(NullPolicy))
def test_mparticles_own_schema_accepts_every_batch(
    batch_schema: Draft7Validator, table: Any, on_null: NullPolicy
) -> None:
    encoded = Encoder(plan_of(table, on_null), checks=Checks()).encode(table, chunk_id=CHUNK)
    for batch in batches_of(encoded):
        batch_schema.validate(json.loads(batch))


@SOME
@given(tables(), st.integers(100, 300))
def test_a_limit_on_batches_rejects_exactly_those_that_are_larger_and_changes_no_other(table: Any, most: int) -> None:
    plan = plan_of(table, NullPolicy.OMIT)
    unlimited = Encoder(plan, checks=Checks()).encode(table, chunk_id=CHUNK)
    limited = Encoder(plan, checks=replace(Checks(), batch_max_bytes=most)).encode(table, chunk_id=CHUNK)
    sizes = dict(zip(unlimited.rows.tolist(), batches_of(unlimited), strict=True))
    assert dict(zip(limited.rows.tolist(), batches_of(limited), strict=True)) == {
        row: batch for row, batch in sizes.items() if len(batch) <= most
    }
    added = {reject.row: reject.code for reject in limited.rejects if reject not in unlimited.rejects}
    assert added == {row: RejectCode.BATCH_TOO_LARGE for row, batch in sizes.items() if len(batch) > most}


@SOME
@given(tables(), st.data())
def test_a_rows_batch_does_not_depend_on_the_rows_around_it(table: Any, data: st.DataObject) -> None:
    encoder = Encoder(plan_of(table, NullPolicy.DELETE), checks=Checks())
    whole = encoder.encode(table, chunk_id=CHUNK)
    cut = data.draw(st.integers(0, table.num_rows))
    parts = [
        encoder.encode(table.slice(0, cut), chunk_id=CHUNK),
        encoder.encode(table.slice(cut), chunk_id=CHUNK, first_row=cut),
    ]
    assert b"".join(bytes(part.data) for part in parts) == bytes(whole.data)
    assert [row for part in parts for row in part.rows.tolist()] == whole.rows.tolist()
    assert tuple(reject for part in parts for reject in part.rejects) == whole.rejects
