"""Bad batches are found and good ones kept, whichever they are."""

from collections.abc import Coroutine
from contextlib import suppress
from itertools import accumulate, pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.errors import FeedRefused
from shared.ledger import Progress, RejectCode
from tests.worker.written import apart, encoded_of
from worker.delivery import PutOff
from worker.frontier import Frontier
from worker.mparticle.answers import Accepted, BatchesRefused, TooLarge
from worker.mparticle.bodies import Body, body_bytes
from worker.mparticle.prepared import EncodedRows
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


# Batches of several events.


class EventJudge:
    """Judges as mParticle does, by events: one bad event spoils its batch, and a batch its body."""

    def __init__(self, encoded: EncodedRows, bad: set[int], *, most_events: int = 1_000) -> None:
        self.encoded = encoded
        self.bad = bad
        self.most_events = most_events
        self.sent: list[Body] = []

    async def deliver(self, body: Body) -> Verdict:
        self.sent.append(body)
        starts = self.encoded.starts
        rows = self.encoded.sent[starts[body.first] : starts[body.end]].tolist()
        if body.event is not None:
            rows = [rows[body.event]]
        if len(rows) > self.most_events:
            return TooLarge()
        return BatchesRefused("no event_type") if self.bad.intersection(rows) else Accepted()


def shares_of(sizes: list[int]) -> list[list[int]]:
    ends = list(accumulate(sizes, initial=0))
    return [list(range(start, end)) for start, end in pairwise(ends)]


def outcomes_of(judge: EventJudge, frontier: Frontier) -> dict[int, RejectCode | None]:
    """What became of each event of one body that holds all batches."""
    assert finish(sift(Body(0, len(judge.encoded)), judge.deliver, frontier)) is None
    step = frontier.advance()
    assert step
    assert frontier.is_complete
    return dict.fromkeys(step.accepted.tolist()) | {one.row: one.code for one in step.progress.rejects}


@settings(deadline=None)
@given(st.lists(st.integers(1, 30), min_size=1, max_size=12), st.data())
def test_a_bad_event_takes_no_good_one_along(sizes: list[int], data: st.DataObject) -> None:
    total = sum(sizes)
    bad = data.draw(st.sets(st.integers(0, total - 1)))
    encoded = encoded_of(shares_of(sizes))
    judge = EventJudge(encoded, bad)
    outcomes = outcomes_of(judge, Frontier(encoded, position=0, rows=total))
    assert outcomes == {row: RejectCode.REFUSED_BY_MPARTICLE if row in bad else None for row in range(total)}
    alone = [body for body in judge.sent if body.event is not None]
    assert len(alone) == len(set(alone)), "no event is sent twice by itself"
    assert all(sizes[body.first] > 1 for body in alone), "a batch of one event is not taken apart"


@pytest.mark.parametrize("sizes", [[1] * 30, [3] * 30, [1, 4] * 15])
def test_batches_whose_events_are_all_bad_are_a_wrong_mapping_after_twenty(sizes: list[int]) -> None:
    encoded = encoded_of(shares_of(sizes))
    judge = EventJudge(encoded, set(range(sum(sizes))))
    frontier = Frontier(encoded, position=0, rows=sum(sizes))
    error = finish(sift(Body(0, len(sizes)), judge.deliver, frontier))
    assert error is not None
    assert "no event_type" in str(error)
    assert frontier.advance() is None, "nothing is settled: the mapping is at fault"
    proofs = {body.first for body in judge.sent if body.event is not None or sizes[body.first] == len(body) == 1}
    assert len(proofs) == PROOFS


@pytest.mark.parametrize("sizes", [[25], [30, 5], [5, 30, 1], [40, 40, 1]])
def test_a_user_with_many_events_who_is_refused_is_no_wrong_mapping(sizes: list[int]) -> None:
    encoded = encoded_of(shares_of(sizes))
    bad = set(range(sum(sizes[: max(1, len(sizes) - 1)])))
    outcomes = outcomes_of(EventJudge(encoded, bad), Frontier(encoded, position=0, rows=sum(sizes)))
    assert outcomes == {row: RejectCode.REFUSED_BY_MPARTICLE if row in bad else None for row in range(sum(sizes))}, (
        "what is wrong with his batch is wrong with each of his events"
    )


def test_what_is_left_of_a_refused_users_batch_is_no_wrong_mapping_either() -> None:
    encoded = encoded_of(shares_of([30, 1]), position=2)
    frontier = Frontier(encoded, position=2, rows=31)
    outcomes = outcomes_of(EventJudge(encoded, set(range(30))), frontier)
    assert outcomes == dict.fromkeys(range(2, 30), RejectCode.REFUSED_BY_MPARTICLE) | {30: None}


def test_few_events_that_are_all_bad_are_rejected_one_by_one() -> None:
    encoded = encoded_of(shares_of([PROOFS - 2, 1]))
    judge = EventJudge(encoded, set(range(PROOFS)))
    outcomes = outcomes_of(judge, Frontier(encoded, position=0, rows=PROOFS - 1))
    assert outcomes == dict.fromkeys(range(PROOFS - 1), RejectCode.REFUSED_BY_MPARTICLE)


def test_a_batch_of_events_that_is_too_large_is_sent_event_by_event() -> None:
    encoded = encoded_of(shares_of([2, 5, 1]))
    judge = EventJudge(encoded, {3}, most_events=3)
    outcomes = outcomes_of(judge, Frontier(encoded, position=0, rows=8))
    assert outcomes == {row: RejectCode.REFUSED_BY_MPARTICLE if row == 3 else None for row in range(8)}


def test_an_event_that_is_too_large_by_itself_is_rejected() -> None:
    encoded = encoded_of(shares_of([2, 1]))
    judge = EventJudge(encoded, set(), most_events=0)
    outcomes = outcomes_of(judge, Frontier(encoded, position=0, rows=3))
    assert outcomes == dict.fromkeys(range(3), RejectCode.BATCH_TOO_LARGE)


def test_rows_of_one_user_are_refused_together() -> None:
    encoded = encoded_of(shares_of([3, 2]), has_events=False)
    judge = EventJudge(encoded, {1})
    outcomes = outcomes_of(judge, Frontier(encoded, position=0, rows=5))
    assert outcomes == {row: RejectCode.REFUSED_BY_MPARTICLE if row < 3 else None for row in range(5)}
    assert all(body.event is None for body in judge.sent)


def test_bodies_of_one_batch_are_a_wrong_mapping_once_twenty_were_refused_event_by_event() -> None:
    sizes = [2] * (PROOFS + 1)
    encoded = encoded_of(shares_of(sizes))
    judge = EventJudge(encoded, set(range(sum(sizes))))
    frontier = Frontier(encoded, position=0, rows=sum(sizes))
    errors = [finish(sift(Body(batch, batch + 1), judge.deliver, frontier)) for batch in range(PROOFS)]
    assert errors[:-1] == [None] * (PROOFS - 1)
    assert "no event_type" in str(errors[-1])
    step = frontier.advance()
    assert step
    assert len(step.progress.rejects) == step.progress.position == 2 * PROOFS, "each was refused by itself"


def test_one_good_event_keeps_refused_users_from_being_a_wrong_mapping() -> None:
    sizes = [2] * (2 * PROOFS)
    encoded = encoded_of(shares_of(sizes))
    judge = EventJudge(encoded, set(range(1, sum(sizes))))
    frontier = Frontier(encoded, position=0, rows=sum(sizes))
    assert not any(finish(sift(Body(batch, batch + 1), judge.deliver, frontier)) for batch in range(len(sizes)))


def test_a_refused_batch_of_events_ends_though_no_attempt_lives_to_see_it_whole() -> None:
    shares, bad, rows = shares_of([2, 9, 3]), {4, 12}, 14
    outcomes: dict[int, RejectCode | None] = {}
    ids: dict[int, set[bytes]] = {row: set() for row in range(rows)}
    position, attempts = 0, 0
    while position < rows:
        attempts += 1
        encoded = encoded_of(shares, position=position)
        judge, frontier = EventJudge(encoded, bad), Frontier(encoded, position=position, rows=rows)

        async def deliver(body: Body, judge: EventJudge = judge, encoded: EncodedRows = encoded) -> Verdict:
            if len(judge.sent) == 3:
                raise PutOff(0.0, "the attempt is over")
            if body.event is not None:
                ids[encoded.sent[encoded.starts[body.first]] + body.event].add(body_bytes(encoded, body))
            elif len(body) == 1 and encoded.starts[body.end] - encoded.starts[body.first] == 1:
                ids[int(encoded.sent[encoded.starts[body.first]])].add(body_bytes(encoded, body))
            return await judge.deliver(body)

        with suppress(PutOff):
            for batch in range(len(encoded)):
                assert finish(sift(Body(batch, batch + 1), deliver, frontier)) is None
        step = frontier.advance()
        assert step, "each attempt gets on"
        assert not outcomes.keys() & set(step.accepted.tolist())
        outcomes |= dict.fromkeys(step.accepted.tolist()) | {one.row: one.code for one in step.progress.rejects}
        position = step.progress.position
    assert outcomes == {row: RejectCode.REFUSED_BY_MPARTICLE if row in bad else None for row in range(rows)}
    assert attempts > 3
    assert all(len(texts) <= 1 for texts in ids.values()), "an event that was sent alone always says the same"
