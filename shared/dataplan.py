"""A data plan: what batches are expected to hold, as mParticle exports it and a pipeline declares it.

A plan is a list of data points. Each says what it is about, such as the custom event of one name, and holds the JSON
Schema of it. Here a document becomes data points, or is refused with the path of the mistake.

Source: mParticle, Data Planning API (``VersionDocument`` and what it is made of; the kinds of violation).
"""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from enum import StrEnum
from functools import lru_cache
from typing import Any, Final

import orjson
from pydantic import Field, field_validator

from shared.fields import Declared

DOCUMENT_MAX_BYTES: Final = 1_000_000
"""Every run keeps a copy of its pipeline's plan."""

_REFERENCES: Final = frozenset({"$ref", "$dynamicRef", "$recursiveRef"})
_NAMES_OF_SCHEMAS: Final = frozenset({"$schema", "$id"})
_NULL: Final = re.compile(rb"(?<!\\)(?:\\\\)*\\u0000")
"""The character as JSON writes it, and not a backslash before these letters."""
_VALUES: Final = frozenset({"const", "enum", "default", "examples"})


class MatchType(StrEnum):
    """What a data point is about."""

    CUSTOM_EVENT = "custom_event"
    SCREEN_VIEW = "screen_view"
    PRODUCT_ACTION = "product_action"
    PROMOTION_ACTION = "promotion_action"
    PRODUCT_IMPRESSION = "product_impression"
    USER_ATTRIBUTES = "user_attributes"
    USER_IDENTITIES = "user_identities"
    UNKNOWN = "unknown"


_CRITERIA: Final[Mapping[MatchType, tuple[str, ...]]] = {
    MatchType.CUSTOM_EVENT: ("event_name", "custom_event_type"),
    MatchType.SCREEN_VIEW: ("screen_name",),
    MatchType.PRODUCT_ACTION: ("action",),
    MatchType.PROMOTION_ACTION: ("action",),
}
"""What tells data points of one type apart; of the other types a plan has one."""


class OnViolation(StrEnum):
    """What becomes of a row that violates its plan: sent and counted, or rejected."""

    WARN = "warn"
    REJECT = "reject"


@dataclass(frozen=True, slots=True)
class DataPoint:
    """What it is about, told by the values of its criteria, and the JSON Schema of it."""

    match: MatchType
    criteria: tuple[str, ...]
    definition: Mapping[str, Any]


class DataPlan(Declared):
    """The plan of a pipeline's batches, and what becomes of a row that violates it."""

    document: dict[str, Any] = Field(description="a plan's version, or its version_document, as mParticle exports it")
    on_violation: OnViolation = OnViolation.WARN

    @field_validator("document")
    @classmethod
    def _is_a_plan(cls, document: dict[str, Any]) -> dict[str, Any]:
        try:
            written = _written(document)
        except orjson.JSONEncodeError as error:
            raise ValueError(f"it is no JSON: {error}") from None
        if _NULL.search(written):
            raise ValueError("it holds U+0000, which cannot be kept")
        if len(written) > DOCUMENT_MAX_BYTES:
            raise ValueError(f"it has {len(written):,} bytes; a plan has {DOCUMENT_MAX_BYTES:,} at most")
        try:
            _points_of(written)
        except RecursionError:
            raise ValueError("its schemas are nested too deeply") from None
        return document

    @property
    def points(self) -> tuple[DataPoint, ...]:
        """What the plan expects."""
        return _points_of(_written(self.document))


def _written(document: dict[str, Any]) -> bytes:
    return orjson.dumps(document, option=orjson.OPT_SORT_KEYS)


# A pipeline is read from the store again and again, and checking a schema takes a millisecond.
@lru_cache(maxsize=32)
def _points_of(written: bytes) -> tuple[DataPoint, ...]:
    path, declared = _version_document(orjson.loads(written))
    points = tuple(_point(point, f"{path}.{number}") for number, point in enumerate(declared))
    known: set[tuple[MatchType, tuple[str, ...]]] = set()
    for number, point in enumerate(points):
        if point.match is not MatchType.UNKNOWN and (point.match, point.criteria) in known:
            raise ValueError(f"{path}.{number}: another data point before has the same match")
        known.add((point.match, point.criteria))
    return points


def _version_document(document: dict[str, Any]) -> tuple[str, list[Any]]:
    """Find the data points in a plan, in a version of one or in a version's document."""
    path = ""
    if "data_plan_versions" in document:
        versions = _typed(document, "data_plan_versions", list, path)
        if len(versions) != 1:
            raise ValueError(f"data_plan_versions: the plan has {len(versions)} versions; give the one that is meant")
        path, document = "data_plan_versions.0.", _object(versions[0], "data_plan_versions.0")
    if "version_document" in document:
        document = _typed(document, "version_document", dict, path)
        path += "version_document."
    return f"{path}data_points", _typed(document, "data_points", list, path)


def _point(declared: Any, path: str) -> DataPoint:
    point = _object(declared, path)
    match = _typed(point, "match", dict, f"{path}.")
    validator = _typed(point, "validator", dict, f"{path}.")
    kind = _match_type(_typed(match, "type", str, f"{path}.match."), f"{path}.match.type")
    criteria: tuple[str, ...] = ()
    if kind in _CRITERIA:
        given = _typed(match, "criteria", dict, f"{path}.match.")
        criteria = tuple(_typed(given, name, str, f"{path}.match.criteria.") for name in _CRITERIA[kind])
    if validator.get("type", "json_schema") != "json_schema":
        raise ValueError(f"{path}.validator.type: expected json_schema")
    definition = _typed(validator, "definition", dict, f"{path}.validator.")
    return DataPoint(kind, criteria, _definition(definition, f"{path}.validator.definition"))


def _match_type(text: str, path: str) -> MatchType:
    try:
        return MatchType(text)
    except ValueError:
        nearest = get_close_matches(text, [kind.value for kind in MatchType], n=1, cutoff=0)
        raise ValueError(f"{path}: {text!r} is no type of data point; the nearest is {nearest[0]!r}") from None


def _definition(definition: dict[str, Any], path: str) -> dict[str, Any]:
    """Give a JSON Schema without its names, which would choose another draft; refuse one that is none."""
    from shared.json_schema import flaw_of  # noqa: PLC0415 - slow to import, and needed where there is a plan

    for where in _references(definition, path):
        raise ValueError(f"{where}: references are not supported, by mParticle neither; write the schema out")
    known: dict[str, Any] = _without_names(definition)
    if (flaw := flaw_of(known)) is not None:
        where = ".".join([path, *map(str, flaw.path)])
        raise ValueError(f"{where}: it is no JSON Schema, as keyword {flaw.keyword!r} of its rules says")
    return known


def _references(schema: Any, path: str) -> Iterator[str]:
    if isinstance(schema, list):
        for number, entry in enumerate(schema):
            yield from _references(entry, f"{path}.{number}")
    elif isinstance(schema, dict):
        for name, entry in schema.items():
            if name in _REFERENCES and isinstance(entry, str):
                yield f"{path}.{name}"
            elif name not in _VALUES:
                yield from _references(entry, f"{path}.{name}")


def _without_names(schema: Any) -> Any:
    if isinstance(schema, list):
        return [_without_names(entry) for entry in schema]
    if not isinstance(schema, dict):
        return schema
    return {
        name: entry if name in _VALUES else _without_names(entry)
        for name, entry in schema.items()
        if not (name in _NAMES_OF_SCHEMAS and isinstance(entry, str))
    }


def _object(found: Any, path: str) -> dict[str, Any]:
    if not isinstance(found, dict):
        raise ValueError(f"{path}: expected an object")  # noqa: TRY004 - pydantic reports ValueError
    return found


def _typed(found: dict[str, Any], name: str, kind: type, path: str) -> Any:
    """Give a field of the wanted type, or name it by its path."""
    if name not in found:
        there = ", ".join(json.dumps(key) for key in sorted(found)[:8]) or "nothing"
        raise ValueError(f"{path}{name}: missing; a data plan has it here, and there is {there}")
    if not isinstance(found[name], kind):
        expected = "an object" if kind is dict else "a list" if kind is list else "a text"
        raise ValueError(f"{path}{name}: expected {expected}")  # noqa: TRY004 - pydantic reports ValueError
    return found[name]
