"""What is wrong with a row before it is sent.

mParticle answers 202 to a body even when it drops some of its batches, so a row that breaks one of its rules has to be
found here. The rules, in the order in which a row that breaks several is blamed for one:

1. it has no identity;
2. a value is not what its field accepts: a UUID, an integer, a number, a word, JSON ...;
3. a field that its event, or an object in it, must have has no value;
4. a text attribute is too long;
5. a list attribute has too many entries;
6. an entry of a list is too long;
7. it has too many attributes;
8. its batch is too large.

Within a rule, the first column of the query is blamed. Lengths of text are characters, not bytes.
"""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import types

from shared.catalog import NullPolicy
from shared.errors import PayloadUnknown
from shared.mapping.destinations import USER_ATTRIBUTES, ValueType
from shared.mapping.plan import Leaf, MappingPlan
from shared.run import Reject, RejectCode
from worker.mparticle.buffers import Mask, lengths
from worker.mparticle.columns import Column
from worker.mparticle.finding import Finding
from worker.mparticle.needs import Fields, unmet

CHECKS_VERSION: Final = 1

_ATTRIBUTES: Final = frozenset({ValueType.ATTRIBUTE, ValueType.SCALAR})
_RULES: Final[dict[ValueType, tuple[RejectCode, str]]] = {
    ValueType.UUID: (RejectCode.INVALID_UUID, "not a UUID of 8-4-4-4-12 hexadecimal digits"),
    ValueType.INT64: (RejectCode.INVALID_INTEGER, "not a 64-bit integer"),
    ValueType.ATTRIBUTE: (RejectCode.INVALID_JSON, "not JSON"),
    ValueType.SCALAR: (RejectCode.INVALID_JSON, "not JSON"),
    ValueType.NUMBER: (RejectCode.INVALID_NUMBER, "not a number"),
    ValueType.BOOLEAN: (RejectCode.INVALID_BOOLEAN, "neither true nor false"),
    ValueType.EPOCH_MS: (RejectCode.INVALID_TIMESTAMP, "not a count of milliseconds of 64 bits"),
    ValueType.IP: (RejectCode.INVALID_IP, "neither an IPv4 nor an IPv6 address"),
    ValueType.CHOICE: (RejectCode.INVALID_CHOICE, "not one of"),
    ValueType.OBJECTS: (RejectCode.INVALID_OBJECT, "an entry of the list is not what mParticle expects there"),
}
"""What is wrong with a value that its field does not accept."""


@dataclass(frozen=True, slots=True)
class Checks:
    """The limits that a row is checked against, as a run freezes them.

    Source: mParticle, "Default service limits" (user attributes) and "HTTP API" (batch size, in bytes of 1000 to the
    kilobyte).
    """

    value_max_chars: int = 4096
    list_max_entries: int = 1000
    entry_max_chars: int = 512
    max_attributes: int = 100
    batch_max_bytes: int = 128_000

    def to_json(self) -> dict[str, Any]:
        """Give the limits as plain JSON values, with the version of their form."""
        return {"version": CHECKS_VERSION, **asdict(self)}

    @classmethod
    def from_json(cls, frozen: dict[str, Any]) -> "Checks":
        """Rebuild the limits from what ``to_json`` gave.

        Raises:
            PayloadUnknown: they have a form that this version cannot read.
        """
        limits = {name: limit for name, limit in frozen.items() if name != "version"}
        if frozen.get("version") != CHECKS_VERSION or limits.keys() != {field.name for field in fields(cls)}:
            raise PayloadUnknown(
                f"frozen checks have version {frozen.get('version')!r} and the limits {sorted(limits)}, expected "
                f"version {CHECKS_VERSION}: another release froze them; let a worker of that release finish the run"
            )
        return cls(**limits)


def find(plan: MappingPlan, fields: Fields, checks: Checks) -> list[Finding]:
    """Check rows by their columns.

    Returns:
        What breaks a rule, in the order of the rules; a rule that no row breaks is not in it. Rule 8 is judged by the
        finished text, except that a single value can be too large for any batch.
    """
    return [finding for finding in _findings(plan, fields, checks) if finding.rows.any()]


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


def _findings(plan: MappingPlan, fields: Fields, checks: Checks) -> Iterator[Finding]:
    leaves = list(zip(fields.leaves, fields.columns, strict=True))
    attributes = [(leaf, column) for leaf, column in leaves if leaf.value in _ATTRIBUTES]
    lists = [(leaf, column) for leaf, column in attributes if column.entries is not None or column.sizes is not None]
    yield from _without_identity(leaves)
    for value, (code, rule) in _RULES.items():
        yield from _unfit(leaves, value, code, rule)
    yield from unmet(fields, plan.needs)
    for leaf, column in attributes:
        yield from _long_values(leaf, column, checks)
    for leaf, column in lists:
        yield from _long_lists(leaf, column, checks)
    for leaf, column in lists:
        yield from _long_entries(leaf, column, checks)
    yield from _many_attributes(plan, leaves, checks)
    for leaf, column in leaves:
        yield from _huge_texts(leaf, column, checks)


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
            words = f" {', '.join(leaf.choices)}" if leaf.choices else ""
            yield Finding(code, f"column {leaf.column!r}: {rule}{words}", column.unfit)


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


def _many_attributes(plan: MappingPlan, leaves: Sequence[tuple[Leaf, Column]], checks: Checks) -> Iterator[Finding]:
    counted = [column for leaf, column in leaves if leaf.path[0] == USER_ATTRIBUTES]
    if len(counted) <= checks.max_attributes:
        return
    sent = np.zeros(len(counted[0]), dtype=np.int64)
    for column in counted:
        sent += 1 if column.present is None or plan.on_null is NullPolicy.NULL else column.present
    reason = f"more than {checks.max_attributes} user attributes, a batch's limit"
    yield Finding(RejectCode.TOO_MANY_ATTRIBUTES, reason, sent > checks.max_attributes)


def _huge_texts(leaf: Leaf, column: Column, checks: Checks) -> Iterator[Finding]:
    if leaf.value in {ValueType.STRING, ValueType.TEXT} and types.is_string(column.values.type):
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
