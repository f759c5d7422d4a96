"""How many rows are too many to go on without being asked, and how few too few."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from shared.volume import FEWEST_COMPARED, LOOKED_AT, Volume, too_few, too_many

ROWS = st.integers(0, 10**9)
EARLIER = st.lists(ROWS, max_size=LOOKED_AT)
SHARES = st.floats(0, 1, exclude_min=True)


def is_too_many(
    rows: int, *, max_rows: int | None = None, max_ratio: float | None = None, earlier: list[int] | None = None
) -> bool:
    return too_many(1, rows, max_rows=max_rows, max_ratio=max_ratio, earlier=earlier or []) is not None


def is_too_few(
    rows: int, *, min_rows: int | None = None, min_ratio: float | None = None, earlier: list[int] | None = None
) -> bool:
    return too_few(1, rows, min_rows=min_rows, min_ratio=min_ratio, earlier=earlier or []) is not None


def test_as_many_rows_as_are_allowed_are_not_asked_about() -> None:
    assert too_many(17, 100, max_rows=100, max_ratio=None, earlier=()) is None
    found = too_many(17, 101, max_rows=100, max_ratio=None, earlier=())
    assert found is not None
    assert "101 rows so far" in found
    assert "volume.max_rows allows 100" in found
    assert "approve the run; if not, abandon it" in found


def test_as_few_rows_as_are_expected_are_not_asked_about() -> None:
    assert too_few(17, 100, min_rows=100, min_ratio=None, earlier=()) is None
    found = too_few(17, 99, min_rows=100, min_ratio=None, earlier=())
    assert found is not None
    assert "99 rows in all" in found
    assert "volume.min_rows expects 100 or more" in found
    assert "If so few are right, approve the run" in found
    assert "correct query or table, or wait until it is loaded, then abandon the run" in found


@pytest.mark.parametrize(("rows", "told"), [(0, " 0 rows in all"), (1, " 1 row in all")])
def test_no_row_and_a_single_one_are_too_few_as_well(rows: int, told: str) -> None:
    assert told in (too_few(17, rows, min_rows=2, min_ratio=None, earlier=()) or "")


def test_the_ratio_is_of_the_median_of_the_runs_that_had_rows() -> None:
    earlier = (10, 0, 1_000_000, 0, 20, 30)
    assert too_many(17, 100, max_rows=None, max_ratio=4, earlier=earlier) is None
    found = too_many(17, 101, max_rows=None, max_ratio=4, earlier=earlier)
    assert found is not None
    assert "4 times 25, the median of the last 4 live runs" in found
    assert too_few(17, 5, min_rows=None, min_ratio=0.2, earlier=earlier) is None
    found = too_few(17, 4, min_rows=None, min_ratio=0.2, earlier=earlier)
    assert found is not None
    assert "volume.min_ratio expects 0.2 times 25, the median of the last 4 live runs" in found


def test_what_is_usual_is_not_known_from_fewer_than_three_runs_with_rows() -> None:
    assert not is_too_many(10**6, max_ratio=2, earlier=[1, 1, 0, 0, 0])
    assert is_too_many(10**6, max_ratio=2, earlier=[1, 1, 1, 0, 0])
    assert not is_too_few(0, min_ratio=1, earlier=[1, 1, 0, 0, 0])
    assert is_too_few(0, min_ratio=1, earlier=[1, 1, 1, 0, 0])


@given(EARLIER, st.floats(1, 100))
def test_a_run_as_large_as_the_largest_before_may_be_asked_about_and_as_the_smallest_never(
    earlier: list[int], max_ratio: float
) -> None:
    usual = [rows for rows in earlier if rows]
    if usual:
        assert not is_too_many(min(usual), max_ratio=max_ratio, earlier=earlier)
    if len(usual) >= FEWEST_COMPARED:
        assert is_too_many(int(max(usual) * max_ratio) + 1, max_ratio=max_ratio, earlier=earlier)


@given(EARLIER, SHARES)
def test_a_run_as_large_as_the_largest_before_never_has_few_rows_and_one_without_any_has(
    earlier: list[int], min_ratio: float
) -> None:
    usual = [rows for rows in earlier if rows]
    assert not is_too_few(max(usual, default=0), min_ratio=min_ratio, earlier=earlier)
    if len(usual) >= FEWEST_COMPARED:
        assert is_too_few(0, min_ratio=min_ratio, earlier=earlier)
        assert is_too_few(math.ceil(min(usual) * min_ratio) - 1, min_ratio=min_ratio, earlier=earlier)


@given(ROWS, ROWS, EARLIER, st.none() | st.integers(1, 10**9), st.none() | SHARES)
def test_a_run_that_has_few_rows_would_have_with_fewer_too(
    rows: int, less: int, earlier: list[int], min_rows: int | None, min_ratio: float | None
) -> None:
    if is_too_few(rows, min_rows=min_rows, min_ratio=min_ratio, earlier=earlier):
        assert is_too_few(max(0, rows - less), min_rows=min_rows, min_ratio=min_ratio, earlier=earlier)


@given(ROWS, EARLIER, SHARES, st.floats(1, 100))
def test_no_run_has_both_many_rows_and_few_by_the_same_measure(
    rows: int, earlier: list[int], min_ratio: float, max_ratio: float
) -> None:
    assert not (
        is_too_many(rows, max_ratio=max_ratio, earlier=earlier)
        and is_too_few(rows, min_ratio=min_ratio, earlier=earlier)
    )


@given(ROWS, EARLIER)
def test_without_limits_nothing_is_asked(rows: int, earlier: list[int]) -> None:
    assert not is_too_many(rows, earlier=earlier)
    assert not is_too_few(rows, earlier=earlier)


@pytest.mark.parametrize(
    ("declared", "told"),
    [
        ({}, "expected at least one of max_rows, max_ratio, min_rows and min_ratio"),
        ({"max_ratio": 0.5}, "greater than or equal to 1"),
        ({"min_ratio": 1.5}, "less than or equal to 1"),
        ({"min_ratio": 0}, "greater than 0"),
        ({"min_rows": 0}, "greater than or equal to 1"),
        ({"min_rows": 6, "max_rows": 5}, r"min_rows \(6\) is above max_rows \(5\), so every run would be held"),
    ],
)
def test_a_limit_that_limits_nothing_or_leaves_no_room_is_refused(declared: dict[str, float], told: str) -> None:
    with pytest.raises(ValidationError, match=told):
        Volume.model_validate(declared)


def test_exactly_one_number_of_rows_may_be_the_right_one() -> None:
    assert Volume(min_rows=5, max_rows=5, min_ratio=1, max_ratio=1).min_rows == 5


def test_what_an_earlier_release_does_not_know_is_written_only_where_it_is_declared() -> None:
    assert Volume(max_rows=5).model_dump() == {"max_rows": 5, "max_ratio": None}
    fewest = Volume(min_rows=5, min_ratio=0.5)
    assert Volume.model_validate(fewest.model_dump(mode="json")) == fewest
