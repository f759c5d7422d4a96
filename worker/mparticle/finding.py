"""What a check finds: the rows that break one rule."""

from dataclasses import dataclass

from shared.ledger import RejectCode
from worker.mparticle.buffers import Mask


@dataclass(frozen=True, slots=True)
class Finding:
    """Rows that break one rule; ``reason`` names the column and the rule."""

    code: RejectCode
    reason: str
    rows: Mask
