"""A mapping plan within mParticle's limits for names and constants, which are known before any row is (pure)."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

from shared.errors import MappingRefused
from shared.limits import Beyond
from shared.mapping.destinations import USER_ATTRIBUTES
from shared.mapping.paths import dotted
from shared.mapping.plan import Constant, Leaf, MappingPlan, Path
from worker.mparticle.check import Checks
from worker.mparticle.limits import EVENT_NAMES

Value = str | bool | int | float

_NAME_PATHS: Final = frozenset(path for path, _ in EVENT_NAMES)
_CUSTOM_ATTRIBUTES: Final = "custom_attributes"
_SHOWN_CHARS: Final = 40


@dataclass(frozen=True, slots=True)
class Named:
    """A plan as rows are written by it; ``noted`` are its leaves whose name is beyond the limit, and the setting."""

    plan: MappingPlan
    noted: tuple[tuple[int, str], ...]


def within_names(plan: MappingPlan, checks: Checks) -> Named:
    """Cut names and constants to the limits, as the settings say.

    Raises:
        MappingRefused: one is too long and the setting is to reject; or two names would become one.
    """
    noted = tuple(
        (number, setting)
        for number, leaf in enumerate(plan.leaves)
        for setting in _settings(leaf)
        if getattr(checks.limits, setting) is not Beyond.REJECT and _has_long(leaf, setting, checks)
    )
    leaves = tuple(_leaf(leaf, checks) for leaf in plan.leaves)
    constants = tuple(_constant(constant, checks) for constant in plan.constants)
    within = replace(plan, leaves=leaves, constants=constants)
    _require_distinct(plan, within)
    return Named(within, noted)


def _leaf(leaf: Leaf, checks: Checks) -> Leaf:
    members = tuple(_leaf(member, checks) for member in leaf.members)
    return replace(leaf, path=_path(leaf.path, f"column {leaf.column!r}", checks), members=members)


def _constant(constant: Constant, checks: Checks) -> Constant:
    path = _path(constant.path, "a static value", checks)
    value = constant.value
    if constant.path in _NAME_PATHS:
        value = _value(value, path, "event_name", checks.name_max_chars, checks)
    elif _setting(path) is not None:
        value = _value(value, path, "attribute_value", checks.value_max_chars, checks)
    return replace(constant, path=path, value=value)


def _value(value: Value, path: Path, setting: str, most: int, checks: Checks) -> Value:
    beyond = getattr(checks.limits, setting)
    if not isinstance(value, str) or len(value) <= most or beyond is Beyond.WARN:
        return value
    if beyond is Beyond.TRUNCATE:
        return value[:most]
    raise MappingRefused(
        f"the static value of {dotted(path)[:_SHOWN_CHARS]} has {len(value)} characters, and mParticle takes {most}; "
        f"shorten it, or set limits.{setting} to truncate or warn"
    )


def _path(path: Path, what: str, checks: Checks) -> Path:
    setting, name = _setting(path), path[-1]
    if setting is None or not isinstance(name, str) or len(name) <= checks.name_max_chars:
        return path
    beyond = getattr(checks.limits, setting)
    if beyond is Beyond.REJECT:
        raise MappingRefused(
            f"{what}: the attribute's name, {name[:_SHOWN_CHARS]!r} and on, has {len(name)} characters, and mParticle "
            f"takes {checks.name_max_chars}; give it another, or set limits.{setting} to truncate or warn"
        )
    return (*path[:-1], name[: checks.name_max_chars]) if beyond is Beyond.TRUNCATE else path


def _require_distinct(before: MappingPlan, after: MappingPlan) -> None:
    paths = [(old.path, new.path) for old, new in zip(before.leaves, after.leaves, strict=True)]
    paths += [(old.path, new.path) for old, new in zip(before.constants, after.constants, strict=True)]
    _require_paths(paths)
    for old, new in zip(before.leaves, after.leaves, strict=True):
        _require_paths([(one.path, other.path) for one, other in zip(old.members, new.members, strict=True)])


def _require_paths(paths: Sequence[tuple[Path, Path]]) -> None:
    known: dict[Path, Path] = {}
    for before, after in paths:
        if known.setdefault(after, before) != before:
            raise MappingRefused(
                f"two attributes have names that are one, {str(after[-1])[:_SHOWN_CHARS]!r} and on, once they are cut "
                f"to the {len(str(after[-1]))} characters that mParticle takes; give one another name"
            )


def _settings(leaf: Leaf) -> set[str]:
    found = (_setting(one.path) for one in (leaf, *leaf.members))
    return {setting for setting in found if setting is not None}


def _has_long(leaf: Leaf, setting: str, checks: Checks) -> bool:
    return any(
        _setting(one.path) == setting and len(str(one.path[-1])) > checks.name_max_chars
        for one in (leaf, *leaf.members)
    )


def _setting(path: Path) -> str | None:
    """Say which setting the name at the end of a path falls under, if it is an attribute's."""
    match path[-2:]:
        case (container, str()) if container == USER_ATTRIBUTES:
            return "user_attribute_name"
        case (container, str()) if container == _CUSTOM_ATTRIBUTES:
            return "event_attribute_name"
    return None
