"""Bad batches are found and good ones kept, whichever they are."""

from collections.abc import Coroutine
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.errors import FeedRefused
from shared.run import Progress, RejectCode
from tests.worker.written import apart, encoded_of
from worker.frontier import Frontier
from worker.mparticle.answers import Accepted, BatchesRefused, TooLarge
from worker.mparticle.bodies import Body
from worker.sift import PROOFS, Verdict, sift


class Judge:
    """Judges as mParticle does: a body with one bad batch is refused whole, and too many batches are too large."""

    def __init__(self, bad: set[int], *, most: int = 1_000, too_large: frozenset[int] = frozenset()) -> None:
        self.bad = bad
        self.most = most
        self.too_large = too_large
        self.sent: list[Body] = []

    async def deliver(self, body: Body) -> Verdict:
        self.sent.append(body)
        batches = set(range(body.first, body.end))
        if len(batches) > self.most or batches & self.too_large:
            return TooLarge()
        return BatchesRefused("no event_type") if batches & self.bad else Accepted()

    @property
    def batches_sent(self) -> int:
        return sum(map(len, self.sent))


def finish(work: Coroutine[Any, Any, None]) -> FeedRefused | None:
    """Run a coroutine that never waits, and give what it ended with."""
    try:
        work.send(None)
    except StopIteration:
        return None
    except FeedRefused as error:
        return error
    raise AssertionError("it waits")


def sifted(judge: Judge, size: int, *, first: int = 5) -> dict[int, RejectCode | None]:
    """What became of each batch of a body that begins at ``first``; absent where it was not settled."""
    frontier = Frontier(encoded_of(apart(first + size)), position=0, rows=first + size)
    frontier.accept(0, first)
    assert finish(sift(Body(first, first + size), judge.deliver, frontier)) is None
    step = frontier.advance()
    assert step
    progress = step.progress
    assert progress.position == first + size
    codes: dict[int, RejectCode | None] = dict.fromkeys(range(first, first + size))
    codes.update({reject.row: reject.code for reject in progress.rejects})
    return codes


sizes = st.integers(1, 100)


@given(st.data(), sizes)
def test_every_good_batch_is_kept_and_every_bad_one_rejected(data: st.DataObject, size: int) -> None:
    bad = data.draw(st.sets(st.integers(5, 5 + size - 1), max_size=PROOFS - 1))
    outcomes = sifted(Judge(bad), size)
    assert {batch for batch, code in outcomes.items() if code} == bad
    assert set(outcomes.values()) <= {None, RejectCode.REFUSED_BY_MPARTICLE}


@given(st.data(), sizes)
def test_a_mapping_is_called_wrong_only_after_twenty_proofs_and_no_good_batch(data: st.DataObject, size: int) -> None:
    bad = data.draw(st.sets(st.integers(5, 5 + size - 1)))
    judge = Judge(bad)
    frontier = Frontier(encoded_of(apart(5 + size)), position=0, rows=5 + size)
    frontier.accept(0, 5)
    error = finish(sift(Body(5, 5 + size), judge.deliver, frontier))
    step = frontier.advance()
    assert step
    progress = step.progress
    if error is None:
        assert {reject.row for reject in progress.rejects} == bad
        return
    assert "no event_type" in str(error)
    assert progress == Progress(5, 5, batches=5)
    singles = {body.first for body in judge.sent if len(body) == 1}
    assert len(singles) >= PROOFS
    assert singles <= bad
    assert judge.batches_sent == size + PROOFS


@given(st.data(), sizes, st.integers(1, 100))
def test_too_large_bodies_are_sent_in_parts_and_too_large_batches_rejected(
    data: st.DataObject, size: int, most: int
) -> None:
    positions = st.integers(5, 5 + size - 1)
    bad, large = data.draw(st.sets(positions, max_size=5)), data.draw(st.sets(positions, max_size=5))
    outcomes = sifted(Judge(bad, most=most, too_large=frozenset(large)), size)
    assert {batch for batch, code in outcomes.items() if code is RejectCode.BATCH_TOO_LARGE} == large
    assert {batch for batch, code in outcomes.items() if code is RejectCode.REFUSED_BY_MPARTICLE} == bad - large


@pytest.mark.parametrize("bad", [5, 6, 54, 55, 103, 104])
def test_one_bad_batch_costs_three_times_the_body_at_most(bad: int) -> None:
    judge = Judge({bad})
    sifted(judge, 100)
    assert judge.batches_sent <= 301
    assert len(judge.sent) <= 16


def test_bad_batches_side_by_side_are_no_wrong_mapping() -> None:
    bad = set(range(5, 95))
    outcomes = sifted(Judge(bad), 100)
    assert {batch for batch, code in outcomes.items() if code} == bad


def test_a_small_body_of_bad_batches_is_rejected_batch_by_batch() -> None:
    outcomes = sifted(Judge(set(range(200))), PROOFS - 1)
    assert set(outcomes.values()) == {RejectCode.REFUSED_BY_MPARTICLE}


def test_nothing_is_sent_twice_alone() -> None:
    judge = Judge({7, 30, 99})
    sifted(judge, 100)
    singles = [body for body in judge.sent if len(body) == 1]
    assert len(singles) == len(set(singles))
