"""What becomes of one event row, told naively: its batch, or the codes of the rule that it breaks.

Nothing of the encoder is used here. Expected values are those of ``test_encode_oracle``, and numbers whose digits are
known; ``same`` compares them to parsed JSON in which every number is its digits.
"""

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from ipaddress import ip_address
from itertools import pairwise
from typing import Any

import numpy as np
import orjson
import pyarrow as pa

from shared.catalog import NullPolicy
from shared.ledger import RejectCode
from shared.mapping.destinations import USER_ATTRIBUTES, ValueType
from shared.mapping.plan import EVENT, EVENT_DATA, EVENT_TIME, EVENT_TYPE, Leaf, MappingPlan, Need, Needed, Path
from tests.worker.mparticle import test_encode_oracle as attributes
from tests.worker.mparticle.test_encode_oracle import Document, Json, Moment
from worker.mparticle.check import Checks

DAY_MS = 86_400_000
PER_S = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}
UNFIT = object()
IsRight = Callable[[Any], bool]
"""Whether mParticle's own schema accepts a batch."""
CODES = {
    ValueType.UUID: RejectCode.INVALID_UUID,
    ValueType.INT64: RejectCode.INVALID_INTEGER,
    ValueType.ATTRIBUTE: RejectCode.INVALID_JSON,
    ValueType.SCALAR: RejectCode.INVALID_JSON,
    ValueType.NUMBER: RejectCode.INVALID_NUMBER,
    ValueType.BOOLEAN: RejectCode.INVALID_BOOLEAN,
    ValueType.EPOCH_MS: RejectCode.INVALID_TIMESTAMP,
    ValueType.IP: RejectCode.INVALID_IP,
    ValueType.CHOICE: RejectCode.INVALID_CHOICE,
    ValueType.OBJECTS: RejectCode.INVALID_OBJECT,
}


@dataclass(frozen=True)
class Digits:
    """A number of JSON, as it is written."""

    text: str


@dataclass(frozen=True)
class FloatText:
    """A float as text; which of its shortest forms is open."""

    value: float


@dataclass(frozen=True)
class Fault:
    """The first rule that a row breaks; where several columns break it, any of their codes will do."""

    codes: frozenset[RejectCode]


def parse(text: Any) -> Any:
    return json.loads(text, parse_float=Digits, parse_int=Digits, parse_constant=_refuse)


def rows_of(table: Any) -> list[dict[str, Any]]:
    """Give a table's rows as Arrow scalars by column."""
    return [{name: table.column(name)[number] for name in table.column_names} for number in range(table.num_rows)]


def expected_of(plan: MappingPlan, row: dict[str, Any], request_id: str, checks: Checks) -> dict[str, Any] | Fault:
    """Give the batch of one row of Arrow scalars, or why there is none."""
    event_type = _event_type(plan, row)
    leaves = [(leaf, value_of(leaf, row[leaf.column])) for leaf in plan.leaves if _has(leaf.event_types, event_type)]
    said: list[tuple[Path, Any]] = [
        (constant.path, constant.value) for constant in plan.constants if _has(constant.event_types, event_type)
    ]
    said += [(leaf.path, value) for leaf, value in leaves if value is not None]
    fault = _fault(plan, leaves, {path for path, _ in said}, event_type, checks)
    if fault is not None:
        return fault
    batch: dict[str, Any] = {"source_request_id": request_id, "events": [{"data": {}}]}
    for path, value in said:
        put(batch, path, value)
    for leaf, value in leaves:
        if value is None and leaf.path[0] == USER_ATTRIBUTES:
            if plan.on_null is NullPolicy.NULL:
                put(batch, leaf.path, None)
            elif plan.on_null is NullPolicy.DELETE:
                batch.setdefault("deleted_user_attributes", []).append(leaf.path[-1])
    return batch


def instant_of(plan: MappingPlan, row: dict[str, Any]) -> int | None:
    """Give when a good row's event happened, in ms since 1970, if it says so."""
    for constant in plan.constants:
        if constant.path == EVENT_TIME:
            return int(constant.value)
    for leaf in plan.leaves:
        if leaf.path == EVENT_TIME and _has(leaf.event_types, _event_type(plan, row)):
            value = value_of(leaf, row[leaf.column])
            return None if value is None else int(value)
    return None


def value_of(leaf: Leaf, scalar: Any) -> Any:
    """Give what one Arrow scalar becomes in a field; None if it has no value, ``UNFIT`` if the field refuses it."""
    match leaf.value:
        case ValueType.ATTRIBUTE:
            value = attributes.value_of(scalar)
            return UNFIT if value is attributes.BROKEN else value
        case ValueType.SCALAR:
            return _scalar(scalar)
        case ValueType.OBJECTS:
            return _objects(leaf, scalar)
        case ValueType.EPOCH_MS:
            return _instant(scalar)
        case ValueType.TEXTS:
            return _texts(scalar)
        case _:
            plain = attributes.unwrapped(scalar)
            value = attributes.simple_value_of(plain) if plain.is_valid else None
            return None if value is None else _simple(leaf, value)


def _simple(leaf: Leaf, value: Any) -> Any:
    match leaf.value:
        case ValueType.STRING:
            return str(value) or None
        case ValueType.TEXT:
            return _as_text(value)
        case ValueType.UUID:
            return (value if attributes.is_uuid(value) else UNFIT) if value else None
        case ValueType.INT64:
            return None if value == "" else _integer(value)
        case ValueType.NUMBER:
            return _number(value)
        case ValueType.BOOLEAN:
            return _boolean(value)
        case ValueType.IP:
            return value if _is_address(value) else UNFIT
        case ValueType.CHOICE:
            return value if value in leaf.choices else UNFIT
        case _:
            raise AssertionError(leaf)


def _as_text(value: Any) -> Any:
    match value:
        case bool():
            return "true" if value else "false"
        case float():
            return FloatText(value)
        case Decimal():
            return format(value, "f")
        case Digits():
            return value.text
        case int() | str():
            return str(value)
        case _:
            return UNFIT


def _integer(value: Any) -> Any:
    text = value.text if isinstance(value, Digits) else format(value, "f") if isinstance(value, Decimal) else str(value)
    return int(text) if re.fullmatch("-?[0-9]{1,19}", text) and -(2**63) <= int(text) < 2**63 else UNFIT


def _number(value: Any) -> Any:
    match value:
        case bool():
            return UNFIT
        case str():
            try:
                found = parse(value)
            except ValueError:
                return UNFIT
            return found if isinstance(found, Digits) and found.text == value else UNFIT
        case int() | float() | Decimal() | Digits():
            return value
        case _:
            return UNFIT


def _boolean(value: Any) -> Any:
    words = {"true": True, "false": False}
    match value:
        case str():
            return words.get(value.lower(), UNFIT)
        case Digits():
            return {"0": False, "1": True}.get(value.text, UNFIT)
        case bool() | int() | Decimal():
            return bool(value) if value in {0, 1} else UNFIT
        case _:
            return UNFIT


def _is_address(text: Any) -> bool:
    try:
        ip_address(text)
    except ValueError:
        return False
    return "%" not in text  # A zone is no part of an address to anybody else.


def _instant(scalar: Any) -> Any:
    plain = attributes.unwrapped(scalar)
    if not plain.is_valid:
        return None
    kind = plain.type
    if not pa.types.is_temporal(kind):
        return _integer(plain.as_py()) if not pa.types.is_null(kind) else None
    if attributes.iso(kind, plain.value) is None:
        return None
    if pa.types.is_date32(kind):
        return plain.value * DAY_MS
    return plain.value if pa.types.is_date64(kind) else plain.value * 1000 // PER_S[kind.unit]


def _texts(scalar: Any) -> Any:
    plain = attributes.unwrapped(scalar)
    if not plain.is_valid:
        return None
    if not pa.types.is_nested(plain.type):
        return [plain.as_py()]
    return [entry.as_py() for entry in map(attributes.unwrapped, plain.values) if entry.is_valid]


def _scalar(scalar: Any) -> Any:
    plain = attributes.unwrapped(scalar)
    if not plain.is_valid:
        return None
    try:
        if attributes.is_json(plain.type):
            text = attributes.content_of(plain).text
            value = parse(text)
            return Document(Json(text)) if isinstance(value, list | dict) else value
        if pa.types.is_nested(plain.type):
            return Document(attributes.content_of(plain))
    except attributes.NotJsonError:
        return UNFIT
    return attributes.simple_value_of(plain)


def _objects(leaf: Leaf, scalar: Any) -> Any:
    plain = attributes.unwrapped(scalar)
    if not plain.is_valid:
        return None
    if attributes.is_json(plain.type):
        try:
            return _json_objects(leaf, parse(attributes.content_of(plain).text))
        except attributes.NotJsonError:
            return UNFIT
    found: list[Any] = []
    for entry in map(attributes.unwrapped, plain.values):
        if not entry.is_valid:
            continue
        if attributes.is_json(entry.type):
            try:
                written = _json_objects(leaf, [parse(attributes.content_of(entry).text)])
            except attributes.NotJsonError:
                return UNFIT
            found += [UNFIT] if written is UNFIT else written
        else:
            found.append(_object(leaf, [(member, value_of(member, _field(entry, member))) for member in leaf.members]))
    return UNFIT if UNFIT in found else found


def _field(entry: Any, member: Leaf) -> Any:
    """Give a field of a struct; the second name of ``outer.inner`` is one of a struct in it."""
    if entry.type.get_field_index(member.column) >= 0:
        return entry[member.column]
    outer, _, inner = member.column.partition(".")
    found = entry[outer]
    return found[inner] if found.is_valid else pa.scalar(None)


def _json_objects(leaf: Leaf, value: Any) -> Any:
    if value is None:
        return None
    if not isinstance(value, list):
        return UNFIT
    found = []
    known = {member.column for member in leaf.members}
    for entry in value:
        if entry is None:
            continue
        if not isinstance(entry, dict) or not known.issuperset(_flat(entry, known)):
            return UNFIT
        flat = _flat(entry, known)
        found.append(_object(leaf, [(member, _json_value(member, flat.get(member.column))) for member in leaf.members]))
    return UNFIT if UNFIT in found else found


def _flat(entry: dict[str, Any], known: set[str]) -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in entry.items():
        if isinstance(value, dict) and name not in known:
            flat |= {f"{name}.{inner}": one for inner, one in value.items()}
        else:
            flat[name] = value
    return flat


def _json_value(member: Leaf, value: Any) -> Any:
    if value is None:
        return None
    if member.value is ValueType.OBJECTS:
        return _json_objects(member, value)
    if member.value is ValueType.EPOCH_MS:
        return _integer(value) if isinstance(value, Digits) else UNFIT
    if member.value in {ValueType.TEXT, ValueType.NUMBER, ValueType.INT64, ValueType.BOOLEAN}:
        return _simple(member, value) if isinstance(value, str | bool | Digits) else UNFIT
    return _simple(member, value) if isinstance(value, str) else UNFIT


def _object(leaf: Leaf, values: list[tuple[Leaf, Any]]) -> Any:
    said = {member.path for member, value in values if value is not None}
    if any(value is UNFIT for _, value in values) or any(_is_unmet(need, said, None) for need in leaf.needs):
        return UNFIT
    written: dict[str, Any] = {}
    for member, value in values:
        if value is not None:
            put(written, member.path, value)
    return written


def _event_type(plan: MappingPlan, row: dict[str, Any]) -> str | None:
    for constant in plan.constants:
        if constant.path == EVENT_TYPE:
            return str(constant.value)
    for leaf in plan.leaves:
        if leaf.path == EVENT_TYPE:
            value = value_of(leaf, row[leaf.column])
            return value if isinstance(value, str) else None
    return None


def _has(event_types: tuple[str, ...], event_type: str | None) -> bool:
    return not event_types or event_type in event_types


def _fault(
    plan: MappingPlan, leaves: list[tuple[Leaf, Any]], said: set[Path], event_type: str | None, checks: Checks
) -> Fault | None:
    if all(value is None for leaf, value in leaves if leaf.is_identity):
        return Fault(frozenset({RejectCode.NO_IDENTITY}))
    unfit = {CODES[leaf.value] for leaf, value in leaves if value is UNFIT}
    if unfit:
        return Fault(frozenset(unfit))
    if any(_is_unmet(need, said, event_type) for need in plan.needs):
        return Fault(frozenset({RejectCode.MISSING_FIELD}))
    bounded = [value for leaf, value in leaves if leaf.value in {ValueType.ATTRIBUTE, ValueType.SCALAR}]
    lists = [value for value in bounded if isinstance(value, list)]
    sent = [value for leaf, value in leaves if leaf.path[0] == USER_ATTRIBUTES]
    if plan.on_null is not NullPolicy.NULL:
        sent = [value for value in sent if value is not None]
    rules = [
        (RejectCode.VALUE_TOO_LONG, any(_length(value) > checks.value_max_chars for value in bounded)),
        (RejectCode.LIST_TOO_LONG, any(len(value) > checks.list_max_entries for value in lists)),
        (
            RejectCode.LIST_ENTRY_TOO_LONG,
            any(attributes.length(entry) > checks.entry_max_chars for value in lists for entry in value),
        ),
        (RejectCode.TOO_MANY_ATTRIBUTES, len(sent) > checks.max_attributes),
    ]
    return next((Fault(frozenset({code})) for code, is_broken in rules if is_broken), None)


def _length(value: Any) -> int:
    return len(_written(value.content)) if isinstance(value, Document) else attributes.length(value)


def _written(content: Any) -> str:
    match content:
        case dict():
            return "{" + ",".join(f"{_written(name)}:{_written(value)}" for name, value in content.items()) + "}"
        case list():
            return "[" + ",".join(map(_written, content)) + "]"
        case Decimal():
            return format(content, "f")
        case float():
            # What a column of 32-bit floats holds has few digits, and nearly nothing else is such a float.
            with np.errstate(over="ignore"):
                short = np.float32(content)
                written = short if float(short) == content else content
            return orjson.dumps(written, option=orjson.OPT_SERIALIZE_NUMPY).decode()
        case _:
            return attributes.written(content)


def _is_unmet(need: Need, said: set[Path], event_type: str | None) -> bool:
    if not _has(need.event_types, event_type):
        return False
    if need.path not in {(), EVENT, EVENT_DATA} and not _is_said(need.path, said):
        return False
    filled = [_is_said((*need.path, name), said) for name in need.fields]
    return not (any(filled) if need.needed is Needed.ANY else all(filled))


def _is_said(path: Path, said: set[Path]) -> bool:
    return any(one[: len(path)] == path for one in said)


def put(batch: Any, path: Path, value: Any) -> None:
    """Set a field and make what is on the way to it; 0 is the only entry of a list."""
    for name, following in pairwise(path):
        batch = batch[name] if isinstance(name, int) else batch.setdefault(name, [{}] if following == 0 else {})
    batch[path[-1]] = value


def same(expected: Any, actual: Any) -> bool:  # noqa: C901, PLR0911 - one answer for each kind of value
    """Compare an expected value to what ``parse`` gave."""
    match expected:
        case Json():
            return same(parse(expected.text), actual)
        case Document():
            return isinstance(actual, str) and same(expected.content, parse(actual))
        case dict():
            return (
                isinstance(actual, dict)
                and expected.keys() == actual.keys()
                and all(same(expected[name], actual[name]) for name in expected)
            )
        case list():
            return isinstance(actual, list) and len(expected) == len(actual) and all(map(same, expected, actual))
        case FloatText():
            return isinstance(actual, str) and _is_float(expected.value, actual)
        case float():
            return isinstance(actual, Digits) and _is_float(expected, actual.text)
        case bool() | None:
            return bool(actual is expected)
        case Decimal():
            return isinstance(actual, Digits) and Decimal(actual.text).as_tuple() == expected.as_tuple()
        case int():
            return bool(actual == Digits(str(expected)))
        case Moment():
            return bool(actual == str(expected))
        case _:
            return type(actual) is type(expected) and bool(actual == expected)


def _is_float(expected: float, text: str) -> bool:
    # Shorter text is right if it is the same float; 32-bit floats need fewer digits.
    found = float(text)
    return found == expected or bool(np.float32(found) == np.float32(expected))


def _refuse(constant: str) -> float:
    raise ValueError(constant)
