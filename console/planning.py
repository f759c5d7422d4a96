"""What applying declarations would change, as a value: shown before it is done, and the proof that it was (pure)."""

import hashlib
import json
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

_OPAQUE: Final = frozenset({"data_plan.document"})
"""Of these it is said that they changed, and not how: a megabyte of JSON is no line of a plan."""


class Action(StrEnum):
    """What becomes of one declaration."""

    CREATE = "create"
    CHANGE = "change"
    UNCHANGED = "unchanged"
    DELETE = "delete"


@dataclass(frozen=True, slots=True)
class FieldChange:
    """One field that changes, by its path; of a secret ``before`` and ``after`` are not shown, and empty."""

    path: str
    before: Any = None
    after: Any = None
    is_shown: bool = True


@dataclass(frozen=True, slots=True)
class Change:
    """What becomes of one declaration, what people should know of it, and why it cannot be, where it cannot.

    ``kind`` is what people call it: feed, connection, data model, field transformation, pipeline. ``secrets`` are the
    paths of secrets that stay as the deployment has them, because the file says so. ``error_kind`` names the class of
    the refusal, and ``mark`` stands for both texts of the declaration without showing them.
    """

    kind: str
    id: str
    action: Action
    fields: tuple[FieldChange, ...] = ()
    notes: tuple[str, ...] = ()
    kept_secrets: tuple[str, ...] = ()
    refusal: str | None = None
    error_kind: str | None = None
    mark: str = ""


@dataclass(frozen=True, slots=True)
class Plan:
    """Everything that the declarations say, in the order in which it is done: what is referred to first."""

    changes: tuple[Change, ...]

    @property
    def is_empty(self) -> bool:
        """Whether nothing changes."""
        return all(change.action is Action.UNCHANGED for change in self.changes) and not self.refused

    @property
    def refused(self) -> tuple[Change, ...]:
        """What cannot be; where this holds anything, nothing at all is done."""
        return tuple(change for change in self.changes if change.refusal is not None)

    @property
    def digest(self) -> str:
        """A short text that another plan has only if it does the same to the same (SHA-256, 16 digits)."""
        said = [
            (one.kind, one.id, one.action, one.mark, one.notes, one.refusal)
            for one in self.changes
            if one.action is not Action.UNCHANGED or one.refusal is not None
        ]
        return hashlib.sha256(json.dumps(said).encode()).hexdigest()[:16]

    def count(self, action: Action) -> int:
        """Count the declarations of which this becomes."""
        return sum(change.action is action for change in self.changes)


def mark_of(before: Mapping[str, Any] | None, after: Mapping[str, Any] | None) -> str:
    """Give a text that stands for a declaration as it was and as it will be (SHA-256)."""
    return hashlib.sha256(json.dumps([before, after], sort_keys=True).encode()).hexdigest()


def fields_changed(
    before: Mapping[str, Any], after: Mapping[str, Any], secrets: Collection[str] = ()
) -> tuple[FieldChange, ...]:
    """Give the fields in which two documents differ, by their paths; of ``secrets`` only that they do."""
    return tuple(_differences(before, after, "", secrets))


def _differences(before: Any, after: Any, path: str, secrets: Collection[str]) -> Iterator[FieldChange]:
    if _is_same(before, after):
        return
    if path in secrets or path in _OPAQUE:
        yield FieldChange(path, is_shown=False)
    elif isinstance(before, Mapping) and isinstance(after, Mapping):
        for name in [*before, *(name for name in after if name not in before)]:
            yield from _differences(before.get(name), after.get(name), f"{path}.{name}" if path else name, secrets)
    elif _are_alike(before, after):
        for number, (one, other) in enumerate(zip(before, after, strict=True)):
            yield from _differences(one, other, f"{path}.{number}", secrets)
    elif any(hidden.startswith(f"{path}.") for hidden in (*secrets, *_OPAQUE)):  # It is inside.
        yield FieldChange(path, is_shown=False)
    else:
        yield FieldChange(path, before, after)


def _are_alike(before: Any, after: Any) -> bool:
    """Whether two values are lists whose entries can be compared one by one."""
    if not isinstance(before, list) or not isinstance(after, list) or len(before) != len(after):
        return False
    return all(isinstance(entry, Mapping) for entry in (*before, *after))


def _is_same(before: Any, after: Any) -> bool:
    """Whether two JSON values are one to the store: 1 and 1.0 are, and to Python 1 and true, too."""
    if isinstance(before, Mapping) and isinstance(after, Mapping):
        return before.keys() == after.keys() and all(_is_same(before[name], after[name]) for name in before)
    if isinstance(before, list) and isinstance(after, list):
        return len(before) == len(after) and all(map(_is_same, before, after))
    return bool(before == after) and isinstance(before, bool) == isinstance(after, bool)
