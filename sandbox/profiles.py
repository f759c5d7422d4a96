"""What mParticle would know of each user: identities and attributes, merged as batches arrive.

A batch belongs to the profile that any of its identities names. Where they name several, these become one. A customer
id or an mpid is a user's own: a profile that holds another one is never meant, however much else agrees, and an
identity it shared moves to the user who used it last.

mParticle leaves the choice to the identity strategy of a workspace; this one is simple, and enough for data in which
an identity means one person.
"""

from dataclasses import dataclass, field
from typing import Any, Final

import orjson

from sandbox.batches import identities
from shared.feed import ProtectionLevel

_OWN: Final = ("mpid", "customer_id")


@dataclass(slots=True, eq=False)
class Profile:
    """One user.

    Attributes:
        identities: kind to value; each of these names this profile.
        packed: the attributes as JSON text, since millions of profiles would not fit as objects.
        updates: how many batches made it what it is.
        updated_at_no: the position of the newest of them among all.
    """

    identities: dict[str, str] = field(default_factory=dict)
    packed: bytes = b"{}"
    updates: int = 0
    updated_at_no: int = 0

    @property
    def attributes(self) -> dict[str, Any]:
        """The user's attributes, unpacked."""
        attributes: dict[str, Any] = orjson.loads(self.packed)
        return attributes

    def pack(self, attributes: dict[str, Any]) -> None:
        """Replace all attributes."""
        # orjson's own result keeps a buffer of several times its length alive.
        self.packed = memoryview(orjson.dumps(attributes)).tobytes()

    def as_json(self) -> dict[str, Any]:
        """Give what a reader of profiles sees."""
        return {"identities": self.identities, "user_attributes": self.attributes, "updates": self.updates}


class Profiles:
    """All profiles, found by any identity."""

    def __init__(self) -> None:
        self._by_identity: dict[str, dict[str, Profile]] = {}
        self._arrivals = 0
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def find(self, kind: str, value: str) -> Profile | None:
        """Give the profile that an identity names now."""
        owners = self._by_identity.get(kind)
        return None if owners is None else owners.get(value)

    def update(self, batch: dict[str, Any], protection: ProtectionLevel) -> bool:
        """Merge a valid batch into the profile it names, as far as its feed may; tell whether it might.

        What arrived last wins, field by field; attributes are deleted before others are set.
        """
        if protection is ProtectionLevel.READ_ONLY:
            return False
        named = identities(batch)
        profile = self._profile_of(named)
        if profile is None:
            if protection is ProtectionLevel.UPDATE_ONLY:
                return False
            profile = Profile()
            self._count += 1
        self._attach(profile, named)
        self._arrivals += 1
        profile.updates += 1
        profile.updated_at_no = self._arrivals
        changed = batch.get("user_attributes")
        deleted = batch.get("deleted_user_attributes")
        if changed or deleted:
            profile.pack(_merged(profile.attributes, deleted, changed))
        return True

    def _profile_of(self, named: dict[str, str]) -> Profile | None:
        """Find the profile that identities mean, after merging those that they show to be one user's."""
        found: Profile | None = None
        for kind, value in named.items():
            other = self.find(kind, value)
            if other is None or other is found or _is_another_user(other.identities, named):
                continue
            if found is None:
                found = other
            elif not _is_another_user(other.identities, found.identities):
                found = self._merge(found, other)
        return found

    def _merge(self, one: Profile, other: Profile) -> Profile:
        older, newer = (one, other) if one.updated_at_no < other.updated_at_no else (other, one)
        for kind, value in older.identities.items():
            if kind in newer.identities:
                del self._by_identity[kind][value]
            else:
                self._by_identity[kind][value] = newer
        newer.identities = {**older.identities, **newer.identities}
        newer.updates += older.updates
        newer.pack({**older.attributes, **newer.attributes})
        self._count -= 1
        return newer

    def _attach(self, profile: Profile, named: dict[str, str]) -> None:
        """Give a profile these identities, so that each names it and nothing it has given up does."""
        for kind, value in named.items():
            replaced = profile.identities.get(kind)
            if replaced == value:
                continue
            owners = self._by_identity.setdefault(kind, {})
            if replaced is not None:
                del owners[replaced]
            if (before := owners.get(value)) is not None:
                del before.identities[kind]
                # What nothing names any more can neither be found nor updated.
                self._count -= not before.identities
            owners[value] = profile
            profile.identities[kind] = value


def _merged(attributes: dict[str, Any], deleted: list[str] | None, changed: dict[str, Any] | None) -> dict[str, Any]:
    for name in deleted or ():
        attributes.pop(name, None)
    return attributes | (changed or {})


def _is_another_user(held: dict[str, str], named: dict[str, str]) -> bool:
    """Tell whether two sets of identities hold different values of what only one user can have."""
    return any(kind in held and kind in named and held[kind] != named[kind] for kind in _OWN)
