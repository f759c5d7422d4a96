"""How many rejected rows a run may have before somebody has to look at it (pure).

A run that rejects a few rows is a success: each is kept with its reason and can be replayed. One that rejects most of
them has a wrong query, mapping or input, and its window should be read again once that is mended.
"""

from typing import Final

from shared.errors import TooManyRejected
from shared.ledger import Ledger

FEWEST_JUDGED: Final = 100
"""Rows that have ended before their share is judged: two bad rows of three say nothing. Ours, and a guess."""


def refusal(
    number: int, pipeline_id: str, ledger: Ledger, *, max_ratio: float | None, max_rows: int | None
) -> TooManyRejected | None:
    """Say why run ``number`` may not go on, or ``None`` where it may; accepted and rejected rows are compared."""
    judged = ledger.accepted + ledger.rejected
    if max_rows is not None and ledger.rejected > max_rows:
        # Not "of so many": it may be judged before the rows that mParticle takes are counted.
        found, allowed = f"{ledger.rejected:,}", f"max_rejected_rows allows {max_rows:,}"
    elif max_ratio is not None and judged >= FEWEST_JUDGED and ledger.rejected > max_ratio * judged:
        found, allowed = f"{ledger.rejected:,} of {judged:,}", f"max_rejected_ratio allows {max_ratio:g}"
    else:
        return None
    return TooManyRejected(
        f"run {number} of pipeline {pipeline_id!r}: {found} rows were rejected, and {allowed}. "
        f"`warehouse-sync rejects {number}` says why. If query, mapping or input are wrong, abandon the run "
        f"and correct them, and its window is read again; `warehouse-sync retry {number} --accept-rejects` takes the "
        "rejected rows as they are"
    )
