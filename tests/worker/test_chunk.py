import string
from itertools import pairwise
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.columns import JSON, column
from worker.chunk import cut

SCHEMA = pa.schema(
    [
        ("id", pa.int64()),
        ("text", pa.string()),
        ("flag", pa.bool_()),
        ("list", pa.list_(pa.string())),
        ("struct", pa.struct([("a", pa.int32()), ("b", pa.binary())])),
        ("none", pa.null()),
        column("json", JSON, "VARIANT"),
        ("jsons", pa.list_(JSON)),
    ]
)
rows = st.fixed_dictionaries(
    {
        "id": st.none() | st.integers(-(2**63), 2**63 - 1),
        "text": st.none() | st.text(string.ascii_letters + "é", max_size=40),
        "flag": st.none() | st.booleans(),
        "list": st.none() | st.lists(st.none() | st.text(string.ascii_letters, max_size=5), max_size=4),
        "struct": st.none() | st.fixed_dictionaries({"a": st.none() | st.integers(0, 9), "b": st.binary(max_size=9)}),
        "none": st.none(),
        "json": st.none() | st.sampled_from(["1", '["a"]']),
        "jsons": st.none() | st.lists(st.none() | st.just("{}"), max_size=3),
    }
)


def batch_of(content: list[Any]) -> Any:
    """Build a batch; Arrow cannot build extension types inside of others, only cast to them."""
    at = SCHEMA.get_field_index("jsons")
    batch = pa.RecordBatch.from_pylist(content, SCHEMA.set(at, pa.field("jsons", pa.list_(pa.string()))))
    return batch.cast(SCHEMA)


@st.composite
def batches(draw: st.DrawFn) -> list[Any]:
    """Record batches, some empty, some slices of larger ones."""
    made = []
    for content in draw(st.lists(st.lists(rows, max_size=40), max_size=5)):
        batch = batch_of(content)
        start = draw(st.integers(0, batch.num_rows))
        made.append(batch.slice(start) if draw(st.booleans()) else batch)
    return made


@given(made=batches(), max_rows=st.integers(1, 60), max_bytes=st.integers(1, 4000))
def test_every_row_is_in_exactly_one_chunk_in_order_and_within_limits(
    made: list[Any], max_rows: int, max_bytes: int
) -> None:
    chunks = list(cut(made, schema=SCHEMA, max_rows=max_rows, max_bytes=max_bytes))
    assert [row for chunk in chunks for row in chunk.to_pylist()] == [
        row for batch in made for row in batch.to_pylist()
    ]
    for chunk in chunks:
        chunk.validate(full=True)
        assert chunk.schema.equals(SCHEMA, check_metadata=True)
        assert 1 <= chunk.num_rows <= max_rows
        assert chunk.nbytes <= max_bytes or chunk.num_rows == 1


@given(made=batches(), max_rows=st.integers(1, 60))
def test_only_the_last_chunk_is_not_full(made: list[Any], max_rows: int) -> None:
    *full, last = [0, *(chunk.num_rows for chunk in cut(made, schema=SCHEMA, max_rows=max_rows, max_bytes=2**40))]
    assert set(full) <= {0, max_rows}
    assert sum(full) + last == sum(batch.num_rows for batch in made)


@given(made=batches(), max_bytes=st.integers(1, 4000))
def test_a_chunk_is_closed_only_where_the_next_row_would_not_fit(made: list[Any], max_bytes: int) -> None:
    # What an open chunk keeps is copied, which drops the unused bits around it: a few bytes of room may appear.
    slack = 4 * len(SCHEMA)
    chunks = list(cut(made, schema=SCHEMA, max_rows=10**6, max_bytes=max_bytes))
    for chunk, following in pairwise(chunks):
        assert chunk.nbytes + following.slice(0, 1).nbytes > max_bytes - slack


def test_between_record_batches_only_the_open_chunk_is_alive() -> None:
    schema = pa.schema([("text", pa.string())])
    before = pa.total_allocated_bytes()
    alive: list[int] = []

    def large() -> Any:
        for _ in range(5):
            yield pa.RecordBatch.from_arrays([pa.array(["x" * 1000] * 1_001)], schema=schema)
            alive.append(pa.total_allocated_bytes() - before)

    # Mapped, because a loop's variable would hold the chunk before.
    rows = sum(map(len, cut(large(), schema=schema, max_rows=100, max_bytes=2**40)))
    assert rows == 5 * 1_001
    assert max(alive) < 100 * 1004 * 1.5


def test_a_batch_that_is_a_chunk_is_not_copied() -> None:
    schema = pa.schema([("id", pa.int64())])
    batch = pa.RecordBatch.from_arrays([pa.array(range(100))], schema=schema)
    (chunk,) = cut([batch], schema=schema, max_rows=100, max_bytes=10**6)
    assert chunk.column(0).chunk(0).buffers()[1].address == batch.column(0).buffers()[1].address


def test_chunks_come_before_the_stream_ends() -> None:
    schema = pa.schema([("id", pa.int64())])

    def endless() -> Any:
        while True:
            yield pa.RecordBatch.from_arrays([pa.array([1, 2, 3])], schema=schema)

    assert next(cut(endless(), schema=schema, max_rows=5, max_bytes=1000)).num_rows == 5


def test_no_rows_make_no_chunk() -> None:
    empty = batch_of([])
    assert list(cut([], schema=SCHEMA, max_rows=1, max_bytes=1)) == []
    assert list(cut([empty, empty], schema=SCHEMA, max_rows=1, max_bytes=1)) == []


def test_a_batch_with_another_schema_is_our_mistake() -> None:
    other = pa.RecordBatch.from_pylist([{"id": "1"}])
    with pytest.raises(ValueError, match="promised"):
        list(cut([other], schema=pa.schema([("id", pa.int64())]), max_rows=1, max_bytes=1))
