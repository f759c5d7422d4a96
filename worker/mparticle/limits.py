"""Which rows are beyond mParticle's documented limits, and what becomes of them (pure).

A pipeline's setting says for each limit whether such rows are rejected, cut to it, or sent as they are. What is sent
beyond a limit, and what was cut, is noted by row, so that a run can count it.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, assert_never

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import types

from shared.catalog import NullPolicy
from shared.ledger import RejectCode
from shared.limits import Beyond
from shared.mapping.destinations import USER_ATTRIBUTES, ValueType
from shared.mapping.plan import EVENT_DATA, Leaf, MappingPlan
from worker.mparticle.buffers import Mask, lengths
from worker.mparticle.check import Checks
from worker.mparticle.columns import Column
from worker.mparticle.cut import cut_entries, cut_lists, cut_texts
from worker.mparticle.finding import Finding
from worker.mparticle.needs import Fields

EVENT_NAMES: Final = (((*EVENT_DATA, "event_name"), "custom_event"), ((*EVENT_DATA, "screen_name"), "screen_view"))
"""Where the names that a workspace counts stand, and of which events they are."""

_NAME_PATHS: Final = frozenset(path for path, _ in EVENT_NAMES)
_ATTRIBUTES: Final = frozenset({ValueType.ATTRIBUTE, ValueType.SCALAR})


@dataclass(frozen=True, slots=True)
class Limited:
    """Rows as they are sent, and what became of those beyond a limit.

    Attributes:
        fields: The same fields, cut where that is the setting.
        beyond: What is rejected, in the order of the limits, and for each limit in that of the query's columns.
        noted: What was cut or is sent all the same, by the name that a run counts it under.
    """

    fields: Fields
    beyond: Sequence[Finding]
    noted: Mapping[str, Mask]


@dataclass(frozen=True, slots=True)
class _Limit:
    """One limit of single values: its setting, and how it is found and kept to."""

    setting: str
    code: RejectCode
    applies: Callable[[Leaf, Column], bool]
    long: Callable[[Column, int], Mask | None]
    cut: Callable[[Column, Mask, int], Column]
    most: Callable[[Checks], int]
    rule: str


def within_limits(plan: MappingPlan, fields: Fields, checks: Checks) -> Limited:
    """Keep rows to the limits, as the settings say."""
    columns = list(fields.columns)
    beyond: list[Finding] = []
    noted: dict[str, Mask] = {}
    for limit in _LIMITS:
        setting: Beyond = getattr(checks.limits, limit.setting)
        most = limit.most(checks)
        for number, leaf in enumerate(fields.leaves):
            column = columns[number]
            long = limit.long(column, most) if limit.applies(leaf, column) else None
            if long is None:
                continue
            match setting:
                case Beyond.REJECT:
                    reason = f"column {leaf.column!r}: {limit.rule.format(most)}"
                    beyond.append(Finding(limit.code, reason, column.rows(long)))
                case Beyond.TRUNCATE:
                    note(noted, limit.setting, setting, column.rows(long))
                    columns[number] = limit.cut(column, long, most)
                case Beyond.WARN:
                    note(noted, limit.setting, setting, column.rows(long))
                case _:
                    assert_never(setting)
    kept = replace(fields, columns=columns)
    attributes = _attributes_sent(plan, kept)
    if attributes is None or len(attributes[0]) + attributes[1] <= checks.max_attributes:
        return Limited(kept, beyond, noted)
    return _with_fewer(plan, Limited(kept, beyond, noted), attributes, checks)


def note(noted: dict[str, Mask], setting: str, beyond: Beyond, rows: Mask) -> None:
    """Add rows to what is noted of a setting."""
    if rows.any():
        name = f"{setting}_{'truncated' if beyond is Beyond.TRUNCATE else 'over_limit'}"
        noted[name] = noted[name] | rows if name in noted else rows


def _attributes_sent(plan: MappingPlan, fields: Fields) -> tuple[dict[int, Mask | None], int] | None:
    """Give the rows in which each user attribute is sent, by its leaf, and how many attributes are constants."""
    fixed = sum(constant.path[0] == USER_ATTRIBUTES for constant in fields.constants)
    sent = {
        number: None if plan.on_null is NullPolicy.NULL else fields.columns[number].present
        for number, leaf in enumerate(fields.leaves)
        if leaf.path[0] == USER_ATTRIBUTES
    }
    return (sent, fixed) if sent else None


def _with_fewer(
    plan: MappingPlan, limited: Limited, attributes: tuple[dict[int, Mask | None], int], checks: Checks
) -> Limited:
    """Judge how many attributes a row has; they may be too many."""
    sent, fixed = attributes
    count = np.full(limited.fields.rows, fixed, dtype=np.int64)
    columns = list(limited.fields.columns)
    setting = checks.limits.user_attributes
    for number, present in sent.items():
        count += 1 if present is None else present
        if (count > checks.max_attributes).any():
            columns[number] = columns[number].where(count <= checks.max_attributes)
    long = count > checks.max_attributes
    if not long.any():
        return limited
    # What is left out of a batch may be deleted by it, or set to null, unless a NULL is left out as well.
    if setting is Beyond.REJECT or (setting is Beyond.TRUNCATE and plan.on_null is not NullPolicy.OMIT):
        reason = f"more than {checks.max_attributes} user attributes, a batch's limit"
        return replace(limited, beyond=[*limited.beyond, Finding(RejectCode.TOO_MANY_ATTRIBUTES, reason, long)])
    noted = dict(limited.noted)
    note(noted, "user_attributes", setting, long)
    fields = replace(limited.fields, columns=columns) if setting is Beyond.TRUNCATE else limited.fields
    return Limited(fields, limited.beyond, noted)


def _is_name(leaf: Leaf, column: Column) -> bool:
    return leaf.path in _NAME_PATHS and types.is_string(column.values.type)


def _is_attribute(leaf: Leaf, _: Column) -> bool:
    return leaf.value in _ATTRIBUTES


def _is_list(leaf: Leaf, column: Column) -> bool:
    return leaf.value in _ATTRIBUTES and (column.entries is not None or column.sizes is not None)


def _long_texts(column: Column, max_chars: int) -> Mask | None:
    if column.sizes is not None:
        return _any(column.sizes.chars > max_chars)
    return _longer(column.values, max_chars) if types.is_string(column.values.type) else None


def _long_lists(column: Column, max_entries: int) -> Mask | None:
    if column.sizes is not None:
        return _any(column.sizes.entries > max_entries)
    return None if column.bounds is None else _any(np.diff(column.bounds) > max_entries)


def _with_long_entries(column: Column, max_chars: int) -> Mask | None:
    if column.sizes is not None:
        return _any(column.sizes.entry_chars > max_chars)
    entries, bounds = column.entries, column.bounds
    if entries is None or bounds is None or not types.is_string(entries.values.type):
        return None
    long = _longer(entries.values, max_chars)
    if long is None:
        return None
    before = np.concatenate([np.zeros(1, dtype=np.int64), np.cumsum(entries.rows(long))])
    return _any(before[bounds[1:]] > before[bounds[:-1]])


def _longer(strings: Any, max_chars: int) -> Mask | None:
    """Give which strings are longer; None if none can be, as nearly always, because even their bytes are not."""
    long: Mask = lengths(strings) > max_chars
    if not long.any():
        return None
    candidates = np.flatnonzero(long)
    counted = pc.fill_null(pc.utf8_length(strings.take(pa.array(candidates))), 0)
    long[candidates] = counted.to_numpy() > max_chars
    return _any(long)


def _any(long: Mask) -> Mask | None:
    return long if long.any() else None


def _all_limits() -> Iterator[_Limit]:
    yield _Limit(
        "event_name",
        RejectCode.NAME_TOO_LONG,
        _is_name,
        _long_texts,
        cut_texts,
        lambda checks: checks.name_max_chars,
        "longer than {} characters, the limit of an event's name",
    )
    yield _Limit(
        "attribute_value",
        RejectCode.VALUE_TOO_LONG,
        _is_attribute,
        _long_texts,
        cut_texts,
        lambda checks: checks.value_max_chars,
        "longer than {} characters, a text attribute's limit",
    )
    yield _Limit(
        "list_entries",
        RejectCode.LIST_TOO_LONG,
        _is_list,
        _long_lists,
        cut_lists,
        lambda checks: checks.list_max_entries,
        "more than {} entries, a list attribute's limit",
    )
    yield _Limit(
        "list_entry",
        RejectCode.LIST_ENTRY_TOO_LONG,
        _is_list,
        _with_long_entries,
        cut_entries,
        lambda checks: checks.entry_max_chars,
        "an entry longer than {} characters, a list attribute's limit",
    )


_LIMITS: Final = tuple(_all_limits())
