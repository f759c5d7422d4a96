"""How many rejected rows are too many."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.ledger import Ledger
from shared.tolerance import FEWEST_JUDGED, refusal

RUN = 17
ROWS = st.integers(0, 10_000)


@given(accepted=ROWS, rejected=ROWS, ratio=st.floats(0, 1, exclude_min=True, exclude_max=True), rows=ROWS)
def test_exactly_what_is_allowed_is_not_too_many(accepted: int, rejected: int, ratio: float, rows: int) -> None:
    ledger = Ledger(extracted=10 * (accepted + rejected), accepted=accepted, rejected=rejected)
    judged = accepted + rejected
    assert refusal(RUN, "p", ledger, max_ratio=None, max_rows=None) is None
    assert (refusal(RUN, "p", ledger, max_ratio=None, max_rows=rows) is None) == (rejected <= rows)
    is_within = judged < FEWEST_JUDGED or rejected <= ratio * judged
    assert (refusal(RUN, "p", ledger, max_ratio=ratio, max_rows=None) is None) == is_within


@pytest.mark.parametrize(
    ("limits", "counted", "named"),
    [
        ({"max_ratio": 0.1, "max_rows": None}, ": 20 of 100 rows were rejected", "max_rejected_ratio allows 0.1"),
        ({"max_ratio": 0.1, "max_rows": 2}, ": 20 rows were rejected", "max_rejected_rows allows 2"),
    ],
)
def test_the_sentence_names_the_limit_and_what_to_do(limits: dict[str, float | None], counted: str, named: str) -> None:
    error = str(refusal(RUN, "users", Ledger(accepted=80, rejected=20), **limits))  # type: ignore[arg-type]
    for told in (counted, named, f"rejects {RUN}", f"retry {RUN} --accept-rejects"):
        assert told in error
