"""What a field transformation's claims come to: the fields of an event, by its type, and what they need of each other.

Where one static value says of what type all events are, what that type needs must be mapped and nothing else may be.
Where a column says it, each field counts for the rows of the types that have it, and what a type needs is checked row
by row.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from shared.mapping.claims import Claim
from shared.mapping.destinations import ValueType
from shared.mapping.entries import members_of
from shared.mapping.event_fields import EVENT_TYPES, EVENTS
from shared.mapping.meanings import why_not
from shared.mapping.paths import dotted
from shared.mapping.plan import EVENT, EVENT_DATA, EVENT_TYPE, Constant, Leaf, Need, Needed, Path
from shared.mapping.statics import why_not_static
from shared.mapping.tree import Entries, merged


@dataclass(frozen=True, slots=True)
class EventDraft:
    """The fields that claims fill, what objects need, and the reasons why there is no plan of them."""

    fields: "tuple[Mapped, ...]"
    needs: tuple[Need, ...]
    reasons: tuple[str, ...]


def draft_of(claims: Sequence[Claim]) -> EventDraft:
    """Draft the fields of these claims."""
    event_types, reason = _event_types(claims)
    fields = tuple(Mapped(claim, event_types) for claim in claims)
    needs = tuple(_needs(fields, event_types))
    reasons = [reason] if reason else []
    reasons += [reason for mapped in fields for reason in mapped.reasons()]
    reasons += _unmet(needs, [claim.place.path for claim in claims])
    if not any(mapped.is_identity for mapped in fields):
        reasons.append(
            "no column is an identity, so no event belongs to anybody: map one to user_identities.<name>, mpid, "
            "mp_deviceid or an id of a device such as device_info.ios_advertising_id"
        )
    return EventDraft(fields, needs, tuple(reasons))


class Mapped:
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
        """Whether its values say whose event a row is."""
        return self.claim.value is None and not isinstance(self._node, Entries) and self._node.is_identity

    @property
    def only_for(self) -> tuple[str, ...]:
        """The event types that have it, or none where all that there can be do."""
        return () if self.event_types == self._asked else self.event_types

    def reasons(self) -> Iterator[str]:
        """Say why it cannot be, each in a sentence with the cure."""
        place = self.claim.place
        if not self.event_types:
            yield (
                f"{self.claim}: {', '.join(place.by_type)} events have that, and these are {self._asked[0]} events; "
                "remove the mapping, or map another column to events.event_type"
            )
        yield from (f"{self.claim}: {reason}" for reason in self._why_not())

    def leaf(self) -> Leaf:
        """Give it as a plan has it, where a known column fills it."""
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
        """Give it as a plan has it, where a value fills it."""
        if self.claim.value is None:
            raise TypeError(f"{self.claim.place} has neither a column nor a value")
        return Constant(self.claim.place.path, self.claim.value, event_types=self.only_for)

    def _why_not(self) -> list[str]:
        if self.claim.value is not None:
            reason = why_not_static(self._node, self.claim.value)
        elif self._column is None:
            return []
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


def _needs(fields: Sequence[Mapped], event_types: Sequence[str]) -> Iterator[Need]:
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
