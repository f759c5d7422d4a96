"""How many rows are too many to go on without being asked."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from shared.volume import FEWEST_COMPARED, Volume, doubt

ROWS = st.integers(0, 10**9)


def test_as_many_rows_as_are_allowed_are_not_asked_about() -> None:
    assert doubt(17, 100, max_rows=100, max_ratio=None, earlier=()) is None
    found = doubt(17, 101, max_rows=100, max_ratio=None, earlier=())
    assert found is not None
    assert "101 rows so far" in found
    assert "volume.max_rows allows 100" in found
    assert "approve the run; if not, abandon it" in found


def test_the_ratio_is_of_the_median_of_the_runs_that_had_rows() -> None:
    earlier = (10, 0, 1_000_000, 0, 20, 30)
    assert doubt(17, 100, max_rows=None, max_ratio=4, earlier=earlier) is None
    found = doubt(17, 101, max_rows=None, max_ratio=4, earlier=earlier)
    assert found is not None
    assert "4 times 25, the median of the last 4 live runs" in found


def test_what_is_usual_is_not_known_from_fewer_than_three_runs_with_rows() -> None:
    assert doubt(17, 10**6, max_rows=None, max_ratio=2, earlier=(1, 1, 0, 0, 0)) is None
    assert doubt(17, 10**6, max_rows=None, max_ratio=2, earlier=(1, 1, 1, 0, 0)) is not None


@given(st.lists(ROWS, max_size=10), st.floats(1, 100))
def test_a_run_as_large_as_the_largest_before_may_be_asked_about_and_as_the_smallest_never(
    earlier: list[int], max_ratio: float
) -> None:
    usual = [rows for rows in earlier if rows]
    if usual:
        assert doubt(1, min(usual), max_rows=None, max_ratio=max_ratio, earlier=earlier) is None
    if len(usual) >= FEWEST_COMPARED:
        assert doubt(1, int(max(usual) * max_ratio) + 1, max_rows=None, max_ratio=max_ratio, earlier=earlier)


@given(ROWS, st.lists(ROWS, max_size=10))
def test_without_limits_nothing_is_asked(rows: int, earlier: list[int]) -> None:
    assert doubt(1, rows, max_rows=None, max_ratio=None, earlier=earlier) is None


def test_a_limit_that_limits_nothing_is_refused() -> None:
    with pytest.raises(ValidationError, match="expected max_rows, max_ratio or both"):
        Volume()
    with pytest.raises(ValidationError, match="greater than or equal to 1"):
        Volume(max_ratio=0.5)
