import json
from itertools import accumulate, pairwise

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.catalog import Environment, NullPolicy
from shared.mapping.compile import compile_user_mapping
from tests.worker.written import apart, encoded_of
from worker.mparticle.bodies import Body, body_bytes, pack, split
from worker.mparticle.check import Checks
from worker.mparticle.encode import Encoder
from worker.mparticle.prepared import EncodedRows

SIZES = st.lists(st.integers(2, 40), max_size=60)


def encoded_batches(sizes: list[int]) -> EncodedRows:
    """Batches without events, of so many bytes with their commas."""
    texts = [b'"' + b"x" * (size - 3) + b'"' if size > 2 else b"1" for size in sizes]
    return encoded_of(apart(len(sizes)), has_events=False, say=lambda _, rows: texts[rows[0]])


@given(SIZES, st.integers(1, 10), st.integers(41, 200))
def test_every_batch_is_in_exactly_one_body_in_order(sizes: list[int], max_batches: int, max_bytes: int) -> None:
    bodies = pack(encoded_batches(sizes), max_events=1, max_batches=max_batches, max_bytes=max_bytes)
    assert [batch for body in bodies for batch in range(body.first, body.end)] == list(range(len(sizes)))
    assert all(len(body) > 0 for body in bodies)


@given(SIZES, st.integers(1, 10), st.integers(41, 200))
def test_no_body_is_over_a_limit_and_none_has_room_for_the_next_batch(
    sizes: list[int], max_batches: int, max_bytes: int
) -> None:
    encoded = encoded_batches(sizes)
    bodies = pack(encoded, max_events=1, max_batches=max_batches, max_bytes=max_bytes)
    for body in bodies:
        written = body_bytes(encoded, body)
        assert len(written) <= max_bytes
        assert len(json.loads(written)) == len(body) <= max_batches
        if body.end < len(sizes):
            larger = body_bytes(encoded, Body(body.first, body.end + 1))
            assert len(larger) > max_bytes or len(body) == max_batches


@given(SIZES, st.integers(1, 10))
def test_a_body_as_large_as_the_limit_is_one_body(sizes: list[int], more: int) -> None:
    encoded = encoded_batches([*sizes, 5])
    whole = len(body_bytes(encoded, Body(0, len(sizes) + 1)))
    limit = len(sizes) + more
    assert pack(encoded, max_events=1, max_batches=limit, max_bytes=whole) == [Body(0, len(sizes) + 1)]
    if sizes:
        assert len(pack(encoded, max_events=1, max_batches=limit, max_bytes=max(whole - 1, 41))) == (
            1 if whole <= 41 else 2
        )


def test_a_batch_larger_than_a_body_is_not_sent_anyway() -> None:
    with pytest.raises(ValueError, match="batch 1 has 49 bytes and cannot be sent in a body of 50"):
        pack(encoded_batches([10, 50]), max_events=1, max_batches=10, max_bytes=50)


@given(st.integers(0, 1000), st.integers(2, 1000))
def test_halves_are_neighbours_that_make_up_the_body(first: int, count: int) -> None:
    left, right = split(Body(first, first + count))
    assert (left.first, left.end, right.end) == (first, right.first, first + count)
    assert 0 <= len(right) - len(left) <= 1


def test_one_batch_has_no_halves() -> None:
    with pytest.raises(ValueError, match="cannot be split"):
        split(Body(4, 5))


def test_bodies_of_encoded_rows_are_json_arrays_of_their_batches() -> None:
    rows = pa.table({"email": ["a@x", None, "c@x", "d@x"]})
    plan = compile_user_mapping(rows.schema, environment=Environment.PRODUCTION, on_null=NullPolicy.OMIT, iterator=None)
    encoded = Encoder(plan, checks=Checks()).encode(rows, chunk_id="c")
    bodies = pack(encoded, max_events=1, max_batches=2, max_bytes=256_000)
    ids = [[batch["source_request_id"] for batch in json.loads(body_bytes(encoded, body))] for body in bodies]
    assert ids == [["c:0", "c:2"], ["c:3"]]


EVENTS = st.lists(st.integers(1, 6), max_size=30)


def of_events(counts: list[int], *, historical_from: int | None = None) -> EncodedRows:
    """Batches of so many events; those from one on are for the historical endpoint."""
    ends = list(accumulate(counts, initial=0))
    later = () if historical_from is None else range(ends[historical_from], ends[-1])
    return encoded_of([list(range(start, end)) for start, end in pairwise(ends)], later=later)


@given(EVENTS, st.integers(1, 10), st.integers(1, 12))
def test_no_body_has_more_events_unless_one_batch_has_and_none_has_room_for_the_next(
    counts: list[int], max_batches: int, max_events: int
) -> None:
    bodies = pack(of_events(counts), max_batches=max_batches, max_events=max_events, max_bytes=256_000)
    assert [batch for body in bodies for batch in range(body.first, body.end)] == list(range(len(counts)))
    for body in bodies:
        assert len(body) <= max_batches
        assert sum(counts[body.first : body.end]) <= max_events or len(body) == 1
        if body.end < len(counts):
            assert len(body) == max_batches or sum(counts[body.first : body.end + 1]) > max_events


@given(EVENTS.filter(bool), st.data())
def test_batches_for_the_historical_endpoint_are_in_no_body_with_others(counts: list[int], data: st.DataObject) -> None:
    border = data.draw(st.integers(0, len(counts)))
    encoded = of_events(counts, historical_from=border)
    assert encoded.historical_from == border
    bodies = pack(encoded, max_batches=100, max_events=1_000, max_bytes=256_000)
    assert bodies == [Body(*ends) for ends in ((0, border), (border, len(counts))) if ends[0] < ends[1]]


def test_one_event_of_a_batch_is_a_body_of_its_own() -> None:
    written = body_bytes(of_events([2, 3]), Body(1, 2, 2))
    assert json.loads(written) == [{"id": "chunk:2:4", "rows": [4]}]


def test_users_have_no_events_and_so_no_limit_of_them() -> None:
    encoded = encoded_of([[0, 1], [2]], has_events=False)
    assert encoded.events.tolist() == [0, 0]
    assert pack(encoded, max_batches=5, max_events=1, max_bytes=1_000) == [Body(0, 2)]
