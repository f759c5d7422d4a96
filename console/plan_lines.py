"""A plan as lines for people: what is created, changed and deleted, field by field."""

import json
from collections.abc import Iterator
from difflib import unified_diff
from typing import Any, Final

from console.planning import Action, Change, FieldChange, Plan

_SIGNS: Final = {Action.CREATE: "+", Action.CHANGE: "~", Action.UNCHANGED: "=", Action.DELETE: "-"}
_DONE: Final = {
    Action.CREATE: "created",
    Action.CHANGE: "changed",
    Action.UNCHANGED: "unchanged",
    Action.DELETE: "deleted",
}
_MOST_CHARS: Final = 80


def plan_lines(plan: Plan) -> Iterator[str]:
    """Give a plan line by line; what stays as it is comes in one line at the end."""
    for change in plan.changes:
        if change.action is not Action.UNCHANGED or change.refusal or change.notes:
            yield from _lines_of(change)
    counts = ", ".join(f"{plan.count(action)} {_DONE[action]}" for action in Action if plan.count(action))
    refused = f"; {len(plan.refused)} of them refused, so nothing is done" if plan.refused else ""
    yield f"{counts or 'nothing'}{refused}"


def _lines_of(change: Change) -> Iterator[str]:
    yield f"{_SIGNS[change.action]} {change.kind} {change.id}"
    for field in change.fields:
        yield from _lines_of_field(field)
    for path in change.kept_secrets:
        yield f"    {path}: kept"
    for note in change.notes:
        yield f"    note: {note}"
    if change.refusal is not None:
        yield f"    REFUSED: {change.refusal}"


def _lines_of_field(field: FieldChange) -> Iterator[str]:
    if not field.is_shown:
        yield f"    {field.path}: changed"
        return
    before, after = _shown(field.before), _shown(field.after)
    if len(before) == len(after) == 1 and max(len(before[0]), len(after[0])) <= _MOST_CHARS:
        yield f"    {field.path}: {before[0]} -> {after[0]}"
    else:
        yield f"    {field.path}:"
        yield from (f"      {line}" for line in list(unified_diff(before, after, lineterm="", n=1))[2:])


def _shown(value: Any) -> list[str]:
    """Give a value in lines, at least one."""
    if isinstance(value, str):
        return value.splitlines() or ["''"]
    return ["unset" if value is None else json.dumps(value, ensure_ascii=False)]
