"""Which rows are final, in whatever order answers come."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.errors import LedgerUnbalanced
from shared.ledger import Progress, Reject, RejectCode
from tests.worker.written import apart, checked, encoded_of, prepared_of
from worker.frontier import Frontier
from worker.mparticle.prepared import EncodedRows, Prepared


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


# Batches of several rows.


@st.composite
def shared(draw: st.DrawFn) -> tuple[list[list[int]], list[int]]:
    """The shares of a chunk, and the rows that a check refused: those are alone."""
    rows = draw(st.permutations(range(draw(st.integers(0, 24)))))
    cuts = sorted({0, len(rows), *draw(st.lists(st.integers(0, len(rows)), max_size=12))})
    shares = [rows[start:end] for start, end in pairwise(cuts)]
    checks = [share[0] for share in shares if len(share) == 1 and draw(st.booleans())]
    return shares, checks


def ids_of(encoded: EncodedRows) -> dict[int, list[str]]:
    """The id that each row is sent under, and the one that it has by itself."""
    found: dict[int, list[str]] = {}
    for batch, (start, end) in enumerate(pairwise(encoded.starts.tolist())):
        text = bytes(encoded.data[encoded.offsets[batch] : encoded.offsets[batch + 1] - 1])
        for number, row in enumerate(encoded.sent[start:end].tolist()):
            found[row] = [orjson.loads(one)["id"] for one in (text, encoded.alone(batch, number))]
    return found


def answer(one: Frontier, batch: int, data: st.DataObject) -> dict[int, str]:
    """Let one batch be accepted, refused or taken apart; give what became of its rows."""
    events = range(one.events(batch))
    rows = [one.row(batch, event) for event in events]
    match data.draw(st.sampled_from(["accepted", "refused", "apart"]), label=f"batch {batch}"):
        case "accepted":
            one.accept(batch, batch + 1)
            return dict.fromkeys(rows, "accepted")
        case "refused":
            one.refuse(batch, refused(rows[0]))
            return dict.fromkeys(rows, "refused")
    ended = {}
    for event in data.draw(st.permutations(events)):
        if data.draw(st.booleans()):
            one.accept_event(batch, event)
            ended[rows[event]] = "accepted"
        else:
            one.refuse_event(batch, event, refused(rows[event]))
            ended[rows[event]] = "refused"
    return ended


@settings(deadline=None)
@given(shared(), st.data())
def test_however_attempts_end_each_row_of_a_shared_batch_is_counted_once_under_the_same_id(
    chunk: tuple[list[list[int]], list[int]], data: st.DataObject
) -> None:
    shares, checks = chunk
    prepared = prepared_of(shares, checks=checks)
    total, ended, ids = sum(map(len, shares)), dict.fromkeys(checks, "checked"), ids_of(prepared.write())
    counted: dict[int, str] = {}
    position = 0
    for left in reversed(range(data.draw(st.integers(1, 4), label="attempts"))):
        is_last = left == 0
        open_rows = prepared.open_rows(position).tolist()
        out = {row: data.draw(st.sampled_from(["superseded", "unchanged", ""])) for row in open_rows}
        encoded = prepared.write(
            position=position,
            superseded=np.array([row for row in open_rows if out[row] == "superseded"], dtype=np.int64),
            unchanged=np.array([row for row in open_rows if out[row] == "unchanged"], dtype=np.int64),
        )
        assert all(ids[row] == sent for row, sent in ids_of(encoded).items())
        ended |= {row: why for row, why in out.items() if why}
        one = Frontier(encoded, position=position, rows=total)
        for batch in data.draw(st.permutations(range(len(encoded)))):
            if is_last or data.draw(st.booleans(), label="is answered"):
                ended |= answer(one, batch, data)
            if data.draw(st.booleans(), label="is recorded"):
                position = settle(one, position, prepared, ended, counted)
        if is_last:
            position = settle(one, position, prepared, ended, counted)
            assert one.is_complete
    assert position == total
    assert counted.keys() == set(range(total))


def settle(one: Frontier, position: int, prepared: Prepared, ended: dict[int, str], counted: dict[int, str]) -> int:
    """Record, and see that what is counted is what became of just these rows; give the new position."""
    step = one.advance()
    if step is None:
        return position
    progress, rows = step.progress, prepared.shares.order[position : step.progress.position].tolist()
    assert progress.position in prepared.shares.bounds
    assert not counted.keys() & set(rows)
    became = {row: ended[row] for row in rows}
    counted |= became
    assert sorted(step.accepted.tolist()) == sorted(row for row, why in became.items() if why == "accepted")
    assert [reject.row for reject in progress.rejects] == sorted(
        row for row, why in became.items() if why in {"checked", "refused"}
    )
    assert all((reject == checked(reject.row)) == (became[reject.row] == "checked") for reject in progress.rejects)
    assert progress.accepted == len(step.accepted)
    assert progress.superseded == list(became.values()).count("superseded")
    assert progress.unchanged == list(became.values()).count("unchanged")
    return progress.position


def test_a_share_that_was_taken_apart_lets_the_frontier_in_event_by_event() -> None:
    one = Frontier(encoded_of([[0, 3], [1, 2, 4, 5]]), position=0, rows=6)
    one.accept(0, 1)
    one.accept_event(1, 0)
    one.refuse_event(1, 2, refused(4))
    assert advanced_in_batches(one) == (Progress(3, 3, batches=2), [0, 3, 1])
    assert one.advance() is None
    one.accept_event(1, 1)
    assert advanced_in_batches(one) == (Progress(5, 1, (refused(4),), batches=1), [2])
    rest = Frontier(encoded_of([[0, 3], [1, 2, 4, 5]], position=5), position=5, rows=6)
    rest.accept(0, 1)
    assert advanced_in_batches(rest) == (Progress(6, 1, batches=1), [5])
    assert rest.is_complete


def test_a_share_that_nothing_was_taken_out_of_keeps_the_frontier() -> None:
    one = Frontier(encoded_of([[0, 3], [1, 2]], unchanged=[1]), position=0, rows=4)
    one.accept(0, 1)
    assert advanced_in_batches(one) == (Progress(2, 2, batches=1), [0, 3])


def test_rows_of_one_user_share_what_becomes_of_their_batch() -> None:
    one = Frontier(encoded_of([[1, 0], [2]], has_events=False), position=0, rows=3)
    assert [one.events(batch) for batch in (0, 1)] == [0, 0]
    one.refuse(0, refused(1))
    one.accept(1, 2)
    assert advanced_in_batches(one) == (Progress(3, 1, (refused(0), refused(1)), batches=1), [2])


def advanced_in_batches(one: Frontier) -> tuple[Progress, list[int]] | None:
    step = one.advance()
    return None if step is None else (step.progress, step.accepted.tolist())
