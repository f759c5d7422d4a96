"""From a field transformation and the columns of an event data model to a mapping plan, or to the reasons why not.

Where one static value says of what type all events are, what that type needs must be mapped and nothing else may be.
Where a column says it, each field counts for the rows of the types that have it, and what a type needs is checked row
by row.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from shared.catalog import Environment, NullPolicy
from shared.errors import MappingRefused
from shared.mapping.claims import Claim, claims_of
from shared.mapping.compile import shown
from shared.mapping.destinations import DELETED_USER_ATTRIBUTES, ENVIRONMENT, USER_ATTRIBUTES, ValueType
from shared.mapping.entries import members_of
from shared.mapping.event_fields import EVENT_TYPES, EVENTS
from shared.mapping.meanings import why_not
from shared.mapping.paths import dotted
from shared.mapping.plan import EVENT, EVENT_DATA, EVENT_TYPE, Constant, Leaf, MappingPlan, Need, Needed, Path
from shared.mapping.statics import why_not_static
from shared.mapping.tree import Entries, merged
from shared.transformation import FieldTransformation

_ENVIRONMENT: Final[Path] = (ENVIRONMENT,)


def compile_event_mapping(
    schema: Any,
    transformation: FieldTransformation,
    *,
    environment: Environment,
    on_null: NullPolicy,
    iterator: str | None,
) -> MappingPlan:
    """Map the columns of an event data model as a field transformation says; each row is one event.

    Args:
        schema: Arrow schema (``pa.Schema``) of the query's result.
        transformation: Which column or value goes where.
        environment: Goes into every batch.
        on_null: What a NULL in a column for a user attribute means.
        iterator: The iterator column, which need not be mapped.

    Raises:
        MappingRefused: the transformation does not fit the columns, or mParticle's batches. The message names every
            mapping and column to correct, and the cure.
    """
    claims = claims_of(schema, transformation, iterator=iterator)
    reasons = claims.reasons
    found = [claim for claim in claims.all if claim.place.path != _ENVIRONMENT]
    reasons += [_other_environment(claim) for claim in claims.all if _contradicts(claim, environment)]
    event_types, reason = _event_types(found)
    reasons += [reason] if reason else []
    fields = [_Mapped(claim, event_types) for claim in found]
    reasons += [reason for mapped in fields for reason in mapped.reasons()]
    needs = tuple(_needs(fields, event_types))
    reasons += _unmet(needs, [claim.place.path for claim in found])
    if not any(mapped.is_identity for mapped in fields):
        reasons.append(
            "no column is an identity, so no event belongs to anybody: map one to user_identities.<name>, mpid, "
            "mp_deviceid or an id of a device such as device_info.ios_advertising_id"
        )
    paths = {claim.place.path[0] for claim in found}
    if on_null is NullPolicy.DELETE and {USER_ATTRIBUTES, DELETED_USER_ATTRIBUTES} <= paths:
        reasons.append(
            f"{DELETED_USER_ATTRIBUTES} is mapped, and on_null: delete fills it too; let on_null be omit or null"
        )
    if reasons:
        raise MappingRefused(
            f"field transformation {transformation.id!r} does not fit the data model's columns ({len(reasons)} to "
            "correct):\n" + "\n".join(f"- {reason}" for reason in reasons)
        )
    order = {name: place for place, name in enumerate(schema.names)}
    leaves = [mapped.leaf() for mapped in fields if mapped.claim.column is not None]
    return MappingPlan(
        leaves=tuple(sorted(leaves, key=lambda leaf: order[leaf.column])),
        constants=(
            Constant(_ENVIRONMENT, environment.value),
            *(mapped.constant() for mapped in fields if mapped.claim.column is None),
        ),
        on_null=on_null,
        needs=needs,
    )


@dataclass(frozen=True, slots=True)
class ColumnMeaning:
    """Where a column goes, in words, and why it cannot, if so: half a sentence with the cure."""

    becomes: str
    refused: str | None = None


def column_meanings(
    schema: Any, transformation: FieldTransformation, *, iterator: str | None
) -> Mapping[str, ColumnMeaning]:
    """Say what becomes of each column (of a ``pa.Schema``), by its name, whether or not all of them can be mapped."""
    claims = claims_of(schema, transformation, iterator=iterator)
    event_types, _ = _event_types(claims.all)
    places: defaultdict[str, list[str]] = defaultdict(list)
    refused = dict(claims.lost)
    for claim in claims.all:
        if claim.column is not None:
            places[claim.column.name].append(str(claim.place))
            for reason in _Mapped(claim, event_types).reasons():
                refused.setdefault(claim.column.name, reason)
    found: dict[str, ColumnMeaning] = {}
    for name in schema.names:
        if name in claims.mapped:
            becomes = ", ".join(places[name]) or "ignored; it is not sent"
            found[name] = ColumnMeaning(becomes, refused.get(name))
        elif name.casefold() == (iterator or "").casefold():
            found[name] = ColumnMeaning("the iterator; it is not sent")
        else:
            found[name] = ColumnMeaning("nothing", "no mapping covers it; map it, or leave it out with ignore")
    return found


class _Mapped:
    """A claim, as rows with events of some types have it."""

    def __init__(self, claim: Claim, event_types: Sequence[str]) -> None:
        self.claim = claim
        self._asked = tuple(event_types)
        self.event_types = tuple(one for one in event_types if one in claim.place.by_type)
        known = self.event_types or tuple(claim.place.by_type)
        self._node = merged({event_type: claim.place.by_type[event_type] for event_type in known})
        self._column: Any = claim.column

    @property
    def is_identity(self) -> bool:
        return self._column is not None and not isinstance(self._node, Entries) and self._node.is_identity

    @property
    def only_for(self) -> tuple[str, ...]:
        """The event types that have it, or none where all that there can be do."""
        return () if self.event_types == self._asked else self.event_types

    def reasons(self) -> Iterator[str]:
        place = self.claim.place
        if not self.event_types:
            yield (
                f"{self.claim}: {', '.join(place.by_type)} events have that, and these are {self._asked[0]} events; "
                "remove the mapping, or map another column to events.event_type"
            )
        yield from (f"{self.claim}: {reason}" for reason in self._why_not())

    def leaf(self) -> Leaf:
        if isinstance(self._node, Entries):
            members = members_of(self._node, self._column.type)
            return Leaf(
                self._column.name,
                self.claim.place.path,
                ValueType.OBJECTS,
                event_types=self.only_for,
                members=tuple(members.leaves),
                needs=members.needs,
            )
        return Leaf(
            self._column.name,
            self.claim.place.path,
            self._node.value,
            is_identity=self._node.is_identity,
            choices=self._node.choices,
            event_types=self.only_for,
        )

    def constant(self) -> Constant:
        if self.claim.value is None:
            raise AssertionError(f"{self.claim.place} has neither a column nor a value")
        return Constant(self.claim.place.path, self.claim.value, event_types=self.only_for)

    def _why_not(self) -> list[str]:
        if self.claim.value is not None:
            reason = why_not_static(self._node, self.claim.value)
        elif isinstance(self._node, Entries):
            return members_of(self._node, self._column.type).reasons
        else:
            reason = why_not(self._node.value, self._column.type, is_identity=self._node.is_identity)
        return [reason] if reason else []


def _event_types(claims: Sequence[Claim]) -> tuple[tuple[str, ...], str | None]:
    """Give the types that events may be of, and what is wrong with how that is said."""
    claimed = [claim for claim in claims if claim.place.path == EVENT_TYPE]
    if not claimed:
        return EVENT_TYPES, (
            f"no mapping says of what type the events are: map a column or a static value to {dotted(EVENT_TYPE)}"
        )
    (first, *others) = claimed
    if others or first.value not in EVENTS:
        return EVENT_TYPES, None
    return (str(first.value),), None


def _needs(fields: Sequence[_Mapped], event_types: Sequence[str]) -> Iterator[Need]:
    is_one = len(event_types) == 1
    if not is_one:
        yield Need(EVENT, ("event_type",))
    for event_type in event_types:
        group, only_for = EVENTS[event_type], () if is_one else (event_type,)
        if group.required:
            yield Need(EVENT_DATA, group.required, event_types=only_for)
        if group.any_of:
            yield Need(EVENT_DATA, group.any_of, Needed.ANY, event_types=only_for)
    enclosing = {
        one.path: Need(one.path, one.group.required, event_types=mapped.only_for)
        for mapped in fields
        for one in mapped.claim.place.enclosing
    }
    yield from enclosing.values()


def _unmet(needs: Sequence[Need], paths: Sequence[Path]) -> Iterator[str]:
    """Say which needs no row can fill; what the types of events need that a column tells, each row shows."""
    filled = {path[:depth] for path in paths for depth in range(1, len(path) + 1)}
    for need in needs:
        absent = [name for name in need.fields if (*need.path, name) not in filled]
        if not absent or need.path == EVENT or (need.path == EVENT_DATA and need.event_types):
            continue
        names = ", ".join(dotted((*need.path, name)) for name in absent)
        if need.needed is Needed.ANY:
            if len(absent) == len(need.fields):
                yield f"these events need one of {names}; a shopping cart alone tells of nothing that happened"
        elif need.path == EVENT_DATA:
            yield f"these events need {names}: map a column or a static value to it"
        else:
            yield f"{dotted(need.path)} is mapped in part, and needs {names}: map a column or a static value to it"


def _contradicts(claim: Claim, environment: Environment) -> bool:
    return claim.place.path == _ENVIRONMENT and claim.value != environment.value


def _other_environment(claim: Claim) -> str:
    return (
        f"{claim.source} to {shown(ENVIRONMENT)}: all batches of a pipeline belong to one environment; remove the "
        "mapping and set the pipeline's environment"
    )
