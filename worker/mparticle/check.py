"""What is wrong with a row before it is sent.

mParticle answers 202 to a body even when it drops some of its batches, so a row that breaks one of its rules has to be
found here. The rules, in the order in which a row that breaks several is blamed for one:

1. it has no identity;
2. an identity that must be a UUID is none;
3. the mpid is no 64-bit integer;
4. what should be JSON is none;
5. a text attribute is too long;
6. a list attribute has too many entries;
7. an entry of a list is too long;
8. it has too many attributes;
9. its batch is too large.

Within a rule, the first column of the query is blamed. Lengths of text are characters, not bytes.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import types
from pydantic import ValidationError

from shared.catalog import NullPolicy
from shared.errors import PayloadUnknown
from shared.limits import NAME_MAX_CHARS, Limits
from shared.mapping.destinations import USER_ATTRIBUTES, ValueType
from shared.mapping.plan import Leaf, MappingPlan
from shared.run import Reject, RejectCode
from worker.mparticle.buffers import Mask, lengths
from worker.mparticle.columns import Column

CHECKS_VERSION: Final = 2
_WITHOUT_LIMITS: Final = 1
"""The version of runs that were planned before pipelines had settings."""
_DEFAULT_LIMITS: Final = Limits()
_SINCE_LIMITS: Final = frozenset({"name_max_chars", "limits"})


@dataclass(frozen=True, slots=True)
class Checks:
    """The limits that a row is checked against, and what becomes of a row beyond one, as a run freezes them.

    Source: mParticle, "Default service limits" (names, attributes) and "HTTP API" (batch size, in bytes of 1000 to the
    kilobyte).
    """

    value_max_chars: int = 4096
    list_max_entries: int = 1000
    entry_max_chars: int = 512
    max_attributes: int = 100
    batch_max_bytes: int = 128_000
    name_max_chars: int = NAME_MAX_CHARS
    limits: Limits = _DEFAULT_LIMITS

    def to_json(self) -> dict[str, Any]:
        """Give the limits as plain JSON values, with the version of their form."""
        frozen = {field.name: getattr(self, field.name) for field in fields(self)}
        return {"version": CHECKS_VERSION, **frozen, "limits": self.limits.model_dump(mode="json")}

    @classmethod
    def from_json(cls, frozen: dict[str, Any]) -> "Checks":
        """Rebuild the limits from what ``to_json`` gave, in this release or the one before.

        Raises:
            PayloadUnknown: they have a form that this version cannot read.
        """
        numbers = {name: limit for name, limit in frozen.items() if name not in {"version", "limits"}}
        expected = {field.name for field in fields(cls)} - {"limits"}
        try:
            if frozen.get("version") == _WITHOUT_LIMITS and numbers.keys() == expected - _SINCE_LIMITS:
                return cls(**numbers, limits=Limits.before_there_were_any())
            if frozen.get("version") == CHECKS_VERSION and numbers.keys() == expected:
                return cls(**numbers, limits=Limits.model_validate(frozen.get("limits")))
        except ValidationError:
            pass
        raise PayloadUnknown(
            f"frozen checks have version {frozen.get('version')!r} and the limits {sorted(numbers)}, expected "
            f"version {CHECKS_VERSION}: another release froze them; let a worker of that release finish the run"
        )


@dataclass(frozen=True, slots=True)
class Finding:
    """Rows that break one rule; ``reason`` names the column and the rule."""

    code: RejectCode
    reason: str
    rows: Mask


def find(plan: MappingPlan, columns: Sequence[Column], checks: Checks) -> list[Finding]:
    """Check rows by their columns, which are those of the plan's leaves.

    Returns:
        What breaks a rule, in the order of the rules; a rule that no row breaks is not in it. Rule 9 is judged by the
        finished text, except that a single value can be too large for any batch.
    """
    return [finding for finding in _findings(plan, columns, checks) if finding.rows.any()]


def blame(findings: Sequence[Finding], *, first_row: int) -> tuple[Reject, ...]:
    """Give each bad row its first finding, in row order.

    Args:
        findings: What ``find`` gave.
        first_row: The position in the chunk of the first row.
    """
    if not findings:
        return ()
    masks = np.stack([finding.rows for finding in findings])
    bad = np.flatnonzero(masks.any(axis=0))
    first = masks[:, bad].argmax(axis=0)
    return tuple(
        Reject(first_row + row, findings[number].code, findings[number].reason)
        for row, number in zip(bad.tolist(), first.tolist(), strict=True)
    )


def too_large(rows: npt.NDArray[np.int64], checks: Checks) -> tuple[Reject, ...]:
    """Reject rows, given by their positions in the chunk, whose finished batch is larger than allowed."""
    reason = _too_large(checks)
    return tuple(Reject(row, RejectCode.BATCH_TOO_LARGE, reason) for row in rows.tolist())


def _findings(plan: MappingPlan, columns: Sequence[Column], checks: Checks) -> Iterator[Finding]:
    leaves = list(zip(plan.leaves, columns, strict=True))
    attributes = [(leaf, column) for leaf, column in leaves if leaf.value is ValueType.ATTRIBUTE]
    lists = [(leaf, column) for leaf, column in attributes if column.entries is not None or column.sizes is not None]
    yield from _without_identity(leaves)
    yield from _unfit(leaves, ValueType.UUID, RejectCode.INVALID_UUID, "not a UUID of 8-4-4-4-12 hexadecimal digits")
    yield from _unfit(leaves, ValueType.INT64, RejectCode.INVALID_INTEGER, "not a 64-bit integer")
    yield from _unfit(leaves, ValueType.ATTRIBUTE, RejectCode.INVALID_JSON, "not JSON")
    for leaf, column in attributes:
        yield from _long_values(leaf, column, checks)
    for leaf, column in lists:
        yield from _long_lists(leaf, column, checks)
    for leaf, column in lists:
        yield from _long_entries(leaf, column, checks)
    yield from _many_attributes(plan, attributes, checks)
    for leaf, column in leaves:
        yield from _huge_identities(leaf, column, checks)


def _without_identity(leaves: Sequence[tuple[Leaf, Column]]) -> Iterator[Finding]:
    anyone: Mask | None = None
    for leaf, column in leaves:
        if not leaf.is_identity:
            continue
        if column.present is None:
            return
        anyone = column.present if anyone is None else anyone | column.present
    if anyone is not None:
        yield Finding(RejectCode.NO_IDENTITY, "no identity column has a value", ~anyone)


def _unfit(leaves: Sequence[tuple[Leaf, Column]], value: ValueType, code: RejectCode, rule: str) -> Iterator[Finding]:
    for leaf, column in leaves:
        if leaf.value is value and column.unfit is not None:
            yield Finding(code, f"column {leaf.column!r}: {rule}", column.unfit)


def _long_values(leaf: Leaf, column: Column, checks: Checks) -> Iterator[Finding]:
    long: Mask | None = None
    if column.sizes is not None:
        long = column.sizes.chars > checks.value_max_chars
    elif types.is_string(column.values.type):
        long = _longer(column.values, checks.value_max_chars)
    if long is not None:
        reason = f"column {leaf.column!r}: longer than {checks.value_max_chars} characters, a text attribute's limit"
        yield Finding(RejectCode.VALUE_TOO_LONG, reason, column.rows(long))


def _long_lists(leaf: Leaf, column: Column, checks: Checks) -> Iterator[Finding]:
    entries = np.diff(_bounds(column)) if column.sizes is None else column.sizes.entries
    long = entries > checks.list_max_entries
    if long.any():
        reason = f"column {leaf.column!r}: more than {checks.list_max_entries} entries, a list attribute's limit"
        yield Finding(RejectCode.LIST_TOO_LONG, reason, column.rows(long))


def _long_entries(leaf: Leaf, column: Column, checks: Checks) -> Iterator[Finding]:
    long = _with_long_entries(column, checks.entry_max_chars)
    if long is not None:
        limit = f"longer than {checks.entry_max_chars} characters, a list attribute's limit"
        yield Finding(RejectCode.LIST_ENTRY_TOO_LONG, f"column {leaf.column!r}: an entry {limit}", column.rows(long))


def _with_long_entries(column: Column, max_chars: int) -> Mask | None:
    """Give which lists have an entry that is longer; None if none has."""
    if column.sizes is not None:
        return column.sizes.entry_chars > max_chars
    entries = column.entries
    if entries is None or not types.is_string(entries.values.type):
        return None
    long = _longer(entries.values, max_chars)
    if long is None:
        return None
    bounds = _bounds(column)
    before = np.concatenate([np.zeros(1, dtype=np.int64), np.cumsum(entries.rows(long))])
    return before[bounds[1:]] > before[bounds[:-1]]


def _many_attributes(plan: MappingPlan, attributes: Sequence[tuple[Leaf, Column]], checks: Checks) -> Iterator[Finding]:
    counted = [column for leaf, column in attributes if leaf.path[0] == USER_ATTRIBUTES]
    if len(counted) <= checks.max_attributes:
        return
    sent = np.zeros(len(counted[0]), dtype=np.int64)
    for column in counted:
        sent += 1 if column.present is None or plan.on_null is NullPolicy.NULL else column.present
    reason = f"more than {checks.max_attributes} user attributes, a batch's limit"
    yield Finding(RejectCode.TOO_MANY_ATTRIBUTES, reason, sent > checks.max_attributes)


def _huge_identities(leaf: Leaf, column: Column, checks: Checks) -> Iterator[Finding]:
    if leaf.value is ValueType.STRING and types.is_string(column.values.type):
        huge = lengths(column.values) > checks.batch_max_bytes
        if huge.any():
            yield Finding(RejectCode.BATCH_TOO_LARGE, _too_large(checks), column.rows(huge))


def _longer(strings: Any, max_chars: int) -> Mask | None:
    """Give which strings are longer; None if none can be, as nearly always, because even their bytes are not."""
    long: Mask = lengths(strings) > max_chars
    if not long.any():
        return None
    candidates = np.flatnonzero(long)
    counted = pc.fill_null(pc.utf8_length(strings.take(pa.array(candidates))), 0)
    long[candidates] = counted.to_numpy() > max_chars
    return long


def _bounds(column: Column) -> npt.NDArray[np.int32]:
    return np.zeros(1, dtype=np.int32) if column.bounds is None else column.bounds


def _too_large(checks: Checks) -> str:
    return f"the batch is larger than {checks.batch_max_bytes} bytes, a batch's limit"
