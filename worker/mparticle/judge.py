"""Whether encoded batches are what a data plan expects.

What mParticle's own linting counts is counted here, with its words: an event that no data point is about is
*unplanned*, and so is a field that a schema does not know; a field that must be there and is not is *missing_required*;
any other keyword that a schema breaks makes an *invalid_value*. Events of the types that a plan cannot describe, such
as the start of a session, are not judged. Neither are a user's attributes and identities where the plan has no data
point of them, or the batch has none of these.

A violation is told by its rule: the data point, the path in its schema, and the keyword. All of these are the plan's
own words. A field that the plan does not know is named only where it is among the names that the caller vouches for.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

import orjson
from jsonschema import Draft201909Validator, FormatChecker
from jsonschema.exceptions import ValidationError
from referencing import Registry

from shared.dataplan import DataPlan, DataPoint, MatchType, OnViolation
from shared.json_schema import SCHEMA_OF
from shared.mapping.destinations import DEVICE_INFO, MP_DEVICEID, USER_ATTRIBUTES, USER_IDENTITIES

_FORMATS: Final = FormatChecker(("date", "email", "ipv4", "ipv6", "uuid"))
"""Those that need no further library, so that a plan means the same everywhere."""
_RULE_MAX_CHARS: Final = 300
_DEVICE_IDENTITIES: Final = {
    "ios_advertising_id": "ios_idfa",
    "android_advertising_id": "android_aaid",
    "ios_idfv": "ios_idfv",
    "android_uuid": "android_uuid",
    "roku_advertising_id": "roku_aid",
    "fire_advertising_id": "fire_aid",
    "amp_id": "amp_id",
    "push_token": "push_token",
}
"""A device's identity in a batch, and in a plan, which lists it among the user's."""
_DEVICE_STAMP: Final = "device_application_stamp"

_Key = tuple[MatchType, tuple[str, ...]]


@dataclass(frozen=True, slots=True)
class Violation:
    """A rule that a batch violates, and the number of the event in it; None: it is about the user."""

    rule: str
    event: int | None


class Judge:
    """Judges batches by one plan, whose schemas it prepares once.

    Args:
        plan: What batches are expected to hold.
        names: Names that may be told though the plan does not know them, because no row holds them: the columns'.
    """

    def __init__(self, plan: DataPlan, *, names: Collection[str] = ()) -> None:
        self.is_strict: Final = plan.on_violation is OnViolation.REJECT
        self._names = frozenset(names)
        self._points: dict[_Key, _Point] = {
            (point.match, point.criteria): _Point(point)
            for point in plan.points
            if point.match is not MatchType.UNKNOWN
        }

    def judge(self, batches: Iterable[bytes | memoryview]) -> list[tuple[Violation, ...]]:
        """Judge batches, each the JSON text of one; give the violations of each, every rule once an event."""
        return [tuple(dict.fromkeys(self._of_batch(orjson.loads(batch)))) for batch in batches]

    def broken(self, batches: Iterable[bytes | memoryview]) -> dict[str, list[int]]:
        """Give the rules that batches violate, and by number which batches do."""
        broken: dict[str, list[int]] = {}
        for number, violations in enumerate(self.judge(batches)):
            for rule in dict.fromkeys(violation.rule for violation in violations):
                broken.setdefault(rule, []).append(number)
        return broken

    def _of_batch(self, batch: dict[str, Any]) -> Iterator[Violation]:
        for number, event in enumerate(batch.get("events") or ()):
            for rule in self._of_event(event):
                yield Violation(rule, number)
        for match, found in (
            (MatchType.USER_ATTRIBUTES, batch.get(USER_ATTRIBUTES)),
            (MatchType.USER_IDENTITIES, self._identities(batch)),
        ):
            point = self._points.get((match, ()))
            if found and point is not None:
                yield from (Violation(rule, None) for rule in point.rules(found, self._names))

    def _of_event(self, event: dict[str, Any]) -> Iterator[str]:
        for key in _keys(event):
            point = self._points.get(key)
            if point is None:
                yield f"{key[0]}: unplanned"
            else:
                yield from point.rules(event, self._names)

    def _identities(self, batch: dict[str, Any]) -> dict[str, Any]:
        """Give a batch's identities as the plan spells them: ``customerid`` is ``customer_id`` to it, or may be."""
        point = self._points.get((MatchType.USER_IDENTITIES, ()))
        if point is None:
            return {}
        planned: Mapping[str, Any] = point.definition.get("properties", {})
        spelled = {name.replace("_", ""): name for name in planned}
        given = batch.get(USER_IDENTITIES) or {}
        found = {
            name if name in planned else spelled.get(name.replace("_", ""), name): value
            for name, value in given.items()
        }
        device = {**(batch.get(DEVICE_INFO) or {}), MP_DEVICEID: batch.get(MP_DEVICEID)}
        for name, alias in (*_DEVICE_IDENTITIES.items(), (MP_DEVICEID, _DEVICE_STAMP)):
            for spelling in {name, alias} & planned.keys():
                if device.get(name) is not None:
                    found[spelling] = device[name]
        return found


def judge_of(plan: DataPlan | None, *, names: Collection[str]) -> Judge | None:
    """Give the judge of a pipeline that has a plan."""
    return None if plan is None else Judge(plan, names=names)


class _Point:
    """A data point with its schema prepared."""

    def __init__(self, point: DataPoint) -> None:
        self.definition = point.definition
        self._validator: Draft201909Validator = SCHEMA_OF(
            point.definition, format_checker=_FORMATS, registry=Registry()
        )
        self._about = point.match.value + "".join(f' "{name}"' for name in point.criteria[:1])
        self._top = "" if point.match in {MatchType.USER_ATTRIBUTES, MatchType.USER_IDENTITIES} else "data"

    def rules(self, found: Any, names: frozenset[str]) -> Iterator[str]:
        """Give the rules that a value violates."""
        for error in self._validator.iter_errors(found):
            path = _path(error.absolute_schema_path)
            if path[:1] == [self._top]:
                path = path[1:]
            for names_or_none, violation in _told(error, names):
                yield ": ".join(part for part in (self._about, ".".join([*path, *names_or_none]), violation) if part)[
                    :_RULE_MAX_CHARS
                ]


def _keys(event: dict[str, Any]) -> Iterator[_Key]:
    """Give what an event is about; a purchase may also be about impressions."""
    data = event.get("data") or {}
    match event.get("event_type"):
        case "custom_event":
            yield MatchType.CUSTOM_EVENT, (str(data.get("event_name")), str(data.get("custom_event_type")))
        case "screen_view":
            yield MatchType.SCREEN_VIEW, (str(data.get("screen_name")),)
        case "commerce_event":
            for match in (MatchType.PRODUCT_ACTION, MatchType.PROMOTION_ACTION):
                if action := data.get(match.value):
                    yield match, (str(action.get("action")),)
            if data.get("product_impressions"):
                yield MatchType.PRODUCT_IMPRESSION, ()
        case _:
            pass


def _told(error: ValidationError, names: frozenset[str]) -> Iterator[tuple[list[str], str]]:
    """Give what an error says: names to put behind its path, and the kind of violation."""
    instance: Any = error.instance
    schema: Any = error.schema
    required: Any = error.validator_value
    match error.validator:
        case "required":
            for name in required:
                if name not in instance:
                    yield [name], "missing_required"
        case "additionalProperties" | "unevaluatedProperties":
            unknown = instance.keys() - schema.get("properties", {}).keys()
            for name in sorted(unknown & names):
                yield [name], "unplanned"
            if not unknown <= names:
                yield [], "unplanned attribute"
        case keyword:
            yield [], f"invalid_value ({keyword or 'never allowed'})"


def _path(steps: Iterable[str | int]) -> list[str]:
    """Give the fields that a path through a schema leads to, by the schema's own names."""
    path: list[str] = []
    walk = iter(steps)
    for step in walk:
        if step == "properties":
            path.append(str(next(walk, "")))
        elif step == "patternProperties":
            next(walk, None)
            path.append("*")
        elif step in {"items", "additionalItems", "contains"} and path:
            path[-1] += "[]"
    return path
