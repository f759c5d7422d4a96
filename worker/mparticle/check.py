"""What is wrong with a row before it is sent.

mParticle answers 202 to a body even when it drops some of its batches, so a row that breaks one of its rules has to be
found here. The rules, in the order in which a row that breaks several is blamed for one:

1. it has no identity;
2. a value is not what its field accepts: a UUID, an integer, a number, a word, JSON ...;
3. a field that its event, or an object in it, must have has no value;
4. the name of its event is too long;
5. a text attribute is too long;
6. a list attribute has too many entries;
7. an entry of a list is too long;
8. it has too many attributes;
9. its batch is too large;
10. the name of its event is one too many in the workspace;
11. it violates the data plan.

Rules 4 to 8, 10 and 11 are as the pipeline sets them: :mod:`worker.mparticle.limits`, :mod:`worker.mparticle.judge`.
Within a rule, the first column of the query is blamed. Lengths of text are characters, not bytes.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from pyarrow import types
from pydantic import ValidationError

from shared.errors import PayloadUnknown
from shared.ledger import Reject, RejectCode
from shared.limits import NAME_MAX_CHARS, Limits
from shared.mapping.destinations import ValueType
from shared.mapping.plan import Leaf, MappingPlan
from worker.mparticle.buffers import Mask, lengths
from worker.mparticle.columns import Column
from worker.mparticle.finding import Finding
from worker.mparticle.needs import Fields, unmet

CHECKS_VERSION: Final = 2
_WITHOUT_LIMITS: Final = 1
"""The version of runs that were planned before pipelines had settings."""
_DEFAULT_LIMITS: Final = Limits()
_SINCE_LIMITS: Final = frozenset({"name_max_chars", "limits"})

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


def find(plan: MappingPlan, fields: Fields, checks: Checks, *, beyond: Sequence[Finding] = ()) -> list[Finding]:
    """Check rows by their columns.

    Args:
        plan: How they are mapped.
        fields: Their columns.
        checks: What they are checked against.
        beyond: The rows that are rejected because they are beyond a limit: rules 4 to 8.

    Returns:
        What breaks a rule, in the order of the rules; a rule that no row breaks is not in it. Rule 9 is judged by the
        finished text, except that a single value can be too large for any batch.
    """
    return [finding for finding in _findings(plan, fields, checks, beyond) if finding.rows.any()]


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


def _findings(plan: MappingPlan, fields: Fields, checks: Checks, beyond: Sequence[Finding]) -> Iterator[Finding]:
    leaves = list(zip(fields.leaves, fields.columns, strict=True))
    yield from _without_identity(leaves)
    for value, (code, rule) in _RULES.items():
        yield from _unfit(leaves, value, code, rule)
    yield from unmet(fields, plan.needs)
    yield from beyond
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


def _huge_texts(leaf: Leaf, column: Column, checks: Checks) -> Iterator[Finding]:
    if leaf.value in {ValueType.STRING, ValueType.TEXT} and types.is_string(column.values.type):
        huge = lengths(column.values) > checks.batch_max_bytes
        if huge.any():
            yield Finding(RejectCode.BATCH_TOO_LARGE, _too_large(checks), column.rows(huge))


def _too_large(checks: Checks) -> str:
    return f"the batch is larger than {checks.batch_max_bytes} bytes, a batch's limit"
