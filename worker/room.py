"""Whether the spool has room for one more slice (pure)."""

from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from enum import StrEnum


class Fit(StrEnum):
    """Whether a slice that is being written still fits."""

    FITS = "fits"
    TOO_LARGE = "too_large"
    CROWDED_OUT = "crowded_out"


def refusal(
    holder: str, *, taken: Mapping[str, int], waiting: AbstractSet[str], soft_bytes: int, hard_bytes: int
) -> str | None:
    """Say why a slice may not start now, or ``None`` where it may.

    Below the soft limit everybody may start. Between the limits only a pipeline that holds less than its share may,
    so that one whose feed stopped cannot keep the others out; above the hard limit nobody may.

    Args:
        holder: a pipeline's lane, whose slice wants to start.
        taken: bytes in the spool by holder.
        waiting: holders that have a slice to start.
        soft_bytes: the soft limit.
        hard_bytes: the hard limit.
    """
    total = sum(taken.values())
    if total < soft_bytes:
        return None
    share = soft_bytes // len(taken.keys() | waiting | {holder})
    own = taken.get(holder, 0)
    if total < hard_bytes and own < share:
        return None
    return (
        f"the spool holds {total} bytes, {own} of them for {holder} (its share is {share}); slices start below "
        f"{soft_bytes} bytes. It empties as runs settle; see which run does not"
    )


def fit(*, taken: Mapping[str, int], written: int, hard_bytes: int) -> Fit:
    """Say whether a slice that is being written may go on.

    ``taken`` leaves out what this slice wrote; ``written`` is just that.
    """
    if written > hard_bytes:
        return Fit.TOO_LARGE
    return Fit.FITS if sum(taken.values()) + written <= hard_bytes else Fit.CROWDED_OUT
