"""Which rows are final, in whatever order answers come."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.errors import LedgerUnbalanced
from shared.run import Progress, Reject, RejectCode
from tests.worker.written import apart, checked, encoded_of
from worker.frontier import Frontier


def refused(row: int) -> Reject:
    return Reject(row, RejectCode.REFUSED_BY_MPARTICLE, "mParticle says: no")


def frontier(
    checks: list[int],
    *,
    rows: int,
    position: int = 0,
    superseded: list[int] | None = None,
    unchanged: list[int] | None = None,
) -> Frontier:
    """Every row has a batch of its own, but for those that are left out."""
    encoded = encoded_of(
        apart(rows), checks=checks, position=position, superseded=superseded or (), unchanged=unchanged or ()
    )
    return Frontier(encoded, position=position, rows=rows)


def advanced(one: Frontier) -> Progress | None:
    """Move, and give the progress; the accepted rows are as many as it says."""
    step = one.advance()
    assert step is None or len(step.accepted) == step.progress.accepted == step.progress.batches
    return None if step is None else step.progress


@given(st.data())
def test_in_any_order_of_answers_each_row_is_counted_once(data: st.DataObject) -> None:
    position = data.draw(st.integers(0, 50), label="position")
    kinds = data.draw(st.lists(st.sampled_from(["batch", "batch", "checked", "superseded", "unchanged"]), max_size=60))
    batch_rows, checks, superseded, unchanged = (
        [position + row for row, kind in enumerate(kinds) if kind == wanted]
        for wanted in ("batch", "checked", "superseded", "unchanged")
    )
    rows = position + len(kinds)
    refusals = data.draw(st.sets(st.sampled_from(range(len(batch_rows)))) if batch_rows else st.just(set()))
    cuts = sorted({0, len(batch_rows), *data.draw(st.lists(st.integers(0, len(batch_rows)), max_size=8))})
    bodies = data.draw(st.permutations(list(pairwise(cuts))), label="order of answers")

    one = frontier(
        data.draw(st.permutations(checks)),
        rows=rows,
        position=position,
        superseded=superseded,
        unchanged=unchanged,
    )
    seen: list[Progress] = []
    for first, end in bodies:
        if data.draw(st.booleans(), label="record before"):
            seen += filter(None, [advanced(one)])
        for batch in range(first, end):
            if batch in refusals:
                one.refuse(batch, refused(batch_rows[batch]))
            else:
                one.accept(batch, batch + 1)
    seen += filter(None, [advanced(one)])

    assert one.is_complete
    assert advanced(one) is None
    before = position
    for progress in seen:
        assert progress.position > before
        ended = progress.accepted + len(progress.rejects) + progress.superseded + progress.unchanged
        assert ended == progress.position - before
        assert progress.superseded == sum(before <= row < progress.position for row in superseded)
        assert progress.unchanged == sum(before <= row < progress.position for row in unchanged)
        assert [reject.row for reject in progress.rejects] == sorted(reject.row for reject in progress.rejects)
        assert all(before <= reject.row < progress.position for reject in progress.rejects)
        before = progress.position
    assert before == rows
    assert sum(progress.accepted for progress in seen) == len(batch_rows) - len(refusals)
    rejected = [reject for progress in seen for reject in progress.rejects]
    expected = [checked(row) for row in checks] + [refused(batch_rows[batch]) for batch in refusals]
    assert sorted(rejected, key=lambda reject: reject.row) == sorted(expected, key=lambda reject: reject.row)


def test_what_is_final_beyond_a_gap_does_not_count_yet() -> None:
    one = frontier([2], rows=5)
    one.accept(2, 4)
    assert one.advance() is None
    one.accept(1, 2)
    assert one.advance() is None
    one.accept(0, 1)
    assert advanced(one) == Progress(5, 4, (checked(2),), batches=4)


def test_checked_rows_are_final_once_the_frontier_is_there() -> None:
    one = frontier([0, 1, 2, 4, 5, 7], rows=8)
    assert advanced(one) == Progress(3, 0, (checked(0), checked(1), checked(2)))
    one.accept(0, 1)
    assert advanced(one) == Progress(6, 1, (checked(4), checked(5)), batches=1)
    one.accept(1, 2)
    assert advanced(one) == Progress(8, 1, (checked(7),), batches=1)


def test_a_chunk_of_rejects_only_is_complete_at_once() -> None:
    one = frontier([0, 1], rows=2)
    assert advanced(one) == Progress(2, 0, (checked(0), checked(1)))
    assert one.is_complete


def test_an_empty_rest_is_complete_without_progress() -> None:
    one = frontier([], rows=4, position=4)
    assert one.advance() is None
    assert one.is_complete


@pytest.mark.parametrize(
    ("batch_rows", "checks"), [([0, 2], []), ([0, 1, 2], [1]), ([0, 1], []), ([1, 2], []), ([0, 1, 2], [2, 2])]
)
def test_rows_that_are_missing_or_counted_twice_are_noticed(batch_rows: list[int], checks: list[int]) -> None:
    encoded = replace(
        encoded_of(apart(3)),
        starts=np.arange(len(batch_rows) + 1),
        sent=np.array(batch_rows, dtype=np.int64),
        rejects=tuple(map(checked, checks)),
    )
    with pytest.raises(LedgerUnbalanced, match="rows 0 to 2"):
        Frontier(encoded, position=0, rows=3)


@pytest.mark.parametrize("shares", [[[0], [1]], [[0], [1], [1]], [[0], [1], [2], [0]]])
def test_shares_that_do_not_hold_each_row_once_are_noticed(shares: list[list[int]]) -> None:
    whole = encoded_of(apart(3)).shares
    order = np.array([row for share in shares for row in share], dtype=np.int64)
    encoded = replace(encoded_of(apart(3)), shares=replace(whole, order=order, bounds=np.arange(len(shares) + 1)))
    with pytest.raises(LedgerUnbalanced, match="each of them once"):
        Frontier(encoded, position=0, rows=3)
