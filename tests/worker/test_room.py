"""Who may start a slice, and who must stop."""

from hypothesis import given
from hypothesis import strategies as st

from worker.room import Fit, fit, refusal

SOFT, HARD = 1_000, 2_000
TAKEN = st.dictionaries(st.sampled_from(["a", "b", "c"]), st.integers(0, 1_500))


def _refused(pipeline: str, **taken: int) -> bool:
    return refusal(pipeline, taken=taken, waiting={pipeline}, soft_bytes=SOFT, hard_bytes=HARD) is not None


def test_below_the_soft_limit_everybody_may_start() -> None:
    assert not _refused("a", a=999)


def test_a_pipeline_whose_feed_stopped_does_not_keep_another_out() -> None:
    assert _refused("stopped", stopped=1_200)
    assert not _refused("other", stopped=1_200)


def test_above_the_hard_limit_nobody_starts() -> None:
    assert _refused("other", stopped=2_000)


def test_the_refusal_says_how_much_is_held_and_by_whom() -> None:
    said = refusal("a", taken={"a": 1_500}, waiting={"b"}, soft_bytes=SOFT, hard_bytes=HARD)
    assert said is not None
    assert "1500 bytes" in said
    assert "its share is 500" in said


@given(TAKEN)
def test_somebody_may_start_unless_the_hard_limit_is_reached(taken: dict[str, int]) -> None:
    free = refusal("new", taken=taken, waiting={"new"}, soft_bytes=SOFT, hard_bytes=HARD) is None
    assert free == (sum(taken.values()) < HARD)


def test_a_slice_that_alone_is_too_large_is_told_apart_from_one_that_others_crowd_out() -> None:
    assert fit(taken={}, written=2_000, hard_bytes=HARD) is Fit.FITS
    assert fit(taken={}, written=2_001, hard_bytes=HARD) is Fit.TOO_LARGE
    assert fit(taken={"b": 1_900}, written=200, hard_bytes=HARD) is Fit.CROWDED_OUT


@given(TAKEN, st.integers(0, 3_000))
def test_what_fits_never_passes_the_hard_limit(taken: dict[str, int], written: int) -> None:
    is_fine = fit(taken=taken, written=written, hard_bytes=HARD) is Fit.FITS
    assert is_fine == (sum(taken.values()) + written <= HARD)
