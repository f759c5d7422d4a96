"""Who shares a batch: each row once, equal keys only, nothing beyond a limit, and the same every time."""

from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from worker.mparticle.shares import Shares, apart, together

MAX_BYTES = 30


@dataclass(frozen=True)
class Rows:
    """Rows as ``together`` takes them; ``bases`` are equal where the rows' keys are."""

    keys: list[int]
    sizes: list[int]
    bases: list[int]
    later: list[bool]
    age: list[int]

    def shares(self, max_rows: int) -> Shares:
        return together(
            np.array(self.keys, dtype=np.int64),
            np.array(self.sizes, dtype=np.int64),
            np.array(self.bases, dtype=np.int64),
            max_rows=max_rows,
            max_bytes=MAX_BYTES,
            later=np.array(self.later, dtype=np.bool_),
            age=np.array(self.age, dtype=np.int64),
        )

    def bytes_of(self, rows: list[int]) -> int:
        return self.bases[rows[0]] + sum(self.sizes[row] for row in rows)


@st.composite
def many(draw: st.DrawFn) -> Rows:
    count = draw(st.integers(0, 40))

    def each(strategy: st.SearchStrategy[Any]) -> list[Any]:
        return draw(st.lists(strategy, min_size=count, max_size=count))

    # Keys of rows that come later are odd, as the encoder makes them, and may be larger than there are rows.
    keys = each(st.sampled_from([-1, 0, 1, 2, 3, count, count + 1, 2 * count + 7]))
    return Rows(
        keys,
        each(st.integers(1, 12)),
        [3 + key % 3 for key in keys],
        [key > 0 and key % 2 == 1 for key in keys],
        each(st.integers(0, 5)),
    )


def listed(shares: Shares) -> list[list[int]]:
    bounds = shares.bounds.tolist()
    assert bounds[0] == 0
    assert bounds[-1] == len(shares.order)
    assert len(shares) == len(bounds) - 1
    return [shares.order[start:end].tolist() for start, end in pairwise(bounds)]


most = st.integers(1, 6)


@given(many(), most)
def test_every_row_is_in_exactly_one_share(rows: Rows, max_rows: int) -> None:
    shares = listed(rows.shares(max_rows))
    assert sorted(row for share in shares for row in share) == list(range(len(rows.keys)))
    assert all(shares)


@given(many(), most)
def test_only_rows_with_equal_keys_share_and_those_without_a_key_never_do(rows: Rows, max_rows: int) -> None:
    for share in listed(rows.shares(max_rows)):
        assert len({rows.keys[row] for row in share}) == 1
        assert len(share) == 1 or rows.keys[share[0]] >= 0


@given(many(), most)
def test_no_share_is_over_a_limit_unless_one_row_is(rows: Rows, max_rows: int) -> None:
    for share in listed(rows.shares(max_rows)):
        assert len(share) <= max_rows
        assert len(share) == 1 or rows.bytes_of(share) <= MAX_BYTES


@given(many(), most)
def test_a_share_ends_only_where_its_key_or_a_limit_ends_it(rows: Rows, max_rows: int) -> None:
    last: dict[int, list[int]] = {}
    for share in listed(rows.shares(max_rows)):
        key = rows.keys[share[0]]
        if key in last and key >= 0:
            longer = [*last[key], share[0]]
            assert len(longer) > max_rows or rows.bytes_of(longer) > MAX_BYTES
        last[key] = share


@given(many(), most)
def test_the_rows_of_a_key_are_in_order_of_age_and_then_as_they_stand(rows: Rows, max_rows: int) -> None:
    shares = listed(rows.shares(max_rows))
    for key in {key for key in rows.keys if key >= 0}:
        ours = [row for share in shares for row in share if rows.keys[row] == key]
        assert ours == sorted(ours, key=lambda row: (rows.age[row], row))


@given(many(), most)
def test_keys_follow_in_the_order_of_their_first_rows_and_later_ones_last(rows: Rows, max_rows: int) -> None:
    begins: dict[int, int] = {}
    for row, key in enumerate(rows.keys):
        begins.setdefault(key, row)
    shares = listed(rows.shares(max_rows))
    ranks = [
        (rows.later[share[0]], begins[rows.keys[share[0]]] if rows.keys[share[0]] >= 0 else share[0])
        for share in shares
    ]
    assert ranks == sorted(ranks)


@given(many(), most)
def test_the_same_rows_have_the_same_shares_every_time(rows: Rows, max_rows: int) -> None:
    assert listed(rows.shares(max_rows)) == listed(rows.shares(max_rows))


@given(many(), most)
def test_a_batch_is_named_by_its_oldest_row(rows: Rows, max_rows: int) -> None:
    shares = rows.shares(max_rows)
    assert shares.first_rows.tolist() == [share[0] for share in listed(shares)]
    assert shares.is_shared == any(len(share) > 1 for share in listed(shares))


def test_rows_that_are_just_as_many_bytes_as_fit_share() -> None:
    rows = Rows([0] * 4, [9, 9, 9, 9], [3] * 4, [False] * 4, [0] * 4)
    assert listed(rows.shares(10)) == [[0, 1, 2], [3]]


def test_apart_every_row_is_alone_in_order() -> None:
    assert listed(apart(3, first_row=5)) == [[5], [6], [7]]
    assert listed(apart(0)) == []
    assert not apart(3).is_shared
