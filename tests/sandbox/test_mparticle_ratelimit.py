from hypothesis import given
from hypothesis import strategies as st

from sandbox.ratelimit import Exceeded, RateLimit


def test_without_limits_everything_passes() -> None:
    rate = RateLimit(None, None)
    assert not rate.is_set
    assert rate.admit(10**9, 0) is None
    assert rate.percentage_used() is None


def test_batches_count_for_a_second_and_refused_ones_do_not() -> None:
    rate = RateLimit(100, None)
    assert rate.admit(60, 0.0) is None
    assert rate.percentage_used() == 60
    assert rate.admit(41, 0.5) == Exceeded("account", 1)
    assert rate.admit(40, 0.5) is None
    assert rate.percentage_used() == 100
    assert rate.admit(60, 1.0) is None
    assert rate.admit(1, 1.0) is not None


def test_a_request_beyond_the_limit_passes_alone_and_is_paid_for_in_time() -> None:
    rate = RateLimit(10, None)
    assert rate.admit(100, 0.0) is None
    assert rate.percentage_used() == 100
    assert rate.admit(1, 5.0) == Exceeded("account", 5)
    assert rate.admit(1, 10.0) is None


def test_a_rise_beyond_the_acceleration_limit_is_refused_and_a_slower_one_is_not() -> None:
    rate = RateLimit(None, 10)
    assert rate.admit(10, 0.0) is None
    assert rate.admit(1, 0.5) == Exceeded("acceleration", 1)
    assert rate.admit(20, 1.0) is None
    assert rate.admit(1, 1.5) == Exceeded("acceleration", 1)
    assert rate.admit(30, 2.0) is None


@given(
    limit=st.integers(1, 200),
    requests=st.lists(st.tuples(st.integers(0, 8).map(lambda eighths: eighths / 8), st.integers(1, 100)), max_size=60),
)
def test_no_second_brings_more_than_the_limit_or_one_request(limit: int, requests: list[tuple[float, int]]) -> None:
    rate = RateLimit(limit, None)
    now_s = 0.0
    admitted: list[tuple[float, int]] = []
    for pause_s, batches in requests:
        now_s += pause_s
        exceeded = rate.admit(batches, now_s)
        if exceeded is None:
            admitted.append((now_s, batches))
        else:
            # Whoever waits as long as they were told is let in, as long as nobody else is.
            now_s += exceeded.retry_after_s
            assert rate.admit(batches, now_s) is None
            admitted.append((now_s, batches))
    for start_s, _ in admitted:
        inside = [batches for at_s, batches in admitted if start_s - 1 < at_s <= start_s]
        assert sum(inside) <= limit or len(inside) == 1
