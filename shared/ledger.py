"""What becomes of rows, each exactly once: a run's ledger, an attempt's progress, and why a row was rejected (pure)."""

from dataclasses import dataclass, field
from enum import StrEnum


@dataclass(frozen=True, slots=True)
class Ledger:
    """What became of every row of a run, in rows.

    ``extracted`` is counted where rows leave the warehouse's driver, everything else where a row ends; that they
    agree is therefore a check and not a definition.
    """

    extracted: int = 0
    accepted: int = 0
    rejected: int = 0
    unchanged: int = 0
    superseded: int = 0
    unsent: int = 0

    @property
    def ended(self) -> int:
        """Rows whose end is known."""
        return self.accepted + self.rejected + self.unchanged + self.superseded + self.unsent

    @property
    def balances(self) -> bool:
        """Whether every extracted row is accounted for exactly once."""
        return self.extracted == self.ended


class RejectCode(StrEnum):
    """Why a row was refused for its content; stable, for counting and filtering."""

    NO_IDENTITY = "no_identity"
    INVALID_UUID = "invalid_uuid"
    INVALID_INTEGER = "invalid_integer"
    INVALID_JSON = "invalid_json"
    INVALID_NUMBER = "invalid_number"
    INVALID_BOOLEAN = "invalid_boolean"
    INVALID_TIMESTAMP = "invalid_timestamp"
    INVALID_IP = "invalid_ip"
    INVALID_CHOICE = "invalid_choice"
    INVALID_OBJECT = "invalid_object"
    MISSING_FIELD = "missing_field"
    VALUE_TOO_LONG = "value_too_long"
    LIST_TOO_LONG = "list_too_long"
    LIST_ENTRY_TOO_LONG = "list_entry_too_long"
    TOO_MANY_ATTRIBUTES = "too_many_attributes"
    BATCH_TOO_LARGE = "batch_too_large"
    NAME_TOO_LONG = "name_too_long"
    TOO_MANY_EVENT_NAMES = "too_many_event_names"
    PLAN_VIOLATION = "plan_violation"
    REFUSED_BY_MPARTICLE = "refused_by_mparticle"


@dataclass(frozen=True, slots=True)
class Reject:
    """One row refused for its content.

    ``row`` is its position in the chunk, from 0. ``reason`` names the column or the rule, never a value.
    """

    row: int
    code: RejectCode
    reason: str


@dataclass(frozen=True, slots=True)
class Progress:
    """What an upload attempt has settled since it last said so.

    ``position`` rows of the chunk are final, counted in the order in which it is sent. The others are increments and
    together account for exactly the rows between the previous position and this one; the accepted ones were sent in
    ``batches``.
    """

    position: int
    accepted: int = 0
    rejects: tuple[Reject, ...] = field(default=())
    superseded: int = 0
    unchanged: int = 0
    batches: int = 0

    def __post_init__(self) -> None:
        """Refuse to take back what was settled."""
        for outcome in ("accepted", "superseded", "unchanged", "batches"):
            if getattr(self, outcome) < 0:
                raise ValueError(f"progress never goes back; {getattr(self, outcome)} {outcome} rows are none")
