"""A ledger balances where every row ended once, and progress takes nothing back."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.ledger import Ledger, Progress

COUNTS = st.integers(0, 1_000)


@given(*[COUNTS] * 5)
def test_a_ledger_balances_where_every_row_ended_once(
    accepted: int, rejected: int, unchanged: int, superseded: int, unsent: int
) -> None:
    extracted = accepted + rejected + unchanged + superseded + unsent
    ledger = Ledger(extracted, accepted, rejected, unchanged, superseded, unsent)
    assert ledger.balances
    for count in ("extracted", "accepted", "rejected", "unchanged", "superseded", "unsent"):
        assert not replace(ledger, **{count: getattr(ledger, count) + 1}).balances


def test_progress_takes_nothing_back() -> None:
    with pytest.raises(ValueError, match="never goes back"):
        Progress(3, -1)
